"""The sensor that cancels the job of a run that a person terminated, even if the run could not do so itself.

Also when the run was still waiting in the run queue. The rule is `cancel_with_run`'s.
"""

import asyncio

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.assets.run_session import PARTITION, has_another_run, is_in_charge
from antenna_orchestration.domain import ids
from antenna_orchestration.jobs.processing import process_job
from antenna_orchestration.processing import cancel
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.stores import Stores


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    # Runs of `dagster job execute` belong to no code location; without this they are not seen.
    monitor_all_code_locations=True,
    # Less than the five seconds between looks: one that comes early, because of a job, may be a moment too early.
    minimum_interval_seconds=4,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Cancels the job whose process_job run a person terminated, as antenna jobs cancel does. Switched "
    "off, such a job is canceled later, by queued_jobs.",
)
def job_run_status(context: dg.RunStatusSensorContext, stores: Stores) -> dg.SkipReason | None:
    """Cancel the job of a canceled `process_job` run, if that run was in charge of it and is its only one; idempotent.

    What this leaves undone, for another run or because a server is away, is `queued_jobs`' when the job is silent.
    """
    run = context.dagster_run
    partition = run.tags.get(PARTITION)
    if run.job_name != process_job.name or partition is None:
        return dg.SkipReason("not a run of process_job")
    job_id = ids.job_of_partition(partition)

    async def cancel_job(services: Services) -> bool:
        job = await services.catalog.jobs.find(job_id)
        if job is None or job.status.is_terminal or not is_in_charge(run, job):
            return False
        if await asyncio.to_thread(has_another_run, context.instance, run):
            return False
        return await cancel.cancel_with_run(services, job, run_id=run.run_id)

    try:
        return None if stores.in_tick(cancel_job) else dg.SkipReason(f"{partition} needs nothing")
    except errors.Unavailable as error:
        # Dagster reports the run only once; the sensor queued_jobs notices it when the job's collector is silent.
        return dg.SkipReason(f"{partition} is not canceled yet: {error}")
