"""Every Redis key."""

from antenna_orchestration.domain.ids import Generation, JobId

ALL_COUNTERS = "antenna:job:*:counters"
"""Matches the keys of all jobs' counters."""


def counters(job: JobId, generation: Generation) -> str:
    """Hash with a job's live counters."""
    return f"antenna:job:{job}:{generation}:counters"


def job_of_counters(key: str) -> tuple[JobId, Generation]:
    """The job and generation whose counters a key of `ALL_COUNTERS` holds."""
    _, _, job, generation, _ = key.split(":")
    return JobId(int(job)), Generation(int(generation))
