"""Rounds of starting workers, on real stores: what is on record, what waiting jobs say, and who else is at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from antenna_orchestration.domain import messages
from antenna_orchestration.domain.job import Job
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores
from antenna_orchestration.pools.configuration import AnyPool, CommandPool
from antenna_orchestration.processing import cancel, publish, scale, waiting
from antenna_orchestration.processing.scale import Round
from antenna_orchestration.processing.services import Services, opened, prepare
from tests.homes import temporary_folder
from tests.processing.jobs_by_hand import make_job
from tests.waiting import eventually


@pytest.fixture(scope="module")
def own(template: Path) -> Iterator[EmbeddedStores]:
    """Stores of these tests alone: a round looks at every job."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        yield stores


@pytest.fixture
async def services(own: EmbeddedStores, tmp_path: Path) -> AsyncIterator[Services]:
    file = tmp_path / "pools.yaml"
    wanted = own.settings.model_copy(update={"worker_pools": file})
    await prepare(wanted)
    async with opened(wanted) as services:
        yield services
        for job in await services.catalog.jobs.list(limit=100):
            if not job.status.is_terminal:
                await cancel.cancel(services, job.job_id, reason="the test is over")
        for worker in await services.heartbeats.workers():
            await services.heartbeats.leave(worker.worker)
    with psycopg.connect(wanted.database_url) as connection:
        for table in ("worker_starts", "worker_pools", "pipeline_speeds"):
            connection.execute(f"DELETE FROM {table}")


class Cloud:
    """A pool whose commands keep a file of what is there."""

    def __init__(self, services: Services, folder: Path, **changes: Any) -> None:
        self.services = services
        self.there = folder / "there"
        self.there.touch()
        start = ["sh", "-c", f'echo "$2" >> {self.there}; echo "$2"', "start"]
        cancel_ = ["sh", "-c", f'sed -i "/$0/d" {self.there}']
        values = {
            "kind": "command", "most": 5, "start": start, "list": ["cat", str(self.there)], "cancel": cancel_,
            "finish_within_minutes": 10 / 60, "cold_start_seconds": 0.001, "idle_exit_seconds": 0.001,
        }  # fmt: skip
        pool = CommandPool.model_validate(values | changes)
        assert services.settings.worker_pools
        services.settings.worker_pools.write_text(f"cloud: {pool.model_dump_json()}\n")
        self.pools: dict[str, AnyPool] = {"cloud": pool}

    async def round(self) -> Round:
        done = await scale.round_(self.services, self.pools, scale.launchers_of(self.pools))
        assert done is not None
        return done

    @property
    def names(self) -> list[str]:
        return self.there.read_text().split()


async def published(services: Services, project: str, images: int, **changes: Any) -> Job:
    job = await make_job(services, project, images, **changes)
    await publish.publish(services, job.job_id)
    return await services.catalog.jobs.get(job.job_id)


async def heard(services: Services, worker: str, **changes: Any) -> None:
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "worker": worker, "host": "elsewhere", "pid": 1, "device": "cpu", "pipelines": ("null",), "reaches": ("http",),
        "started_at": now, "at": now,
    }  # fmt: skip
    beat = messages.Heartbeat(**(values | changes))
    await services.heartbeats.beat(beat)

    async def seen() -> bool:
        return beat in await services.heartbeats.workers()

    await eventually(seen, description="the heartbeat")


@pytest.mark.long
async def test_as_many_are_started_as_the_backlog_needs_and_no_more(
    services: Services, project: str, tmp_path: Path
) -> None:
    cloud = Cloud(services, tmp_path)
    assert (await cloud.round()).decisions[0].why == "nothing waits"
    # At a guess of a second each they take three workers some ten seconds.
    await published(services, project, 28)
    planned = await scale.explained(services, cloud.pools, scale.launchers_of(cloud.pools))
    assert (planned.decisions[0].start, cloud.names) == (3, []), "a dry run starts nothing"
    assert (await cloud.round()).decisions[0].start == 3
    assert len(cloud.names) == 3
    assert (await cloud.round()).decisions[0].start == 0, "those on their way count"
    # They come, and turn out to be ten times as slow as guessed.
    for name in cloud.names:
        await heard(services, name, seconds={"null": 10.0})
    decision = (await cloud.round()).decisions[0]
    assert (decision.heard, decision.start, decision.is_short) == (3, 2, True)
    assert "at most 5" in decision.why


