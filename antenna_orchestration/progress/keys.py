"""Every Redis key."""

from antenna_orchestration.domain.ids import Generation, JobId


def counters(job: JobId, generation: Generation) -> str:
    """Hash with a job's live counters."""
    return f"antenna:job:{job}:{generation}:counters"
