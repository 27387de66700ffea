"""`antenna service`: the stack as a service of systemd, which starts it at boot and again after a crash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.embedded.systemd import Service

app = typer.Typer(
    help="Run the stack of this folder as a service of systemd.", no_args_is_help=True, rich_markup_mode=None
)

_SYSTEM = typer.Option("--system", help="A service of the machine, installed by root, instead of your own.")
_NAME = typer.Option("--name", metavar="NAME", help="Name of the service; give a second stack another one.")

_OUTSIDE = ("ANTENNA_", "AWS_", "DAGSTER_")
"""Variables that change what a stack does."""


@app.command("install")
def install(
    *,
    is_system: Annotated[bool, _SYSTEM] = False,
    name: Annotated[str, _NAME] = "antenna",
    account: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="With --system: who runs the stack.", show_default="the owner of the stack's folder"
        ),
    ] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Show the unit, and write nothing.")] = False,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Write the files, and neither enable nor start the service.")
    ] = False,
) -> None:
    """Start this folder's stack with systemd.

    Writes its unit; systemd starts the stack now and at each boot.
    """
    from antenna_orchestration import errors
    from antenna_orchestration.embedded import stack, systemd
    from antenna_orchestration.settings import find_home

    service = systemd.Service(name=name, is_system=is_system)
    home = find_home()
    if account is not None:
        if not is_system:
            raise errors.InvalidInput("--account goes with --system: your own services run as you")
        systemd.check_account(account)
    account = account or systemd.account_of(home)
    text = service.text(home=home, folder=Path.cwd(), account=account)
    if only_print:
        output.verbatim(text.rstrip())
        return
    systemd.check_rights(service)
    if not files_only:
        systemd.check_manager(service)
        if stack.status(home) is not None and service.asks("is-active") != "active":
            raise errors.Conflict(f"a stack runs in {home}: stop it first (Ctrl-C), and the service will continue it")
    is_new = service.write(text)
    output.line(f"{'wrote' if is_new else 'unchanged:'} {service.unit}")
    output.line(f"settings and secrets go into {service.secrets}, which only its owner can read")
    _tell_of_variables(service)
    if is_system and account == "root":
        output.warn("the stack will run as root: --account names another account, which must own its folder")
    if files_only:
        output.line(f"start it with: {service.hint} daemon-reload && {service.hint} enable --now {name}")
    else:
        service.tells("daemon-reload")
        service.tells("enable", "--now", name)
        output.line(f"started; its log: journalctl {'' if is_system else '--user '}-u {name} -f")
    if not is_system and not systemd.lingers():
        output.line("it runs while you are logged in; to have it run always: loginctl enable-linger")


@app.command("uninstall")
def uninstall(*, is_system: Annotated[bool, _SYSTEM] = False, name: Annotated[str, _NAME] = "antenna") -> None:
    """Stop the service and remove its unit. The stack's data, and the file with secrets, stay."""
    from antenna_orchestration import errors
    from antenna_orchestration.embedded import systemd

    service = systemd.Service(name=name, is_system=is_system)
    service.check_ours()
    systemd.check_rights(service)
    try:
        systemd.check_manager(service)
    except errors.Unavailable:
        # In a shell of su nobody answers for a manager that runs the service all the same.
        if service.is_enabled:
            raise
        service.remove()
    else:
        service.tells("disable", "--now", name)
        service.remove()
        service.tells("daemon-reload")
    output.line(f"removed {service.unit}")
    if service.secrets.exists():
        output.line(f"kept {service.secrets}, and all data of the stack")


@app.command("status")
def status(
    *,
    is_system: Annotated[bool, _SYSTEM] = False,
    name: Annotated[str, _NAME] = "antenna",
    json_: JsonOption = False,
) -> None:
    """Show whether the service is installed and runs.

    Also whether it starts at boot. The exit code is 1 if it does not run.
    """
    from antenna_orchestration.embedded import systemd

    service = systemd.Service(name=name, is_system=is_system)
    is_installed = service.unit.exists()
    found = {
        "unit": str(service.unit) if is_installed else None,
        "at_boot": service.asks("is-enabled") or None,
        "state": service.asks("is-active") or None,
        "secrets": str(service.secrets) if service.secrets.exists() else None,
    }
    if json_:
        output.as_json(found)
    elif not is_installed:
        output.line(f"not installed: there is no {service.unit}")
    else:
        output.line(f"unit     {found['unit']}")
        output.line(f"secrets  {found['secrets'] or 'none'}")
        output.line(f"at boot  {found['at_boot'] or 'systemd does not answer'}")
        output.line(f"state    {found['state'] or 'systemd does not answer'}")
        output.line(f"log      journalctl {'' if is_system else '--user '}-u {name}")
    if found["state"] != "active":
        raise typer.Exit(1)


def _tell_of_variables(service: Service) -> None:
    """A service has no variables of the shell that installed it."""
    names = [name for name in os.environ if name.startswith(_OUTSIDE) and name != "ANTENNA_HOME"]
    if names:
        output.warn(
            f"the service does not see these variables of this shell: {', '.join(sorted(names))}; "
            f"write those that it needs into {service.secrets}"
        )
