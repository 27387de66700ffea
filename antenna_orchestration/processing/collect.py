"""Collect: read a job's results until every image is accounted for, and check on the job meanwhile.

The order per batch is the whole guarantee: the part is written and synced to the disk, then one guarded statement moves
the images and names the part, then the results are acknowledged. A crash between any two steps costs a repetition,
which moves no image a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import msgspec
import ulid

from antenna_orchestration import errors
from antenna_orchestration.catalog.generations import Terms
from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.domain import messages, more_than_boxes, reach, redaction, texts
from antenna_orchestration.domain.algorithms import Declared, ran_others, why_of_other_code, why_refused
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import ACTIVE, Counts, ImageStatus, Job
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.lake import rows
from antenna_orchestration.processing import clear_queue, loops, retrying
from antenna_orchestration.processing.access_watch import AccessWatch
from antenna_orchestration.processing.job_log import JobLogWriter
from antenna_orchestration.processing.open_reports import open_reports
from antenna_orchestration.processing.read_ahead import FLUSH, ReadAhead
from antenna_orchestration.processing.reconcile import reconcile
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.results import RESULT_ACK_WAIT, Received, ResultFeed

logger = logging.getLogger(__name__)

CHECK_EVERY: Final = 10.0
"""Seconds between the collector's checks for lost images and listening workers."""

UNDELIVERED_CHECKS: Final = 1 + math.ceil(RESULT_ACK_WAIT / CHECK_EVERY)
"""Checks in a row that see the same results unread and nothing else under way, after which the results are lost: one
that only went astray would have been delivered again by then."""

SHOW_EVERY: Final = 1.0
"""Seconds between writes of the live counters."""

LOOK_EVERY: Final = 2.5
"""Seconds between looks whether the job was canceled or retried."""

RATE_WINDOW: Final = 30.0
"""Seconds over which the rate is averaged."""

WORK: Final = ("decode", "infer", "finish")
"""Stages whose seconds are work on the image itself, as opposed to waiting for it."""

LEAST_SECONDS: Final = 1e-9
MOST_SECONDS: Final = 1e6
"""No image takes so little or so long; a worker that says so is wrong. The catalog's column does not hold every number:
it refuses 1e-50."""

GIVE_WAY_AFTER: Final = 30.0
"""Seconds without a result after which a collector leaves its place to others that wait for one."""

UNREADABLE: Final = "its results could not be read"


class JobLeft(Exception):
    """The job was canceled, finished or retried while it was being collected."""


class NothingToCollect(Exception):
    """There is nothing to collect before a worker comes, and others wait for the collector's place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observer:
    """Who is told of progress. Both functions are called on the event loop and must neither block nor raise."""

    # The counters, about once a second.
    on_progress: Callable[[JobProgress], None] = lambda _: None
    # A milestone, when it is written to the job's log.
    on_milestone: Callable[[str], None] = lambda _: None


async def nobody_waits() -> bool:
    """The answer for a collector that holds no place that others could need."""
    return False


@dataclass(slots=True)
class _Batch:
    """Results of one pull, sorted for the commit."""

    done: list[messages.Result] = field(default_factory=list)
    failed: list[messages.Result] = field(default_factory=list)
    # Images whose result cannot be decoded.
    unreadable: list[ImageId] = field(default_factory=list)
    # The rows of a part; empty when nothing was found.
    tables: rows.Tables = field(default_factory=dict)


@contextlib.contextmanager
def _without_cycles() -> Iterator[None]:
    """Pause Python's garbage collector for code that makes a hundred thousand objects and no reference cycle."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def collect(
    services: Services, job: Job, *, observer: Observer, others_wait: Callable[[], Awaitable[bool]] = nobody_waits
) -> Counts:
    """Collect until `done + failed == total`; returns the final counts.

    It can be repeated after any interruption, and called twice at the same time: the second call waits for the first.
    While the catalog, the queue or the lake is unavailable it retries and acknowledges nothing. Raises `JobLeft` when
    this generation of the job is no longer to be collected, and `NothingToCollect` when no worker serves the job and
    `others_wait`, which is asked every ten seconds then.
    """
    collector = Collector(services=services, job=job, observer=observer, others_wait=others_wait)
    async with services.catalog.collectors.lock(job.job_id):
        try:
            return await collector.run()
        except JobLeft:
            # Before it noticed, it may have written counters and made the consumer after the canceller cleaned up.
            with contextlib.suppress(errors.Unavailable):
                await clear_queue.clear_queue(services, job)
            raise


