"""Every Redis key."""

from antenna_orchestration.domain.ids import Generation, JobId

ALL_COUNTERS = "antenna:job:*:counters"
"""Matches the keys of all jobs' counters."""


def counters(job: JobId, generation: Generation) -> str:
    """Hash with a job's live counters."""
    return f"antenna:job:{job}:{generation}:counters"


# Leases and workers of the HTTP gateway.

LEASED_JOBS = "antenna:http:jobs"
"""Set of `<job>:<generation>` with leases or parked tasks."""

WORKERS = "antenna:http:workers"
"""Sorted set of token ids by when each was last heard from."""

REJECTED = "antenna:http:rejected"
"""Hash of rejected calls by address."""

REJECTED_AT = "antenna:http:rejected:at"
"""Hash of the last rejected call's time by address."""


def leases(job: JobId, generation: Generation) -> str:
    """Hash of a job's leases by image."""
    return f"antenna:http:job:{job}:{generation}:leases"


def parked(job: JobId, generation: Generation) -> str:
    """Hash of tasks that wait in the gateway to be given out alone, by image."""
    return f"antenna:http:job:{job}:{generation}:parked"


def confirmed(job: JobId, generation: Generation) -> str:
    """Sorted set of the images of both by when NATS was last told that they are in progress."""
    return f"antenna:http:job:{job}:{generation}:confirmed"


def holding(worker: int) -> str:
    """Set of `<job>:<generation>:<image>` in a worker's hands."""
    return f"antenna:http:worker:{worker}:holding"


def worker(worker: int) -> str:
    """Hash of a worker's counters and measurements."""
    return f"antenna:http:worker:{worker}"


def job_of_counters(key: str) -> tuple[JobId, Generation]:
    """The job and generation whose counters a key of `ALL_COUNTERS` holds."""
    _, _, job, generation, _ = key.split(":")
    return JobId(int(job)), Generation(int(generation))
