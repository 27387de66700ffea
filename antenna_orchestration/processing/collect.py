"""Collect: read a job's results until every image is accounted for, and look after the job while doing so.

The order per batch is the whole guarantee: the part is written and on the disk, then one guarded statement moves the
images and names the part, then the results are acknowledged. A crash between any two costs a repetition that moves no
image a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import pyarrow as pa
import ulid

from antenna_orchestration import errors
from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import ACTIVE, Counts, ImageStatus, Job
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.lake import rows
from antenna_orchestration.processing import publish, retrying
from antenna_orchestration.processing.job_log import JobLog
from antenna_orchestration.processing.read_ahead import FLUSH, ReadAhead
from antenna_orchestration.processing.reconcile import reconcile
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.results import Received, ResultFeed

logger = logging.getLogger(__name__)

BEAT_EVERY: Final = 5.0
"""Seconds between heartbeats; a collector silent for 15 s is taken for dead."""

GUARD_EVERY: Final = 10.0
"""Seconds between looks for lost images and for listening workers."""

SHOW_EVERY: Final = 1.0
"""Seconds between writes of the live counters."""

LOOK_EVERY: Final = 2.5
"""Seconds until a collector notices that its job was canceled."""

RATE_WINDOW: Final = 30.0
"""Seconds over which the rate is taken."""

UNREADABLE: Final = "its results could not be read"


class JobLeft(Exception):
    """The job was canceled, finished or retried while it was being collected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observer:
    """Whom the collector tells. Both are called on its event loop and must neither block nor raise."""

    # The counters, about once a second.
    on_progress: Callable[[JobProgress], None] = lambda _: None
    # A milestone of the job's log, as it goes to the job's log.
    on_milestone: Callable[[str], None] = lambda _: None


@dataclass(slots=True)
class _Batch:
    """Results of one pull, sorted into what is to be committed."""

    done: list[messages.Result] = field(default_factory=list)
    failed: list[messages.Result] = field(default_factory=list)
    # Images whose payload no reader understands.
    unreadable: list[ImageId] = field(default_factory=list)
    # The rows of a part; none when nothing was found.
    tables: dict[str, pa.Table] = field(default_factory=dict)


