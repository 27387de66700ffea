"""`antenna scale`: how many workers are started where, and why."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.pools.configuration import AnyPool
    from antenna_orchestration.pools.launcher import Launcher
    from antenna_orchestration.processing.scale import Round
    from antenna_orchestration.processing.services import Services


PATIENCE: Final = 30.0
"""Seconds that a single round waits while another process starts workers; most need one."""


def scale(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Start nothing, only explain what would be done.")] = False,
    every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=1, help="Go on with a round each so many seconds.", show_default="one round"
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Start workers where work waits.

    The pools are those of ANTENNA_WORKER_POOLS. The sensor worker_autoscaler does the same in the stack; this is for a
    machine on which the stack does not run, such as the login node of a cluster. Pools of kind `dagster` are always
    left to the sensor.
    """
    from antenna_orchestration import settings
    from antenna_orchestration.processing import scale as rounds

    def found() -> tuple[dict[str, AnyPool], dict[str, Launcher]]:
        pools = rounds.pools_of(settings.get())
        launchers = rounds.launchers_of(pools)
        if not pools:
            raise errors.InvalidSetting("no worker is started: ANTENNA_AUTOSCALE is off")
        if not launchers and not dry_run:
            raise errors.InvalidSetting(
                "all pools are for the sensor worker_autoscaler; `antenna scale --dry-run` explains what it decides "
                "(for others, name a file of pools in ANTENNA_WORKER_POOLS)"
            )
        return pools, launchers

    async def one(services: Services) -> None:
        # Anew in each round, as the sensor does: the file may have changed.
        pools, launchers = found()
        if dry_run:
            _show(await rounds.explained(services, pools, launchers), json_=json_)
            return
        until = time.monotonic() + (0 if every else PATIENCE)
        while (done := await rounds.round_(services, pools, launchers)) is None:
            if time.monotonic() >= until:
                raise errors.Conflict("another process starts workers just now; this round did nothing")
            await asyncio.sleep(1)
        _show(done, json_=json_)
        if done.faults and every is None:
            raise errors.Unavailable("; ".join(f"pool {name}: {why}" for name, why in done.faults.items()))

    async def run(services: Services) -> None:
        while True:
            try:
                await one(services)
            except errors.Conflict as error:
                if every is None:
                    raise
                output.note(str(error))
            except (errors.Unavailable, errors.InvalidSetting) as error:
                if every is None:
                    raise
                # Servers come back, and a file that somebody edits becomes whole.
                output.note(f"this round did nothing: {error}")
            if every is None:
                return
            await asyncio.sleep(every)

    found()
    with_services(run)


def _show(done: Round, *, json_: bool) -> None:
    if json_:
        output.as_json([{**asdict(one), "fault": done.faults.get(one.pool, "")} for one in done.decisions])
        return
    from antenna_orchestration.domain.progress import duration

    rows = [
        (
            one.pool,
            duration(one.work),
            one.needed,
            one.heard,
            one.on_their_way,
            f"+{one.start}" if one.start else f"-{len(one.cancel)}" if one.cancel else "",
            "; ".join(filter(None, [one.why, done.faults.get(one.pool, "")])),
        )
        for one in done.decisions
    ]
    columns = ("POOL", "WORK", "NEEDED", "HEARD", "COMING", "CHANGE", "WHY")
    output.show_table(columns, rows, numbers=columns[1:6], wraps=("WHY",))
