"""The sensor that cancels the job of a run that a person terminated, even if the run could not do so itself."""

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain import ids
from antenna_orchestration.jobs.processing import process_job
from antenna_orchestration.processing import cancel
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.sensors.queued_jobs import is_in_charge


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    # Runs of `dagster job execute` belong to no code location; without this they are not seen.
    monitor_all_code_locations=True,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def job_run_status(context: dg.RunStatusSensorContext, stores: Stores) -> dg.SkipReason | None:
    """Cancel the job of a canceled `process_job` run, if that run was in charge of it; idempotent."""
    run = context.dagster_run
    partition = run.tags.get("dagster/partition")
    if run.job_name != process_job.name or partition is None:
        return dg.SkipReason("not a run of process_job")
    job_id = ids.job_of_partition(partition)

    async def cancel_job(services: Services) -> bool:
        job = await services.catalog.jobs.find(job_id)
        if job is None or job.status.is_terminal:
            return False
        if not is_in_charge(run, job):
            return False
        return await cancel.cancel(services, job_id, reason="the run was terminated")

    try:
        return None if stores.call(cancel_job) else dg.SkipReason(f"{partition} needs nothing")
    except errors.Unavailable as error:
        # Dagster reports the run only once; the sensor queued_jobs notices it when the job's collector is silent.
        return dg.SkipReason(f"{partition} is not canceled yet: {error}")
