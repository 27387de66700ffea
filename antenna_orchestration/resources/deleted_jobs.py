"""What Dagster holds of jobs that were deleted: the partition, its runs with events, checks and logs, and their going.

Whoever deletes a job clears it if Dagster's instance is at hand; the health check of the stack clears what is left.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

import dagster as dg

from antenna_orchestration.domain import ids
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import dagster_history

PARTITIONS: Final = "processing_jobs"
"""The name of the definition in `assets/partitions.py`."""

_PARTITION_TAG: Final = "dagster/partition"

_AT_ONCE: Final = 500
"""Jobs of which runs are looked for in one query."""


@contextlib.contextmanager
def instance_at_hand(variables: dict[str, str]) -> Iterator[dg.DagsterInstance | None]:
    """Dagster's instance of this process's or a stack's `variables`; None if neither says where Dagster is.

    Its configuration takes the database's address from the environment.
    """
    missing = {name: value for name, value in variables.items() if name not in os.environ}
    if not (os.environ.get("DAGSTER_HOME") or missing.get("DAGSTER_HOME")):
        yield None
        return
    os.environ.update(missing)
    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    finally:
        for name in missing:
            del os.environ[name]


def runs_of(instance: dg.DagsterInstance, jobs: Sequence[JobId]) -> dict[JobId, list[dg.DagsterRun]]:
    """The runs of the partitions of these jobs, over or not."""
    found: dict[JobId, list[dg.DagsterRun]] = {job: [] for job in jobs}
    for start in range(0, len(jobs), _AT_ONCE):
        keys = [ids.partition_key(job) for job in jobs[start : start + _AT_ONCE]]
        for run in instance.get_runs(dg.RunsFilter(tags={_PARTITION_TAG: keys})):
            found[ids.job_of_partition(run.tags[_PARTITION_TAG])].append(run)
    return found


def forget(instance: dg.DagsterInstance, jobs: Sequence[JobId]) -> list[JobId]:
    """Delete what Dagster holds of these jobs; returns those of which nothing is left. Idempotent, may be killed.

    A job with a run that is not over waits: a run whose partition is gone fails at its end.
    """
    done = []
    runs: list[str] = []
    for job, of_job in runs_of(instance, jobs).items():
        if all(run.status in dagster_history.OVER for run in of_job):
            done.append(job)
            runs += [run.run_id for run in of_job]
    for start in range(0, len(runs), dagster_history.PAGE):
        dagster_history.delete_runs(instance, runs[start : start + dagster_history.PAGE])
    there = set(instance.get_dynamic_partitions(PARTITIONS)) if done else set()
    keys = [key for job in done if (key := ids.partition_key(job)) in there]
    dagster_history.delete_partitions(instance, PARTITIONS, keys)
    return done


async def forget_open(services: Services, instance: dg.DagsterInstance) -> list[JobId]:
    """Clear what Dagster holds of all jobs of which it may hold something; returns the jobs."""
    waiting = [one.job_id for one in await services.catalog.deletions.open(dagster=True) if not one.dagster_cleared_at]
    return await forget_these(services, instance, waiting)


async def forget_these(services: Services, instance: dg.DagsterInstance, jobs: Sequence[JobId]) -> list[JobId]:
    """The same for these jobs."""
    done = await asyncio.to_thread(forget, instance, jobs) if jobs else []
    if done:
        await services.catalog.deletions.note_dagster_cleared(done)
    return done