@contextlib.contextmanager
def _without_cycles() -> Iterator[None]:
    """Spare Python's cycle collector what makes a hundred thousand objects and no cycle."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def collect(services: Services, job: Job, *, run_id: str, observer: Observer) -> Counts:
    """Collect until `done + failed == total`; the final counts.

    May run again after any interruption, and twice at the same time: the second waits for the first. Without catalog,
    queue or lake it waits and tries again; nothing is acknowledged meanwhile. Raises `JobLeft` when the job is no
    longer this generation's to collect.
    """
    collector = Collector(services=services, job=job, run_id=run_id, observer=observer)
    async with services.catalog.collectors.lock(job.job_id):
        try:
            return await collector.run()
        except JobLeft:
            # Until it noticed, it wrote counters and made its consumer anew: perhaps after the canceller cleared up.
            with contextlib.suppress(errors.Unavailable):
                await publish.withdraw(services, job)
            raise


class Collector:
    """One job's collector and guardian."""

    def __init__(self, *, services: Services, job: Job, run_id: str, observer: Observer) -> None:
        self._services = services
        self._job = job
        self._run_id = run_id
        self._observer = observer
        self._counts = Counts()
        # Counting anew and adding what was committed: one after the other, or a batch would count twice.
        self._counting = asyncio.Lock()
        self._recent: deque[tuple[float, int]] = deque()
        # How often an image's results were unreadable; such an image cannot go round for ever.
        self._unreadable: Counter[ImageId] = Counter()
        self._job_log = JobLog(services=services, job=job, tell=observer.on_milestone)
        self._feed: ResultFeed | None = None
        self._left: str | None = None

    async def run(self) -> Counts:
        """Collect to the end, with the guard beside."""
        catalog, job_id = self._services.catalog, self._job.job_id
        self._counts = await retrying.retry_forever("counting", lambda: catalog.images.count(job_id))
        if not self._counts.pending:
            return self._counts
        async with self._guarded():
            while True:
                try:
                    async with self._services.results(self._job.job_run) as feed:
                        self._feed = feed
                        await self._drain(feed)
                    break
                except errors.Unavailable as error:
                    logger.warning("job %s: collecting pauses: %s", self._job.job_id, error)
                    await asyncio.sleep(1.0)
        await self._show()
        await retrying.retry_forever("telling the end", lambda: self._job_log.tell_end(self._progress()))
        return self._counts

    async def _drain(self, feed: ResultFeed) -> None:
        """Read and commit until nothing is pending."""
        async with ReadAhead(feed, missing=lambda: self._counts.pending, decode=self._sort) as ahead:
            while self._counts.pending > 0:
                self._raise_if_left()
                retrying.raise_if_cancelled()
                received, batch = await ahead.next()
                if received:
                    await retrying.retry_forever("committing results", partial(self._commit, batch))
                    await feed.acknowledge(received)
                    ahead.committed(received)

    def _raise_if_left(self) -> None:
        if self._left:
            raise JobLeft(self._left)

    async def commit(self, received: Sequence[Received]) -> None:
        """Make results part of the record that somebody else pulled; they are then to be acknowledged."""
        await self._commit(self._sort(received))

    async def _commit(self, batch: _Batch) -> None:
        """Make a batch part of the record. Repeated after a fault, it writes another part and moves each image once."""
        part = str(ulid.ULID())
        if batch.tables:
            await asyncio.to_thread(self._services.lake.write_part, self._job.job_id, part, batch.tables)
        settled = [_settled(result, part if result.detections else None) for result in (*batch.done, *batch.failed)]
        settled += self._given_up(batch.unreadable)
        async with self._counting:
            moved = await self._services.catalog.images.commit(self._job.job_run, settled)
            self._add(settled, moved)
        self._recent.append((time.monotonic(), len(moved)))
        self._job_log.posted.update(item.worker for item in settled if item.image in moved and item.worker)

    @_without_cycles()
    def _sort(self, received: Sequence[Received]) -> _Batch:
        """Decode, and keep one result an image: a success before any failure, else the first.

        Not on a thread of its own: the two would fight over the interpreter's lock, which costs more than it gains.
        """
        batch = _Batch()
        chosen: dict[ImageId, messages.Result] = {}
        for item in received:
            try:
                result = messages.decode(messages.Result, item.payload)
                if (result.job, result.generation, result.image) != (
                    self._job.job_id,
                    self._job.generation,
                    item.image,
                ):
                    raise errors.InvalidInput("the result names another image than its subject")
            except errors.InvalidInput as error:
                logger.warning("job %s, image %s: result refused: %s", self._job.job_id, item.image, error)
                batch.unreadable.append(item.image)
                continue
            before = chosen.get(item.image)
            if before is None or (before.outcome == "failed" and result.outcome == "done"):
                chosen[item.image] = result
        for result in chosen.values():
            (batch.done if result.outcome == "done" else batch.failed).append(result)
        batch.unreadable = [image for image in batch.unreadable if image not in chosen]
        self._unreadable.update(batch.unreadable)
        with_rows = [result for result in batch.done if result.detections]
        if with_rows:
            batch.tables = rows.tables_of(with_rows)
        return batch

    def _given_up(self, images: Sequence[ImageId]) -> list[ImageOutcome]:
        """Images whose results nobody can read stay pending and are published again, but not for ever."""
        limit = self._services.settings.max_attempts
        return [
            ImageOutcome(
                image, ImageStatus.FAILED, None, self._unreadable[image], UNREADABLE, True, None, None, 0, 0, ""
            )
            for image in set(images)
            if self._unreadable[image] >= limit
        ]

    def _add(self, settled: Sequence[ImageOutcome], moved: Mapping[ImageId, ImageStatus]) -> None:
        """Count what moved: a failure that became a success was accounted for before."""
        fresh = [item for item in settled if item.image in moved]
        first = sum(moved[item.image] is ImageStatus.PENDING for item in fresh)
        done = sum(item.status == ImageStatus.DONE for item in fresh)
        counts = self._counts
        self._counts = replace(
            counts,
            done=counts.done + done,
            failed=counts.failed + first - done,
            pending=counts.pending - first,
            detections=counts.detections + sum(item.detections for item in fresh),
            classifications=counts.classifications + sum(item.classifications for item in fresh),
        )

    # The guardian

    def _guarded(self) -> AbstractAsyncContextManager[None]:
        return retrying.running(
            retrying.Loop(name=f"guard job {self._job.job_id}", every=GUARD_EVERY, act=self._guard),
            retrying.Loop(name=f"show job {self._job.job_id}", every=SHOW_EVERY, act=self._show),
            retrying.Loop(name=f"look after job {self._job.job_id}", every=LOOK_EVERY, act=self._look),
        )

    async def _look(self) -> None:
        """See whether the job is still this generation's to collect."""
        job = await self._services.catalog.jobs.get(self._job.job_id)
        if job.status not in ACTIVE or job.generation != self._job.generation:
            self._left = f"job {job.job_id} is {job.status} in generation {job.generation}"

    async def _show(self) -> None:
        progress = self._progress()
        self._observer.on_progress(progress)
        await self._services.live.counters.write(self._job.job_run, progress)

    def _progress(self) -> JobProgress:
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - RATE_WINDOW:
            self._recent.popleft()
        span = now - self._recent[0][0] if self._recent else 0.0
        rate = sum(number for _, number in self._recent) / max(span, FLUSH) if self._recent else 0.0
        return JobProgress.of(self._counts, rate=rate)

    async def _guard(self) -> None:
        await self._job_log.look_for_workers()
        await self._job_log.tell_progress(self._progress())
        if await self._something_is_missing():
            # Another collector, with the lock's connection broken, may have counted what this one waits for.
            async with self._counting:
                self._counts = await self._services.catalog.images.count(self._job.job_id)
            found = await reconcile(self._services, self._job.job_id)
            if found.lost or found.reopened:
                self._observer.on_milestone(f"the queue lost {found.lost} images; published again")

    async def _something_is_missing(self) -> bool:
        """Whether tasks, unread results and settled images do not add up; counted in the order in which images move."""
        job = await self._services.catalog.jobs.get(self._job.job_id)
        if job.epoch is None:
            return False
        tasks = await self._services.queue.counts(job.job_run, job.epoch)
        if tasks is None or not await self._services.announcements.has(job.job_run, job.epoch):
            return True
        unread = await self._feed.unread() if self._feed else None
        if unread is None:
            return True
        beyond_cursor = max(job.total - job.published_upto, 0)
        return tasks.queued + tasks.leased + unread < self._counts.pending - beyond_cursor


def _settled(result: messages.Result, part: str | None) -> ImageOutcome:
    return ImageOutcome(
        image=result.image,
        status=ImageStatus.DONE if result.outcome == "done" else ImageStatus.FAILED,
        part=part,
        attempts=result.delivery,
        reason=result.reason,
        retryable=result.retryable,
        width=result.width,
        height=result.height,
        detections=len(result.detections),
        classifications=sum(len(detection.classifications) for detection in result.detections),
        worker=result.worker,
    )


def heartbeat(services: Services, job: Job, *, run_id: str) -> AbstractAsyncContextManager[None]:
    """Say for the length of a block that the job is in living hands; a run has it from its first asset to its last."""

    async def beat() -> None:
        await services.catalog.collectors.beat(job.job_run, run_id=run_id, host=services.settings.host_id)

    return retrying.running(retrying.Loop(name=f"heartbeat of job {job.job_id}", every=BEAT_EVERY, act=beat))
