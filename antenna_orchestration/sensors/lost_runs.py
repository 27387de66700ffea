"""The sensor that ends runs in Dagster whose process is gone, whatever took it: see `resources/run_states.py`."""

import contextlib
import json
import time
from collections.abc import Collection, Mapping

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.jobs.inference import inference_worker
from antenna_orchestration.processing import run_heartbeat
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import run_states
from antenna_orchestration.resources.slurm_launcher import SlurmRunLauncher
from antenna_orchestration.resources.stores import Stores


@dg.sensor(
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends, as failed, started runs whose process is gone, so that their jobs go on and their place in the"
    " run queue is free.",
)
def lost_runs(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SensorResult | dg.SkipReason:
    """End started runs that are not heard any more, in this code location and in others.

    A process that lives after all, without a connection to the stores, notices that its run is over, and ends.
    """
    instance = context.instance
    records = [
        record
        for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        if run_states.is_ours(record.dagster_run)
    ]
    try:
        silent_for, workers = stores.in_tick(_heard)
    except errors.Unavailable as error:
        return dg.SkipReason(f"a server does not answer: {error}")
    now = time.time()
    # A worker on a host that does not know the catalog is heard on the queue alone, where its entry simply ends. And no
    # age is known of what began before the clock was set back.
    unlisted = silent_since(
        {
            record.dagster_run.run_id: record.start_time or now
            for record in records
            if record.dagster_run.run_id not in silent_for
            and (
                record.dagster_run.job_name == inference_worker.name or is_of_the_future(record.start_time or now, now)
            )
        },
        workers.values(),
        json.loads(context.cursor or "{}"),
        now,
    )
    silent_for |= dict.fromkeys(workers.values(), 0.0) | {run: now - since for run, since in unlisted.items()}
    lost: dict[str, str] = {}
    if isinstance(instance.run_launcher, SlurmRunLauncher):
        lost |= _end_those_that_will_not_start(context, instance.run_launcher)
    for record in records:
        run = record.dagster_run
        if why := run_states.why_dead(record, silent_for.get(run.run_id)):
            run_states.end(instance, run, why)
            lost[run.run_id] = why
            context.log.warning(f"run {run.run_id} of {run.job_name} is ended: {why}")
    if over := _over(instance, silent_for):
        # Otherwise the next tick does.
        with contextlib.suppress(errors.Unavailable):
            stores.in_tick(lambda services: run_heartbeat.forget(services, over))
    return dg.SensorResult(
        cursor=json.dumps(unlisted), skip_reason=f"{counted(len(records), 'run')}, {len(lost)} of them lost"
    )


def _end_those_that_will_not_start(context: dg.SensorEvaluationContext, launcher: SlurmRunLauncher) -> dict[str, str]:
    """End STARTING runs, for Dagster itself waits longer than any job in Slurm's queue; why, by run.

    And the other way round: jobs that wait there although their run is over are canceled.
    """
    instance = context.instance
    ended: dict[str, str] = {}
    try:
        if canceled := launcher.cancel_jobs_of_ended_runs():
            context.log.info(f"canceled Slurm jobs whose runs are over: {', '.join(canceled)}")
        for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
            run = record.dagster_run
            if run_states.is_ours(run) and (why := launcher.why_not_starting(record)):
                run_states.end(instance, run, why)
                ended[run.run_id] = why
                context.log.warning(f"run {run.run_id} of {run.job_name} is ended: {why}")
    except errors.Unavailable as error:
        context.log.warning(f"Slurm does not answer: {error}")
    return ended


async def _heard(services: Services) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of silence for each run that beats in the catalog, and the run of each worker that is heard."""
    workers = await services.heartbeats.workers()
    return dict(await services.catalog.runs.silent_for()), {
        worker.worker: worker.run_id for worker in workers if worker.run_id
    }


def silent_since(
    begun: Mapping[str, float], heard: Collection[str], before: Mapping[str, float], now: float
) -> dict[str, float]:
    """Since when each of these runs has been silent; times are in seconds since the epoch."""
    return {
        run: min(before.get(run, now), now)
        for run, start in begun.items()
        if run not in heard and (now - start >= run_states.START_GRACE or is_of_the_future(start, now))
    }


def is_of_the_future(start: float, now: float) -> bool:
    """Whether the clock was set back since, and not only another machine's is a little ahead."""
    return start - now >= run_states.START_GRACE


def _over(instance: dg.DagsterInstance, silent_for: Mapping[str, float]) -> set[str]:
    """Those of the runs that are over. One that Dagster does not know was deleted, unless it is still heard."""
    if not silent_for:
        return set()
    known = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=list(silent_for)))}
    return {
        run
        for run, silent in silent_for.items()
        if (known[run].is_finished if run in known else silent > run_states.SILENT_AFTER)
    }
