"""What runs on a schedule: the health check, the pruning of history, and the merging of tables if it is switched on."""

import dagster as dg

from antenna_orchestration import settings
from antenna_orchestration.jobs.operations import jobs_health_check, merge_tables, prune_history

health_check_schedule = dg.ScheduleDefinition(
    name="jobs_health_check",
    job=jobs_health_check,
    cron_schedule=settings.get().health_check_cron,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    execution_timezone="UTC",
    description="Runs every health check, records each as an asset check of jobs_health, and repairs what can be "
    "repaired; how often says ANTENNA_HEALTH_CHECK_CRON (UTC).",
)

merge_schedule = dg.ScheduleDefinition(
    name="merge_tables",
    job=merge_tables,
    cron_schedule="30 2 * * *",
    # Off by default, because it writes every row a second time.
    default_status=dg.DefaultScheduleStatus.STOPPED,
    execution_timezone="UTC",
    description="Copies the tables of finished jobs into files that many jobs share, every night at 2:30 UTC. Off "
    "until switched on, because it stores every row a second time.",
)

prune_schedule = dg.ScheduleDefinition(
    name="prune_history",
    job=prune_history,
    cron_schedule="30 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    execution_timezone="UTC",
    description="Deletes each night at 3:30 UTC what Dagster keeps of jobs that have been over for "
    "ANTENNA_HISTORY_DAYS, and health runs after ANTENNA_HEALTH_HISTORY_DAYS; never a result.",
)
