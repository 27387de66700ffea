"""What Dagster has of its sensors' ticks: the last one of each."""

import time
from typing import Final

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType, TickStatus

from antenna_orchestration.catalog.figures import SensorTick

_OVER = {TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE}

_GONE_AFTER: Final = 86_400.0
"""Seconds without a tick: Dagster keeps the state of sensors whose names no definition has any more."""

_AHEAD: Final = 30.0
"""Seconds by which the clock of the daemon's machine may be ahead of this one's."""


def latest(instance: dg.DagsterInstance) -> list[SensorTick]:
    """The last tick that is over of each sensor that is switched on; a query for each."""
    if instance.schedule_storage is None:
        # An instance in memory, as tools make it, keeps no ticks.
        return []
    found = []
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    for state in states:
        if state.status is InstigatorStatus.STOPPED:
            continue
        # Those of before the clock was set back would be the last ones until it has come that far again.
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            before=time.time() + _AHEAD,
            limit=1,
            statuses=list(_OVER),
        )
        for tick in ticks:
            if time.time() - tick.timestamp > _GONE_AFTER:
                continue
            found.append(
                SensorTick(
                    sensor=state.name,
                    at=tick.timestamp,
                    seconds=max((tick.end_timestamp or tick.timestamp) - tick.timestamp, 0.0),
                    is_failed=tick.status is TickStatus.FAILURE,
                )
            )
    return found
