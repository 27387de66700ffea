"""The sensor that looks for what is wrong and tells people: see `upkeep/alerts.py`.

A tick looks, which takes a fraction of a second, and lets a thread send: a target that does not answer keeps no tick.
"""

import asyncio
import logging
import threading
from typing import Final

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.domain.alerts import Seen
from antenna_orchestration.processing import services as stores_module
from antenna_orchestration.processing.services import Records
from antenna_orchestration.resources import check_verdicts
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.upkeep import alert_sources, health
from antenna_orchestration.upkeep import alerts as verb
from antenna_orchestration.upkeep.alert_sources import Looking

logger = logging.getLogger(__name__)

WAITS: Final = 1.0
"""Seconds that a tick waits for its messages to be sent; most targets answer within."""

_sending: threading.Thread | None = None
"""The thread of this process that sends; one at a time."""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people what is wrong: failed jobs, jobs without a worker, watched sources and health checks "
    "that fail, as the file of ANTENNA_ALERTS says; off without one. antenna alerts list shows what was told to whom. "
    "Switched off, nobody is told.",
)
def alerts(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SkipReason:
    """One round of looking, and sending on a thread. It requests no run."""
    if stores.settings.alerts is None:
        return dg.SkipReason("ANTENNA_ALERTS names no file")
    instance = context.instance

    async def failed_checks(records: Records, looking: Looking) -> Seen:
        names = [name for name in health.CHECKS if name not in alert_sources.TOLD_ELSEWHERE]
        failed = await asyncio.to_thread(check_verdicts.failed, instance, "jobs_health", names)
        return Seen(
            of=("check:",),
            alerts=[alert_sources.of_check(one.name, one.details, health.CHECKS[one.name]) for one in failed],
        )

    try:
        said = verb.configured(stores.settings)
        assert said is not None
        sources = [*alert_sources.SOURCES, failed_checks]
        # The queue need not answer for people to be told.
        done = stores.in_tick_without_queue(lambda records: verb.look(records, said, sources=sources))
    except errors.InvalidSetting as error:
        return dg.SkipReason(str(error))
    except errors.Unavailable as error:
        return dg.SkipReason(f"a server does not answer: {error}")
    if done is None:
        return dg.SkipReason("another process looks for alerts just now")
    if done.waits:
        _send(stores.settings)
    for line in done.failed:
        context.log.warning(line)
    return dg.SkipReason(done.line)


def _send(settings: settings_module.Settings) -> None:
    """Send what waits, on a thread that outlives the tick if a target is slow."""
    global _sending  # noqa: PLW0603  ticks of one sensor come one after the other
    if _sending is None or not _sending.is_alive():
        # Nobody joins it when the process ends: what it has not noted is sent again.
        _sending = threading.Thread(target=_send_here, args=(settings,), name="alerts", daemon=True)
        _sending.start()
    _sending.join(WAITS)


def _send_here(settings: settings_module.Settings) -> None:
    async def run() -> None:
        said = verb.configured(settings)
        if said is not None:
            async with stores_module.opened_records(settings, max_connections=2) as records:
                await verb.send_waiting(records, said)

    try:
        asyncio.run(run())
    except errors.AntennaError as error:
        logger.warning("alerts are not sent: %s", error)
    except Exception:
        logger.exception("alerts are not sent")