async def test_a_start_that_is_of_no_use_any_more_is_taken_back(
    services: Services, project: str, tmp_path: Path
) -> None:
    cloud = Cloud(services, tmp_path, cool_down_seconds=0.001)
    job = await published(services, project, 18)
    await cloud.round()
    assert len(cloud.names) == 2
    await cancel.cancel(services, job.job_id, reason="a test")
    # A command lists no start as waiting, so all of them run: nothing that runs is stopped.
    assert not (await cloud.round()).decisions[0].cancel
    assert len(cloud.names) == 2


async def test_a_start_that_fails_is_told_to_the_job_and_tried_again(
    services: Services, project: str, tmp_path: Path
) -> None:
    """P4: a run that failed at once was started anew at each tick, and its error was told to nobody."""
    cloud = Cloud(services, tmp_path, start=["sh", "-c", "echo no quota for GPUs >&2; exit 1", "start"])
    job = await published(services, project, 5)
    first = await cloud.round()
    assert first.faults == {"cloud": "sh: no quota for GPUs"}
    again = (await cloud.round()).decisions[0]
    assert again.start == 0
    assert "1 start ended before it worked (sh: no quota for GPUs); tried again in" in again.why
    told = (await scale.why_not_started(services, [job]))[job.job_id]
    assert "pool cloud:" in told
    assert "no quota for GPUs" in told
    assert await waiting.why_unfit(services, job, []) == ""

    # Whoever starts it by other means ends the wait.
    with psycopg.connect(services.settings.database_url) as connection:
        connection.execute("UPDATE worker_starts SET ended_at = now() - interval '1 hour'")
    assert (await cloud.round()).faults, "it is tried again"
    assert (await services.catalog.worker_starts.past())["cloud"].failures == 2


async def test_a_start_that_may_have_happened_counts_until_it_is_not_there(
    services: Services, project: str, tmp_path: Path
) -> None:
    """A controller that is busy takes the job and answers late: each try started another worker."""
    there = tmp_path / "there"
    late = ["sh", "-c", f'echo "$2" >> {there}; sleep 30', "start"]
    cloud = Cloud(services, tmp_path, start=late, timeout_seconds=0.5)
    await published(services, project, 5)
    assert (await cloud.round()).faults == {"cloud": "sh took longer than 0.5 s"}
    decision = (await cloud.round()).decisions[0]
    assert (decision.on_their_way, decision.start) == (1, 0)
    assert len(cloud.names) == 1