class Collector:
    """Collects one job's results, and checks on the job meanwhile."""

    def __init__(
        self,
        *,
        services: Services,
        job: Job,
        observer: Observer,
        others_wait: Callable[[], Awaitable[bool]] = nobody_waits,
    ) -> None:
        self._services = services
        self._job = job
        self._observer = observer
        self._others_wait = others_wait
        self._quiet_since = time.monotonic()
        self._gives_way = False
        self._counts = Counts()
        # A recount and the addition of a committed batch exclude each other, or the batch would be counted twice.
        self._counting = asyncio.Lock()
        self._recent: deque[tuple[float, int]] = deque()
        self._batches = 0
        # How often each image's result was unreadable; after `max_attempts` of them the image fails.
        self._unreadable: Counter[ImageId] = Counter()
        self._job_log = JobLogWriter(services=services, job=job, tell=observer.on_milestone)
        self._feed: ResultFeed | None = None
        self._left: str | None = None
        # Whether results are being committed, which takes as long as a store does not answer.
        self._has_results = False
        # Open images that workers reported as failing, by reason.
        self._reported: Counter[str] = Counter()
        self._access = AccessWatch(services, job, self._job_log)
        # What was seen at how many checks in a row: unread results and pending images, and no task under way.
        self._undelivered: tuple[int, int] | None = None
        self._undelivered_checks = 0
        # What the job was submitted for; None until it was read.
        self._terms: Terms | None = None
        # Its algorithms with the labels that are registered.
        self._declared: Declared = {}

    async def run(self) -> Counts:
        """Collect to the end, with the checks running beside."""
        catalog, job_id = self._services.catalog, self._job.job_id
        self._counts = await retrying.retry_forever("counting", lambda: catalog.images.count(job_id))
        if not self._counts.pending:
            return self._counts
        async with self._checked():
            await retrying.retry_forever(f"collecting job {job_id}", self._collect)
        await self._show()
        await retrying.retry_forever("telling the end", lambda: self._job_log.tell_end(self._progress()))
        return self._counts

    async def _collect(self) -> None:
        """Read and commit until nothing is pending. Raises `Unavailable` and `JobLeft`."""
        await self._know_the_pipeline()
        async with (
            self._services.results(self._job.job_run) as feed,
            ReadAhead(feed, missing=lambda: self._counts.pending, decode=self._sort) as ahead,
        ):
            self._feed = feed
            while self._counts.pending > 0:
                self._raise_if_left()
                loops.raise_if_cancelled()
                received, batch = await ahead.next()
                self._has_results = bool(received)
                if not received and self._gives_way:
                    raise NothingToCollect
                if received:
                    self._quiet_since, self._gives_way = time.monotonic(), False
                    await retrying.retry_forever(
                        "committing results", partial(self._commit, batch), tell=self._job_log.tell_store
                    )
                    await feed.acknowledge(received)
                    ahead.committed(received)

    def _raise_if_left(self) -> None:
        if self._left:
            raise JobLeft(self._left)

    async def commit(self, received: Sequence[Received]) -> None:
        """Commit results that the caller has pulled. The caller has to acknowledge them, after this returns."""
        await self._know_the_pipeline()
        await self._commit(self._sort(received))

    async def _know_the_pipeline(self) -> None:
        """Read what the job is bound to, and what its pipeline declared then. Raises `Unavailable`."""
        if self._terms is None:
            terms = await self._services.catalog.generations.terms(self._job.job_run)
            known = await self._services.catalog.pipelines.labels_of(terms.algorithms)
            self._declared = {one: dict.fromkeys(known[one].labels) if one in known else () for one in terms.algorithms}
            self._terms = terms

    async def _commit(self, batch: _Batch) -> None:
        """Write a batch's part, then commit its images. A repetition writes another part and moves no image twice."""
        part = str(ulid.ULID())
        algorithms = frozenset(self._declared)
        if batch.tables:
            await asyncio.to_thread(self._services.lake.write_part, self._job.job_id, part, batch.tables)
        outcomes = [
            _outcome(result, part if rows.has_rows(result) else None, by_others=ran_others(result, algorithms))
            for result in (*batch.done, *batch.failed)
        ]
        outcomes += self._given_up(batch.unreadable)
        async with self._counting:
            moved = await self._services.catalog.images.commit(self._job.job_run, outcomes)
            self._add(outcomes, moved)
        self._batches += 1
        self._recent.append((time.monotonic(), len(moved)))
        self._job_log.posted.update(item.worker for item in outcomes if item.image in moved and item.worker)
        self._job_log.note_failures(
            item.reason for item in outcomes if item.image in moved and item.status == ImageStatus.FAILED
        )

    @_without_cycles()
    def _sort(self, received: Sequence[Received]) -> _Batch:
        """Decode, and keep one result per image: a success before any failure, else the first.

        It runs on the event loop's thread: with a second thread, contention for the interpreter's lock costs more than
        the parallelism gains.
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
            result = self._admitted(result)
            before = chosen.get(item.image)
            if before is None or (before.outcome == "failed" and result.outcome == "done"):
                chosen[item.image] = result
        for result in chosen.values():
            (batch.done if result.outcome == "done" else batch.failed).append(result)
        batch.unreadable = [image for image in batch.unreadable if image not in chosen]
        self._unreadable.update(batch.unreadable)
        with_rows = [result for result in batch.done if rows.has_rows(result)]
        if with_rows:
            batch.tables = rows.tables_of(with_rows)
        return batch

    def _admitted(self, result: messages.Result) -> messages.Result:
        """The result, or a failure in its place: other code made it, or it says what its pipeline may not say."""
        why = (
            why_of_other_code(result, self._terms.digest if self._terms else None)
            or why_refused(result, self._declared, given=self._job.detections_of is not None)
            or more_than_boxes.why_refused(result)
        )
        if why is None or result.outcome != "done":
            return result
        logger.warning("job %s, image %s: result of %s refused: %s", self._job.job_id, result.image, result.worker, why)
        reason = texts.storable(f"its result was refused: {why}")[: messages.MAX_TEXT]
        return msgspec.structs.replace(
            result,
            outcome="failed",
            reason=reason,
            retryable=True,
            detections=[],
            labels=msgspec.UNSET,
            attributes=msgspec.UNSET,
        )

    def _given_up(self, images: Sequence[ImageId]) -> list[ImageOutcome]:
        """Failures for images whose result was unreadable `max_attempts` times; till then they are published again."""
        limit = self._services.settings.max_attempts
        return [
            ImageOutcome(
                image, ImageStatus.FAILED, None, self._unreadable[image], UNREADABLE, True, None, None, 0, 0, ""
            )
            for image in set(images)
            if self._unreadable[image] >= limit
        ]

    def _add(self, outcomes: Sequence[ImageOutcome], moved: Mapping[ImageId, ImageStatus]) -> None:
        """Count the images that moved. One that was failed and is now done was accounted for before."""
        fresh = [item for item in outcomes if item.image in moved]
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

    # The collector's checks

    def _checked(self) -> AbstractAsyncContextManager[None]:
        return loops.running(
            loops.Loop(name=f"check job {self._job.job_id}", every=CHECK_EVERY, act=self._check),
            loops.Loop(name=f"show job {self._job.job_id}", every=SHOW_EVERY, act=self._show),
            loops.Loop(name=f"look at job {self._job.job_id}", every=LOOK_EVERY, act=self._look),
        )

    async def _look(self) -> None:
        """Notice when the job was canceled, finished or retried."""
        job = await self._services.catalog.jobs.get(self._job.job_id)
        if job.status not in ACTIVE or job.generation != self._job.generation:
            self._left = f"job {job.job_id} is {job.status} in generation {job.generation}"
        self._reported = await open_reports(self._services, self._job.job_run)
        await self._job_log.tell_reported(self._reported)

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
        progress = replace(
            JobProgress.of(self._counts, rate=rate), waits=self._access.waits(rate), batches=self._batches
        )
        return progress.with_reports(self._reported) if self._counts.pending else progress

    async def _check(self) -> None:
        await self._job_log.look_for_workers()
        await self._access.look(self._counts)
        await self._job_log.tell_progress(self._progress())
        if await self._something_is_missing():
            # Another collector may have committed what this one waits for, if the lock's connection broke.
            async with self._counting:
                self._counts = await self._services.catalog.images.count(self._job.job_id)
            found = await reconcile(self._services, self._job.job_id)
            self._access.announced_anew()
            if found.lost or found.reopened:
                self._observer.on_milestone(f"the queue lost {counted(found.lost, 'image')}; published again")
        self._gives_way = await self._has_nothing_to_do() and await self._others_wait()

    async def _has_nothing_to_do(self) -> bool:
        """Whether all that is missing waits on the queue for a worker, as it has for a while."""
        if self._feed is None or time.monotonic() - self._quiet_since < GIVE_WAY_AFTER:
            return False
        job = await self._services.catalog.jobs.get(self._job.job_id)
        tasks = await self._services.queue.counts(job.job_run, job.epoch) if job.epoch else None
        if not tasks or not (tasks.queued or tasks.leased) or await self._feed.unread():
            return False
        return not tasks.leased or not reach.some_serve(await self._services.heartbeats.workers(), job)

    async def _something_is_missing(self) -> bool:
        """Whether tasks, unread results and committed images do not add up; read in the order in which images move."""
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
        if await self._are_undelivered(unread, under_way=tasks.queued + tasks.leased):
            return True
        return tasks.queued + tasks.leased + unread < self._counts.pending - beyond_cursor

    async def _are_undelivered(self, unread: int, *, under_way: int) -> bool:
        """Whether the queue counts results that it cannot deliver. They are deleted: then their images count as lost.

        Seen after NATS' files had lost their ends: the job waited for its last image for ever.
        """
        idle = unread and not under_way and not self._has_results
        seen = (unread, self._counts.pending) if idle else None
        self._undelivered_checks = self._undelivered_checks + 1 if seen and seen == self._undelivered else 0
        self._undelivered = seen
        if self._undelivered_checks < UNDELIVERED_CHECKS:
            return False
        self._undelivered_checks = 0
        logger.warning("job %s: the queue holds %d results and delivers none", self._job.job_id, unread)
        await self._services.queue.drop_results(self._job.job_run)
        return True


def _outcome(result: messages.Result, part: str | None, *, by_others: bool) -> ImageOutcome:
    return ImageOutcome(
        image=result.image,
        status=ImageStatus.DONE if result.outcome == "done" else ImageStatus.FAILED,
        part=part,
        attempts=result.delivery,
        # The last place before the tables: workers of others, and of earlier versions, quote whole URLs.
        reason=None if result.reason is None else redaction.without_secrets(result.reason),
        retryable=result.retryable,
        width=result.width,
        height=result.height,
        detections=len(result.detections),
        classifications=sum(len(detection.classifications) for detection in result.detections),
        worker=result.worker,
        seconds=_seconds(result.timings),
        leased_at=result.leased_at,
        posted_at=result.posted_at,
        by_others=by_others,
    )


def _seconds(timings: Mapping[str, float]) -> float | None:
    """Seconds of work on an image; None if the worker reports none, or what no image takes."""
    work = sum(timings.get(stage, 0.0) for stage in WORK)
    return work if LEAST_SECONDS < work < MOST_SECONDS else None
