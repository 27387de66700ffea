"""The sensors, tick by tick, on the real stores and an ephemeral Dagster instance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import dagster as dg
import psycopg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.sensors.queued_jobs import CLAIMS_AT_ONCE, MAX_STALLED, queued_jobs
from tests.processing.jobs_by_hand import make_job

T = TypeVar("T")


def do(wanted: settings.Settings, act: Callable[[Services], Awaitable[T]]) -> T:
    async def main() -> T:
        async with opened(wanted) as services:
            return await act(services)

    return asyncio.run(main())


def urgent_job(wanted: settings.Settings, project: str) -> Job:
    """A job that the next tick claims, however many others were left queued in the shared stores."""
    return do(wanted, lambda services: make_job(services, project, 5, priority=10))


def job_of(wanted: settings.Settings, job: Job) -> Job:
    return do(wanted, lambda services: services.catalog.jobs.get(job.job_id))


def requests(instance: dg.DagsterInstance, job: Job) -> list[dg.RunRequest]:
    """One tick; the run requests for this test's job among those of jobs that other tests left."""
    with dg.build_sensor_context(
        instance=instance, resources={"stores": Stores()}, definitions=build_definitions()
    ) as context:
        result = queued_jobs(context)
    if isinstance(result, dg.SkipReason):
        return []
    assert isinstance(result, dg.SensorResult)
    keys = [key for request in result.dynamic_partitions_requests or [] for key in request.partition_keys]
    found = [request for request in result.run_requests or [] if request.partition_key == ids.partition_key(job.job_id)]
    assert all(request.partition_key in keys for request in found)
    return found


def long_ago(wanted: settings.Settings, job: Job, *, lived: str = "0 s") -> None:
    """Make the job's claim an hour old, and let its collector have begun then and lived so long."""
    with psycopg.connect(wanted.database_url) as connection:
        connection.execute("UPDATE jobs SET claimed_at = now() - interval '1 hour' WHERE job_id = %s", [job.job_id])
        connection.execute(
            "UPDATE collectors SET started_at = now() - interval '1 hour', "
            "heartbeat_at = now() - interval '1 hour' + %s::interval WHERE job_id = %s",
            [lived, job.job_id],
        )


def start(wanted: settings.Settings, job: Job, run_id: str) -> None:
    """What a run does first."""

    async def act(services: Services) -> None:
        current = await services.catalog.jobs.get(job.job_id)
        assert await services.catalog.jobs.start(current.job_run, run_id)
        await services.catalog.collectors.enter(current.job_run, run_id=run_id, host="test")

    do(wanted, act)


@pytest.mark.long
def test_a_queued_job_is_claimed_once(wanted: settings.Settings, project: str) -> None:
    job = do(wanted, lambda services: make_job(services, project, 5, priority=10, name="a\x1b[31m", created_by="anna"))
    with dg.DagsterInstance.ephemeral() as instance:
        (request,) = requests(instance, job)
        assert request.run_key == f"{job.job_id}:1:1"
        known = {name: request.tags[f"antenna/{name}"] for name in ("name", "project", "pipeline", "submitted-by")}
        assert known == {"name": "a?[31m", "project": project, "pipeline": "null", "submitted-by": "anna"}
        assert request.tags["antenna/role"] == "collector-small"
        assert requests(instance, job) == []
    claimed = job_of(wanted, job)
    assert (claimed.status, claimed.published_upto) == (JobStatus.CLAIMED, 5)


@pytest.mark.long
def test_one_tick_claims_more_than_one_round_of_jobs(wanted: settings.Settings, project: str) -> None:
    async def make(services: Services) -> list[Job]:
        return [await make_job(services, f"{project}-{n}"[-60:], 1, priority=10) for n in range(CLAIMS_AT_ONCE + 1)]

    jobs = do(wanted, make)
    with dg.DagsterInstance.ephemeral() as instance:
        assert requests(instance, jobs[-1])
    assert all(job_of(wanted, job).status is JobStatus.CLAIMED for job in jobs)


@pytest.mark.parametrize(
    ("images", "interactive", "role"),
    [(1, True, "collector-interactive"), (5, False, "collector-small"), (1_001, False, "collector-bulk")],
)
def test_interactive_small_and_long_jobs_have_limits_of_their_own(
    wanted: settings.Settings, project: str, images: int, interactive: bool, role: str
) -> None:
    job = do(wanted, lambda services: make_job(services, project, images, interactive=interactive, priority=10))
    with dg.DagsterInstance.ephemeral() as instance:
        (request,) = requests(instance, job)
    assert request.tags["antenna/role"] == role


def test_two_claimers_never_share_a_job(wanted: settings.Settings, project: str) -> None:
    async def race(services: Services) -> list[int]:
        jobs = [await make_job(services, f"{project}-{n}"[-60:], 1, priority=10) for n in range(12)]
        claims = await asyncio.gather(*(services.catalog.jobs.claim(5) for _ in range(6)))
        claimed = [job.job_id for claim in claims for job in claim]
        assert {job.job_id for job in jobs} <= set(claimed)
        return claimed

    claimed = do(wanted, race)
    assert len(claimed) == len(set(claimed))


def test_a_job_whose_run_is_gone_is_launched_again(wanted: settings.Settings, project: str) -> None:
    job = urgent_job(wanted, project)
    with dg.DagsterInstance.ephemeral() as instance:
        requests(instance, job)
        # The request never became a run.
        assert requests(instance, job) == []
        long_ago(wanted, job)
        (second,) = requests(instance, job)
        assert second.run_key == f"{job.job_id}:1:2"

        # A run that runs and beats is left alone, and one that has not started is, too.
        start(wanted, job, "run-2")
        assert requests(instance, job) == []
        long_ago(wanted, job)
        run = instance.create_run_for_job(
            build_definitions().resolve_job_def("process_job"),
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={"dagster/partition": ids.partition_key(job.job_id)},
        )
        assert requests(instance, job) == []
        instance.report_run_canceled(run)
        (third,) = requests(instance, job)
        assert third.run_key == f"{job.job_id}:1:3"


def test_a_job_that_kills_every_run_is_given_up(wanted: settings.Settings, project: str) -> None:
    job = urgent_job(wanted, project)
    with dg.DagsterInstance.ephemeral() as instance:
        launches = len(requests(instance, job))
        for number in range(MAX_STALLED):
            start(wanted, job, f"run-{number}")
            long_ago(wanted, job, lived="1 minute")
            launches += len(requests(instance, job))
    final = job_of(wanted, job)
    assert (launches, final.status) == (MAX_STALLED, JobStatus.FAILURE)
    assert final.status_reason == f"{MAX_STALLED} launches in a row died without accounting for an image"


def test_waiting_for_a_worker_is_not_dying(wanted: settings.Settings, project: str) -> None:
    """A stack stopped in order five times while no worker is there does not fail the job."""
    job = urgent_job(wanted, project)
    with dg.DagsterInstance.ephemeral() as instance:
        requests(instance, job)
        for number in range(MAX_STALLED + 1):
            start(wanted, job, f"run-{number}")
            do(
                wanted,
                lambda services, run=f"run-{number}": services.catalog.collectors.leave(job.job_run, run_id=run),
            )
            assert len(requests(instance, job)) == 1
    assert job_of(wanted, job).status is JobStatus.RUNNING
