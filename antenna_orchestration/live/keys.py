"""Every Redis key, and the members of sets that name a job run or an image of one."""

from __future__ import annotations

from typing import Final

from antenna_orchestration.domain.ids import Generation, ImageId, JobId, JobRun

# Live counters.

ALL_COUNTERS: Final = "antenna:job:*:counters"
"""Matches the keys of all jobs' counters."""


def counters(job_run: JobRun) -> str:
    """Hash with a job's live counters."""
    return f"antenna:job:{job_run.job}:{job_run.generation}:counters"


def job_run_of_counters(key: str) -> JobRun:
    """The job run whose counters a key of `ALL_COUNTERS` holds."""
    _, _, job, generation, _ = key.split(":")
    return JobRun(JobId(int(job)), Generation(int(generation)))


# Leases and workers of the HTTP gateway.

LEASED_JOBS: Final = "antenna:http:jobs"
"""Set of the job runs that have leases or parked tasks."""

WORKERS: Final = "antenna:http:workers"
"""Sorted set of token ids by when each was last heard from."""

MARK: Final = "antenna:http:mark"
"""Text that the first gateway set: when it is another one, Redis has lost its data."""

REJECTED: Final = "antenna:http:rejected"
"""Hash of rejected calls by address."""

REJECTED_AT: Final = "antenna:http:rejected:at"
"""Hash of the last rejected call's time by address."""

HOLDING: Final = "antenna:http:worker:%d:holding"
"""Format of the keys that `holding` makes. Lua's `string.format` reads it as Python's `%` does."""


CLOCKS: Final = "antenna:http:clocks"
"""Hash of the clocks of job runs and of the two classes of jobs, and of when those of job runs last advanced."""


def leases(job_run: JobRun) -> str:
    """Hash of a job's leases by image."""
    return f"antenna:http:job:{job_run.job}:{job_run.generation}:leases"


def parked(job_run: JobRun) -> str:
    """Hash of the tasks that wait in the gateway to be leased singly, by image."""
    return f"antenna:http:job:{job_run.job}:{job_run.generation}:parked"


def confirmed(job_run: JobRun) -> str:
    """Sorted set of the images of both by when NATS was last told that their tasks are in progress."""
    return f"antenna:http:job:{job_run.job}:{job_run.generation}:confirmed"


def reports(job_run: JobRun) -> str:
    """Hash of what workers reported about a job's images that are still open, by image."""
    return f"antenna:http:job:{job_run.job}:{job_run.generation}:reports"


def holding(worker: int) -> str:
    """Set of the images that a worker holds, each with its job run."""
    return HOLDING % worker


def worker(worker: int) -> str:
    """Hash of a worker's counters and measurements."""
    return f"antenna:http:worker:{worker}"


def reasons(worker: int) -> str:
    """Hash of how often a worker gave each reason for an error."""
    return f"antenna:http:worker:{worker}:reasons"


def turns(worker: int) -> str:
    """Hash of a worker's turns on jobs, and of its speed with each pipeline."""
    return f"antenna:http:worker:{worker}:turns"


# Members of `LEASED_JOBS`, of `holding` and of `CLOCKS`.


def job_run_member(job_run: JobRun) -> str:
    """`<job>:<generation>`."""
    return f"{job_run.job}:{job_run.generation}"


def job_run_of_member(member: str) -> JobRun:
    """The job run that such a member names."""
    job, generation = member.split(":")
    return JobRun(JobId(int(job)), Generation(int(generation)))


def image_of_member(member: str) -> tuple[JobRun, ImageId]:
    """The job run and the image that a member of `holding` names: `<job>:<generation>:<image>`."""
    job_run, _, image = member.rpartition(":")
    return job_run_of_member(job_run), ImageId(int(image))
