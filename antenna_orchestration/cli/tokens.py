"""`antenna token`: create, list, revoke."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from datetime import datetime

app = typer.Typer(help="Create, list and revoke tokens for the gateway.", no_args_is_help=True, rich_markup_mode=None)


class RoleName(StrEnum):
    """What a token is for, as an option."""

    WORKER = "worker"
    SUBMITTER = "submitter"
    ADMIN = "admin"
    MONITOR = "monitor"


class KindName(StrEnum):
    """Where a token is used, as an option."""

    HTTP = "http"
    NATS = "nats"


@app.command()
def create(
    *,
    project: Annotated[
        list[str] | None, typer.Option(help="Project that the token is for; may be repeated.", show_default="none")
    ] = None,
    role: Annotated[RoleName, typer.Option(help="What the token allows.")] = RoleName.WORKER,
    label: Annotated[str, typer.Option(help="Name shown in lists, also for a worker that uses the token.")] = "",
    days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="Days until the token expires.", show_default="never")
    ] = None,
    kind: Annotated[
        KindName, typer.Option(help="For whom: programs that call the gateway, or the workers of a site on NATS.")
    ] = KindName.HTTP,
    json_: JsonOption = False,
) -> None:
    """Create a token and show it, only this once.

    With a worker's token, a program takes tasks, sends results and registers pipelines in the named projects; with a
    submitter's, it submits, cancels and retries jobs there; with an admin's, it may do everything, and with a
    monitor's, it only reads how much waits: in all projects if none is named. Give each worker a token of its own.

    With `--kind nats` it is the URL with which all workers of a site connect to the queue (`antenna worker`). They are
    trusted with all projects. Give each site one of its own.
    """
    if kind is KindName.NATS:
        _create_site(label, json_, refused=bool(project or days or role is not RoleName.WORKER))
        return
    from antenna_orchestration.domain.access import Role
    from antenna_orchestration.upkeep import tokens

    made = with_services(
        lambda services: tokens.create(
            services, role=Role(role.value), projects=project or [], label=label, valid_days=days
        )
    )
    if json_:
        output.as_json(
            {
                "token": made.secret,
                "fingerprint": made.fingerprint,
                "name": made.name,
                "role": role.value,
                "projects": project or [],
                "expires_at": made.expires_at,
            }
        )
        return
    output.line(made.secret)
    until = f", valid until {output.clock(made.expires_at)}" if made.expires_at else ""
    output.note(f"token {made.fingerprint} of {made.name}{until}; it is not shown again")


@app.command("list")
def list_(json_: JsonOption = False) -> None:
    """List tokens by their fingerprints."""
    from antenna_orchestration import settings
    from antenna_orchestration.embedded import nats_sites
    from antenna_orchestration.embedded.home import Home
    from antenna_orchestration.upkeep import tokens

    found = with_services(tokens.list_all)
    its_sites = nats_sites.list_all(Home(settings.get().home))
    if json_:
        output.as_json(
            [
                {
                    "kind": "http",
                    "fingerprint": one.fingerprint,
                    "name": one.name,
                    "role": str(one.role),
                    "projects": sorted(one.projects.values()),
                    "created_at": one.created_at,
                    "created_by": one.created_by or None,
                    "expires_at": one.expires_at,
                    "revoked_at": one.revoked_at,
                    "revoked_by": one.revoked_by or None,
                    "last_used_at": one.last_used_at,
                }
                for one in found
            ]
            + [
                {
                    "kind": "nats",
                    "fingerprint": site.fingerprint,
                    "name": site.user,
                    "role": "worker",
                    "projects": [],
                    "created_at": site.created_at,
                    "created_by": site.created_by or None,
                    "expires_at": None,
                    "revoked_at": site.revoked_at,
                    "revoked_by": site.revoked_by or None,
                    "last_used_at": None,
                }
                for site in its_sites
            ]
        )
        return
    rows = [
        (
            one.fingerprint,
            one.role,
            one.label,
            ",".join(sorted(one.projects.values())) or "all",
            output.ago(one.created_at),
            one.created_by or "not known",
            output.ago(one.last_used_at) or "never",
            _until(one.expires_at, one.revoked_at),
        )
        for one in found
    ] + [
        (
            site.fingerprint,
            "worker on NATS",
            site.label,
            "all",
            output.ago(site.created_at),
            site.created_by or "not known",
            "not known",
            _until(None, site.revoked_at),
        )
        for site in its_sites
    ]
    columns = ("TOKEN", "ROLE", "LABEL", "PROJECTS", "CREATED", "BY", "USED", "VALID")
    output.show_table(
        columns,
        rows,
        shrinks=("LABEL", "PROJECTS", "BY"),
        drops=("CREATED", "ROLE", "BY"),
        empty="no tokens; `antenna token create --project NAME` makes one",
    )


@app.command()
def revoke(
    fingerprint: Annotated[list[str], typer.Argument(metavar="TOKEN…", help="Fingerprints.", show_default=False)],
) -> None:
    """Revoke tokens, within seconds.

    Gateways refuse them, and offer to others what their workers hold. A site's workers are cut off from NATS at once.
    """
    from antenna_orchestration import settings
    from antenna_orchestration.embedded import nats_sites, sites
    from antenna_orchestration.embedded.home import Home
    from antenna_orchestration.processing.services import Services
    from antenna_orchestration.upkeep import tokens

    its_sites = {site.fingerprint for site in nats_sites.list_all(Home(settings.get().home))}

    async def end(services: Services) -> None:
        for one in fingerprint:
            warning = sites.revoke(settings.get(), one) if one in its_sites else ""
            if one not in its_sites:
                await tokens.revoke(services, one)
            output.line(f"token {one} is revoked")
            if warning:
                output.note(warning)

    with_services(end)


def _create_site(label: str, json_: bool, *, refused: bool) -> None:
    """Make and show the URL for a site's workers."""
    from antenna_orchestration import errors, settings
    from antenna_orchestration.embedded import sites

    if refused:
        raise errors.InvalidInput(
            "a token of the kind nats is for workers, for all projects and until it is revoked: leave out --project, "
            "--role and --days"
        )
    site, url, warning = sites.create(settings.get(), label=label)
    if json_:
        output.as_json({"token": url, "fingerprint": site.fingerprint, "name": site.user, "role": "worker"})
    else:
        output.line(url)
        output.note(f"token {site.fingerprint} of {label or site.user}; it is not shown again")
        output.note("on each of the site's machines: export ANTENNA_WORKER_NATS_URL='…', then antenna worker")
    if warning:
        output.note(warning)


def _until(expires_at: datetime | None, revoked_at: datetime | None) -> str:
    from datetime import UTC, datetime

    if revoked_at is not None:
        return "revoked"
    if expires_at is None:
        return "for ever"
    return "expired" if expires_at < datetime.now(UTC) else f"until {output.clock(expires_at)}"
