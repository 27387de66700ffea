"""The sensor that runs the health checks that only look, and reports a check when its verdict changes.

The job `jobs_health_check` records every check and repairs, a few times per hour. This sensor keeps a stall from
staying unseen until then, without a run of its own: an alert can hang on the asset checks of `jobs_health`. Every
minute it also clears what jobs that are over left behind, and sets times to now that lie in the future since the clock
was set back.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any, Final

import dagster as dg

from antenna_orchestration import errors, kernel
from antenna_orchestration.assets.health import check_metadata
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import sensor_ticks
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.upkeep import health

FAILS_AFTER: Final = 30.0
"""Seconds for which a check has to fail before it is reported: a worker that starts again is not a fault."""

CLEAR_EVERY: Final = 60.0
"""Seconds between two rounds of clearing leftovers, of redating, and of keeping the sensors' last ticks."""

JUMP_SHOWN: Final = 600.0
"""Seconds for which a jump of the clock is reported."""


@dataclass
class _Memory:
    """What a tick leaves to the next one, as the sensor's cursor."""

    # Since when each failing check has failed, in seconds since the epoch.
    failing: dict[str, float] = field(default_factory=dict)
    # The verdict that was reported last.
    told: dict[str, bool] = field(default_factory=dict)
    clock_offset: float | None = None
    jump: str = ""
    jumped_at: float = 0.0
    cleared_at: float = 0.0


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Every 15 seconds: runs the health checks that only look, records an asset check of jobs_health when "
    "its verdict changes, and clears what jobs that are over left behind. Alerts hang on these asset "
    "checks.",
)
def health_watch(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SensorResult:
    """Report health checks that began to fail or pass, and clear what jobs that are over left behind."""
    memory = _Memory(**json.loads(context.cursor or "{}"))
    is_due = _is_due(memory)
    ticks = sensor_ticks.latest(context.instance) if is_due else []

    # In one call: to connect takes longer than to look.
    async def look(services: Services) -> tuple[health.HealthReport, health.CheckResult | None]:
        # Before the checks, which go by these times.
        if is_due and (redated := await health.redate(services)):
            context.log.warning(health.of_redated(redated))
        report = await health.watch(services)
        cleared = await health.clear_leftovers(services) if is_due else None
        if ticks:
            # For those who do not ask Dagster: the gateway's metrics.
            await services.catalog.figures.put_ticks(ticks)
        return report, cleared

    try:
        report, cleared = stores.in_tick(look)
    except errors.Unavailable as error:
        report, cleared = health.unanswered(error), None
    _look_at_clock(memory, report)
    now = time.time()
    if cleared:
        memory.cleared_at = now
        for line in cleared.details[:5]:
            context.log.info(line)
    events: list[Any] = []
    for result in report.results:
        if result.unfixable:
            since = memory.failing.setdefault(result.name, now)
        else:
            memory.failing.pop(result.name, None)
            since = now
        # A clock that was set back makes `since` lie in the future.
        passed = not result.unfixable
        if memory.told.get(result.name) is passed or not (passed or abs(now - since) >= FAILS_AFTER):
            continue
        memory.told[result.name] = passed
        events.append(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("jobs_health"),
                check_name=result.name,
                passed=passed,
                severity=dg.AssetCheckSeverity.ERROR,
                metadata=check_metadata(result),
            )
        )
        if not passed:
            context.log.warning(f"{result.name}: {'; '.join(result.details[:5])}")
    failing = ", ".join(result.name for result in report.results if result.unfixable)
    return dg.SensorResult(
        asset_events=events,
        cursor=json.dumps(vars(memory)),
        skip_reason=f"failing: {failing}" if failing else "all checks pass",
    )


def _is_due(memory: _Memory) -> bool:
    """Whether leftovers are to be cleared, times redated, and ticks kept; at once after the clock was set back."""
    return abs(time.time() - memory.cleared_at) >= CLEAR_EVERY


def _look_at_clock(memory: _Memory, report: health.HealthReport) -> None:
    """Let the check `clocks` fail for a while after this machine's clock jumped."""
    offset = kernel.clock_offset()
    if memory.clock_offset is not None and abs(jump := offset - memory.clock_offset) > health.SKEW:
        memory.jump = f"the clock of this machine jumped {abs(jump):.0f} s {'forward' if jump > 0 else 'back'}"
        memory.jumped_at = time.time()
    memory.clock_offset = offset
    if memory.jump and abs(time.time() - memory.jumped_at) < JUMP_SHOWN:
        for result in report.results:
            if result.name == "clocks":
                result.unfixable += 1
                result.details.append(memory.jump)
