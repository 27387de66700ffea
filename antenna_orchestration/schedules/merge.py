"""When tables are merged, for who switches it on: every night."""

import dagster as dg

from antenna_orchestration.jobs.operations import merge_tables

merge_schedule = dg.ScheduleDefinition(
    name="merge_tables",
    job=merge_tables,
    cron_schedule="30 2 * * *",
    # Optional: it writes every row a second time.
    default_status=dg.DefaultScheduleStatus.STOPPED,
    execution_timezone="UTC",
)
