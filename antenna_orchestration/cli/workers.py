"""`antenna workers`: who is listening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services

if TYPE_CHECKING:
    from antenna_orchestration.domain.messages import Heartbeat
    from antenna_orchestration.processing.services import Services


def workers(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the workers that are alive."""

    async def read(services: Services) -> list[Heartbeat]:
        return await services.presence.workers()

    found = with_services(read)
    if json_:
        import msgspec

        output.as_json([msgspec.to_builtins(heartbeat) for heartbeat in found])
        return
    rows = [
        (
            one.worker,
            one.kind,
            one.device,
            ",".join(one.pipelines),
            one.state,
            one.leased,
            one.done,
            one.failed,
            f"{one.rate:.1f}/s",
            output.ago(one.started_at),
        )
        for one in found
    ]
    columns = ("WORKER", "KIND", "DEVICE", "PIPELINES", "STATE", "LEASED", "DONE", "FAILED", "RATE", "STARTED")
    output.console().print(output.table(columns, rows, numbers=("LEASED", "DONE", "FAILED", "RATE")))
    for one in found:
        for slug, reason in one.failing.items():
            output.line(f"{one.worker} cannot load {slug}: {reason}")
