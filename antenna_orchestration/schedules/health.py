"""When the health check runs: every quarter of an hour unless `ANTENNA_HEALTH_CHECK_CRON` says otherwise."""

import dagster as dg

from antenna_orchestration import settings
from antenna_orchestration.jobs.operations import jobs_health_check

health_check_schedule = dg.ScheduleDefinition(
    name="jobs_health_check",
    job=jobs_health_check,
    cron_schedule=settings.get().health_check_cron,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    execution_timezone="UTC",
)
