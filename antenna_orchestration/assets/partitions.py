"""The partitions of the assets: one per job, `job-<id>`, and of a season one per project and night; never per image.

The key of a job is added when it is submitted through Dagster or claimed by the sensor. It is not deleted while the job
may still run, because a run whose partition is gone fails at its end.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

import dagster as dg

from antenna_orchestration import settings

processing_jobs = dg.DynamicPartitionsDefinition(name="processing_jobs")

projects = dg.DynamicPartitionsDefinition(name="projects")
"""The projects that have a season; a key is added with the first night of it."""

NIGHT, PROJECT = "night", "project"
"""The dimensions of `season_nights`."""


_LEAST: Final = timedelta(days=90)
"""Nights that there are partitions for, at least: in the first months of a year, those of the year before are there."""


def _first_night() -> date:
    return settings.get().season_start or date((datetime.now(UTC) - _LEAST).year, 1, 1)


season_nights = dg.MultiPartitionsDefinition(
    {
        # From noon to noon, as nights are; the one that has begun is there, too.
        NIGHT: dg.DailyPartitionsDefinition(str(_first_night()), hour_offset=12, end_offset=1),
        PROJECT: projects,
    }
)


def season_key(project: str, night: date) -> dg.MultiPartitionKey:
    """The partition of a project's night."""
    return dg.MultiPartitionKey({NIGHT: night.isoformat(), PROJECT: project})


def has_partition(night: date | None) -> bool:
    """Whether there is a partition for a night: not where a clock was far off, or the time is not known."""
    return night is not None and season_nights.get_partitions_def_for_dimension(NIGHT).has_partition_key(str(night))
