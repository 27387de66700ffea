"""The orchestrator's side of a real queue, by hand: jobs put on it, results read back."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun, PipelineSlug
from antenna_orchestration.embedded import stores
from antenna_orchestration.queue import connection, names, streams
from antenna_orchestration.queue.announcements import Announcements
from antenna_orchestration.queue.heartbeats import Heartbeats
from antenna_orchestration.queue.leasing import Lease, Leaser
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.queue.publisher import Publisher
from antenna_orchestration.queue.results import ResultFeed
from antenna_orchestration.queue.tasks import TaskQueue, Waiting
from antenna_orchestration.settings import Settings, load
from tests import waiting
from tests.homes import temporary_folder

FIRST = Generation(1)


@dataclass(frozen=True)
class QueuedJob:
    """A job as the bench announced it."""

    job: JobId
    pipeline: PipelineSlug
    epoch: Epoch
    images: tuple[ImageId, ...]
    announcement: messages.Announcement

    @property
    def job_run(self) -> JobRun:
        """The job in its only generation."""
        return JobRun(self.job, FIRST)


class Bench:
    """The orchestrator's side of the queue, by hand. Made by `open_bench`."""

    def __init__(self, client: Client, tasks: TaskQueue, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.announcements = Announcements(client)
        self.heartbeats = Heartbeats(client)
        self._tasks = tasks
        self._numbers = iter(range(1, 1 << 30))

    async def submit(
        self,
        uris: Sequence[str],
        *,
        pipeline: str = "null",
        config: dict[str, Any] | None = None,
        priority: int = 1,
        interactive: bool = False,
        source_kinds: tuple[str, ...] = (),
        announce: bool = True,
    ) -> QueuedJob:
        """Open a job, publish its tasks, announce it; or leave that to `announce`."""
        job, epoch, slug = JobId(next(self._numbers)), names.new_epoch(), PipelineSlug(pipeline)
        ids = tuple(ImageId(image) for image in range(1, len(uris) + 1))
        await self._tasks.open(slug, JobRun(job, FIRST), epoch)
        await self._tasks.publish(
            [
                messages.Task(job=job, generation=FIRST, image=image, uri=uri, pipeline=slug, config_hash=str(config))
                for image, uri in zip(ids, uris, strict=True)
            ]
        )
        announcement = messages.Announcement(
            job=job,
            generation=FIRST,
            epoch=epoch,
            pipeline=slug,
            config=config or {},
            config_hash=str(config),
            priority=priority,
            interactive=interactive,
            source_kinds=source_kinds,
            total=len(ids),
            ack_wait=self.settings.task_ack_wait,
        )
        queued = QueuedJob(job, slug, epoch, ids, announcement)
        if announce:
            await self.announce(queued)
        return queued

    async def announce(self, job: QueuedJob) -> None:
        """Announce the job."""
        await self.announcements.announce(job.announcement)

    async def counts(self, job: QueuedJob) -> Waiting:
        """The task consumer's counters."""
        counts = await self._tasks.counts(job.job_run, job.epoch)
        assert counts is not None
        return counts

    async def lease_and_hand_back(self, job: QueuedJob, *, times: int) -> None:
        """Deliver every task of the job so often, as if workers had taken it and not finished."""
        async with Leaser(self.client, ack_wait=self.settings.task_ack_wait) as leaser:
            for _ in range(times):
                held: list[Lease] = []
                while len(held) < len(job.images):
                    held += await leaser.lease(job.job_run, job.epoch, len(job.images), wait=1.0) or []
                for lease in held:
                    await lease.hand_back()

    async def note_open_attempts(self, job: QueuedJob, image: ImageId, *, times: int) -> None:
        """Say so often that the image's task is about to be opened, as workers did that it killed."""
        task = messages.Task(job=job.job, generation=FIRST, image=image, uri="", pipeline=job.pipeline, config_hash="")
        async with Publisher(self.client) as publisher:
            for _ in range(times):
                await OpenAttempts(self.client, publisher).note(task)

    async def withdraw(self, job: QueuedJob) -> None:
        """Withdraw the job, as a cancel does first."""
        await self.announcements.withdraw(job.job_run)

    async def unread(self, job: QueuedJob) -> int:
        """How many of the job's images have a result in the queue."""
        return len(await self._tasks.unread_results(job.job_run))

    async def unread_count(self) -> int:
        """How many results lie in the queue, of all jobs; cheaper than asking for one job's."""
        return int((await self.client.jetstream(timeout=60).stream_info(names.RESULTS)).state.messages)

    async def is_leased(self, job: QueuedJob, images: int = 1) -> None:
        """Wait until so many of the job's tasks are in workers' hands."""

        async def leased() -> bool:
            return (await self.counts(job)).leased >= images

        await waiting.eventually(leased, description=f"{images} leased tasks of job {job.job}")

    async def is_under_way(self, job: QueuedJob, images: int = 5) -> None:
        """Wait until the job has so many results and tasks in workers' hands besides."""

        async def under_way() -> bool:
            return await self.unread(job) >= images and (await self.counts(job)).leased > 0

        await waiting.eventually(under_way, description=f"{images} results of job {job.job}")

    async def redelivers(self, job: QueuedJob, images: int) -> None:
        """Wait until leases that ended were handed out again, so many of them."""

        async def redelivered() -> bool:
            counts = await self.counts(job)
            return counts.delivered + counts.queued >= len(job.images) + images or counts.redelivered >= images

        await waiting.eventually(redelivered, description=f"{images} redeliveries of job {job.job}")

    async def is_back(self) -> None:
        """Wait until the server answers again after a restart."""

        async def answers() -> bool:
            try:
                await self.announcements.read()
            except errors.Unavailable:
                return False
            return self.client.is_connected

        await waiting.eventually(answers, description="NATS to answer again")

    async def wipe(self) -> None:
        """Delete all streams and buckets and make them again, empty."""
        js = self.client.jetstream(timeout=60)
        for stream in await js.streams_info():
            await js.delete_stream(str(stream.config.name))
        await streams.ensure(self.client, tasks_max_bytes=2**30, results_max_bytes=2**30)

    async def results(
        self, job: QueuedJob, *, count: int | None = None, timeout: float = 120.0
    ) -> list[messages.Result]:
        """Wait until every image of the job (or so many) has a result, and return all results, acknowledged."""
        wanted = len(job.images) if count is None else count
        found: list[messages.Result] = []
        async with ResultFeed(self.client, job.job_run) as feed:

            async def enough() -> bool:
                received = await feed.pull(500, wait=0.1)
                found.extend(messages.decode(messages.Result, one.payload) for one in received)
                await feed.acknowledge(received)
                return len({result.image for result in found}) >= wanted

            await waiting.eventually(enough, description=f"{wanted} results of job {job.job}", timeout=timeout)
        return found


@contextlib.contextmanager
def queue_server(**overrides: Any) -> Iterator[stores.EmbeddedStores]:
    """A NATS server of one's own, with the accounts of the embedded stack; the other stores are not started."""
    with temporary_folder() as folder:
        blank = dict.fromkeys(("nats_url", "worker_nats_url", "redis_url", "database_url", "dagster_pg_url"), "")
        running = stores.EmbeddedStores(
            stores.plan(load(home=folder / ".antenna", **{**blank, **overrides}), dagster=False)
        )
        running.start("nats")
        try:
            yield running
        finally:
            running.stop()


LONG_LEASES = pytest.mark.parametrize("task_ack_wait", [60.0])
"""For tests in which no lease ends: not on a busy machine, either."""


@contextlib.asynccontextmanager
async def open_bench(settings: Settings) -> AsyncIterator[Bench]:
    """Connect as the orchestrator and make the streams."""
    async with connection.connected(settings.nats_url, name="bench") as client:
        await streams.ensure(client, tasks_max_bytes=2**30, results_max_bytes=2**30)
        async with TaskQueue(client, ack_wait=settings.task_ack_wait) as tasks:
            yield Bench(client, tasks, settings)


def once_each(results: Iterable[messages.Result]) -> dict[int, messages.Result]:
    """The results by image. Fails when an image has two."""
    by_image = {int(result.image): result for result in results}
    twice = [image for image, count in Counter(int(result.image) for result in results).items() if count > 1]
    assert not twice, f"more than one result for {twice}"
    return by_image
