"""`antenna token`: create, list, revoke."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services

if TYPE_CHECKING:
    from datetime import datetime

app = typer.Typer(help="Create, list and revoke tokens for the gateway.", no_args_is_help=True, rich_markup_mode=None)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class RoleName(StrEnum):
    """What a token is for, as an option."""

    WORKER = "worker"
    SUBMITTER = "submitter"
    ADMIN = "admin"


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
    json_: JsonOption = False,
) -> None:
    """Create a token and show it, only this once.

    With a worker's token, a program takes tasks, sends results and registers pipelines in the named projects; with a
    submitter's, it submits, cancels and retries jobs there; with an admin's, it may do everything, in all projects if
    none is named. Give each worker a token of its own.
    """
    from antenna_orchestration.domain.access import Role
    from antenna_orchestration.processing import tokens

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
    from antenna_orchestration.processing import tokens

    found = with_services(tokens.list_all)
    if json_:
        output.as_json(
            [
                {
                    "fingerprint": one.fingerprint,
                    "name": one.name,
                    "role": str(one.role),
                    "projects": sorted(one.projects.values()),
                    "created_at": one.created_at,
                    "expires_at": one.expires_at,
                    "revoked_at": one.revoked_at,
                    "last_used_at": one.last_used_at,
                }
                for one in found
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
            output.ago(one.last_used_at) or "never",
            _until(one.expires_at, one.revoked_at),
        )
        for one in found
    ]
    columns = ("TOKEN", "ROLE", "LABEL", "PROJECTS", "CREATED", "USED", "VALID")
    output.show_table(
        columns,
        rows,
        shrinks=("LABEL", "PROJECTS"),
        drops=("CREATED", "ROLE"),
        empty="no tokens; `antenna token create --project NAME` makes one",
    )


@app.command()
def revoke(
    fingerprint: Annotated[list[str], typer.Argument(metavar="TOKEN…", help="Fingerprints.", show_default=False)],
) -> None:
    """Revoke tokens; gateways refuse them within seconds, and offer to others what their workers hold."""
    from antenna_orchestration.processing import tokens
    from antenna_orchestration.processing.services import Services

    async def end(services: Services) -> None:
        for one in fingerprint:
            await tokens.revoke(services, one)
            output.line(f"token {one} is revoked")

    with_services(end)


def _until(expires_at: datetime | None, revoked_at: datetime | None) -> str:
    from datetime import UTC, datetime

    if revoked_at is not None:
        return "revoked"
    if expires_at is None:
        return "for ever"
    return "expired" if expires_at < datetime.now(UTC) else f"until {output.clock(expires_at)}"
