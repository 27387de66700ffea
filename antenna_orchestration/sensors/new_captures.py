"""The sensor that looks for new photographs in watched sources and submits them: see `processing/new_captures.py`."""

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.resources.stores import Stores


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks for new photographs in the folders, buckets and lists of antenna sources, waits until they are "
    "at rest, and submits one job for each deployment and night. antenna sources list says what each source waits for. "
    "Switched off, nothing new is found.",
)
def new_captures(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SkipReason:
    """One round over the sources. It requests no run: the sensor queued_jobs takes what it submits."""
    # It takes longer to import than all sensors, and few installations watch sources.
    from antenna_orchestration.processing import new_captures as verb

    try:
        done = stores.in_tick(verb.round_)
    except errors.Unavailable as error:
        return dg.SkipReason(f"a server does not answer: {error}")
    if done is None:
        return dg.SkipReason("another process looks at the sources just now")
    for line in done.failed:
        context.log.warning(line)
    for job in done.jobs:
        context.log.info(f"submitted job {job}")
    return dg.SkipReason(done.line)
