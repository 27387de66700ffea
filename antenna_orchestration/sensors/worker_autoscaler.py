"""The sensor that starts workers where work waits: one round of `processing/scale.py` per tick.

It never stops one: workers end by themselves when idle. `ANTENNA_WORKER_POOLS` names the pools; without it there is
one, runs on this machine, and `ANTENNA_AUTOSCALE=0` switches all of it off.
"""

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.jobs.inference import inference_worker
from antenna_orchestration.pipelines import torch_installed
from antenna_orchestration.pools.configuration import DagsterPool
from antenna_orchestration.processing import scale
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.resources.worker_runs import WorkerRuns


@dg.sensor(
    job=inference_worker,
    # Every five seconds all the same, as the daemon looks, and once more when a job came.
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts workers where work waits: runs of inference_worker on this machine, or what the pools of "
    "ANTENNA_WORKER_POOLS say; off with ANTENNA_AUTOSCALE=0. Workers end by themselves when idle. antenna scale "
    "--dry-run explains what it decides.",
)
def worker_autoscaler(context: dg.SensorEvaluationContext, stores: Stores) -> list[dg.RunRequest] | dg.SkipReason:
    """Decide for each pool, start and take back; request the runs of our own location."""
    settings = stores.settings
    try:
        pools = scale.pools_of(settings)
    except errors.InvalidSetting as error:
        return dg.SkipReason(str(error))
    if not pools:
        return dg.SkipReason("ANTENNA_AUTOSCALE is off")
    runs = {
        name: WorkerRuns(context.instance, pool, settings)
        for name, pool in pools.items()
        if isinstance(pool, DagsterPool)
    }
    without_torch = torch_installed.without()
    blocked = {name: without_torch for name, one in runs.items() if without_torch and one.is_here}
    try:
        done = stores.in_tick(
            lambda services: scale.round_(services, pools, {**scale.launchers_of(pools), **runs}, blocked=blocked)
        )
    except errors.Unavailable as error:
        return dg.SkipReason(f"a server does not answer: {error}")
    if done is None:
        return dg.SkipReason("another process starts workers just now")
    requests = [request for one in runs.values() for request in one.requests]
    if requests:
        return requests
    started = sum(decision.start for decision in done.decisions)
    told = "; ".join(f"{decision.pool}: {decision.why}" for decision in done.decisions)
    return dg.SkipReason(f"{counted(started, 'worker')} started elsewhere; {told}" if started else told)