async def test_workers_that_do_not_serve_the_job_are_not_added_to(
    services: Services, project: str, tmp_path: Path
) -> None:
    """A pool whose machines have an earlier release, or reach less than its file says: as many as it may have came."""
    cloud = Cloud(services, tmp_path)
    await published(services, project, 28)
    name = "cloud-0123abcd"
    await heard(services, name, pipelines=("other",))
    assert (await cloud.round()).decisions[0].start == 0
    # One that was there before the job may not know what was installed since.
    await heard(services, name, pipelines=("other",), started_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert (await cloud.round()).decisions[0].start == 3


async def test_nonsense_that_a_worker_measured_is_not_believed(
    services: Services, project: str, tmp_path: Path
) -> None:
    """A number beyond all bounds ended each round with an OverflowError, also after that worker had left."""
    cloud = Cloud(services, tmp_path)
    await published(services, project, 28)
    await heard(services, "gpu-0123abcd", pipelines=("null", "other"), reaches=("s3:none",),
                seconds={"null": 1.7e308, "other": 2.0, "unknown": 2.0})  # fmt: skip
    assert (await cloud.round()).decisions[0].start == 3
    assert await services.catalog.worker_starts.speeds() == {("", "other"): 2.0}, "by pools that there are"


async def test_starts_of_a_pool_that_is_gone_end(services: Services, project: str, tmp_path: Path) -> None:
    """They were open for ever, and nothing said that they ended."""
    cloud = Cloud(services, tmp_path)
    starts = services.catalog.worker_starts
    await starts.add("removed", ["removed-0123abcd"])
    await cloud.round()
    assert await starts.open(), "another process may look after it"
    with psycopg.connect(services.settings.database_url) as connection:
        connection.execute("UPDATE worker_starts SET requested_at = now() - interval '25 hours'")
    await cloud.round()
    assert not await starts.open()


async def test_a_worker_that_worked_is_no_failure_however_it_ended(
    services: Services, project: str, tmp_path: Path
) -> None:
    cloud = Cloud(services, tmp_path)
    await published(services, project, 5)
    await cloud.round()
    [name] = cloud.names
    await heard(services, name, done=1)
    await cloud.round()
    await services.catalog.worker_starts.end({name: "killed"})
    await services.heartbeats.leave(name)
    assert (await services.catalog.worker_starts.past())["cloud"].failures == 0


async def test_of_two_processes_one_decides(services: Services, project: str, tmp_path: Path) -> None:
    cloud = Cloud(services, tmp_path)
    await published(services, project, 28)
    async with services.catalog.worker_starts.lock() as is_ours:
        assert is_ours
        assert await scale.round_(services, cloud.pools, scale.launchers_of(cloud.pools)) is None
    rounds = await asyncio.gather(
        *(scale.round_(services, cloud.pools, scale.launchers_of(cloud.pools)) for _ in range(4))
    )
    assert len(cloud.names) == 3
    assert sum(one.decisions[0].start for one in rounds if one) == 3


async def test_a_pool_that_does_not_answer_starts_nothing_and_says_so(
    services: Services, project: str, tmp_path: Path
) -> None:
    cloud = Cloud(services, tmp_path)
    job = await published(services, project, 18)
    await cloud.round()
    broken = Cloud(services, tmp_path, list=["sh", "-c", "echo the controller is down >&2; exit 1"])
    await published(services, project, 28, name="more")
    assert (await broken.round()).decisions[0].start == 0
    assert "the controller is down" in (await scale.why_not_started(services, [job]))[job.job_id]
    assert len(cloud.names) == 2


async def test_jobs_that_the_pools_workers_leave_alone_start_none(
    services: Services, project: str, tmp_path: Path
) -> None:
    cloud = Cloud(services, tmp_path)
    job = await published(services, project, 28)
    await heard(services, "cloud-0123abcd", refused={str(job.job_id): "it is bound to other code"})
    assert (await cloud.round()).decisions[0].start == 0
    await services.heartbeats.leave("cloud-0123abcd")
    elsewhere = await published(services, project, 28, name="elsewhere", source_kinds=["file:card-reader"])
    await services.catalog.jobs.cancel(job.job_id, "a test")
    assert (await cloud.round()).decisions[0].work == 0, "its workers cannot read that host's files"
    assert elsewhere.job_id not in await scale.why_not_started(services, [elsewhere])


async def test_a_broken_file_of_pools_is_what_jobs_wait_for(services: Services, project: str) -> None:
    job = await published(services, project, 1)
    assert services.settings.worker_pools
    services.settings.worker_pools.write_text("cloud: [")
    assert "pools.yaml: line 2: " in (await scale.why_not_started(services, [job]))[job.job_id]


async def test_workers_of_no_use_are_started_ever_more_rarely(services: Services, project: str, tmp_path: Path) -> None:
    """When one that refuses the job had left, the next was started at once, and so on for ever."""
    cloud = Cloud(services, tmp_path)
    job = await published(services, project, 5)
    await cloud.round()
    [name] = cloud.names
    await heard(services, name, refused={str(job.job_id): "it is bound to other code"})
    await cloud.round()
    await services.heartbeats.leave(name)
    cloud.there.write_text("")
    [decision] = (await cloud.round()).decisions
    assert decision.start == 0
    assert "it is bound to other code); tried again in" in decision.why

    # One that works for another job is of use.
    with psycopg.connect(services.settings.database_url) as connection:
        connection.execute("DELETE FROM worker_starts")
    await cloud.round()
    [name] = cloud.names
    await published(services, project, 5, name="other")
    await heard(services, name, refused={str(job.job_id): "it is bound to other code"})
    await cloud.round()
    await services.heartbeats.leave(name)
    cloud.there.write_text("")
    assert (await cloud.round()).decisions[0].start
