"""The loading stage: loads the images of leased tasks side by side, and passes them to the batcher.

Only compressed images are buffered between stages, within the memory budget.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.policy.load_concurrency import LoadConcurrency
from antenna_orchestration.worker.policy.source_health import Fail, HandBack, SourceHealth
from antenna_orchestration.worker.policy.speed import DeviceSpeed
from antenna_orchestration.worker.stages.batcher import Batcher
from antenna_orchestration.worker.stages.load_queue import LoadQueue
from antenna_orchestration.worker.stages.reporter import Reporter
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

TRY_RESTING_EVERY: Final = 5.0
"""Seconds between two looks for resting jobs whose images should be tried again."""


class ImageFetcher:
    """Loads the images of leased tasks, interactive ones first.

    A loaded image goes on to the batcher. What happens after a failed load is decided by `SourceHealth`: the task is
    handed back, or its failure goes to the reporter.
    """

    def __init__(
        self,
        *,
        load_queue: LoadQueue,
        concurrency: LoadConcurrency,
        batcher: Batcher,
        reporter: Reporter,
        loader: Loader,
        tasks_in_hand: TasksInHand,
        source_health: SourceHealth,
        speed: DeviceSpeed,
        is_from_here: Callable[[JobRun], bool],
        nudge: Nudge,
        timing: Timing,
    ) -> None:
        self._load_queue = load_queue
        self._concurrency = concurrency
        self._batcher = batcher
        self._reporter = reporter
        self._loader = loader
        self._tasks_in_hand = tasks_in_hand
        self._source_health = source_health
        self._speed = speed
        self._is_from_here = is_from_here
        self._nudge = nudge
        self._clock = timing.clock
        self._dice = timing.dice

    def add(self, held: TaskInHand) -> None:
        """Load this task's image, too."""
        self._speed.leased(held.lease.round_trip)
        self._load_queue.put(held)

    def expect_no_more(self, process: str) -> None:
        """The scheduler has leased what this device process has room for."""
        self._batcher.expect_no_more(process)

    @property
    def room(self) -> float | None:
        """How many more images of average size the memory budget holds; None while no size is known."""
        return self._loader.memory.free / self._loader.mean_size if self._loader.mean_size else None

    async def run(self, most: int) -> None:
        """Load images, at most so many at a time and otherwise as `LoadConcurrency` says; runs for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(most):
                group.create_task(self._load_one_by_one(), name=f"image-fetcher-{number}")

    async def _load_one_by_one(self) -> None:
        while True:
            host, held = await self._load_queue.get()
            try:
                await self._handle(held, host)
            finally:
                self._load_queue.done(host)

    async def _handle(self, held: TaskInHand, host: str) -> None:
        if held.gone:
            return
        began = self._clock()
        if rest := self._source_health.host_rests(host, began):
            await self._tasks_in_hand.hand_back(held, rest * self._dice.uniform(1.0, 1.5))
            return
        self._tasks_in_hand.move(held, Stage.LOADING)
        try:
            await self._load(held, host)
        except errors.SourceOverloaded as error:
            self._concurrency.overloaded(host, began=began, now=self._clock())
            await self._after_error(held, host, error)
        except errors.ImageError as error:
            await self._after_error(held, host, error)

    async def try_resting_jobs(self) -> None:
        """Load images of resting jobs once more, without a lease, when their rest is over; runs for ever."""
        while True:
            await asyncio.sleep(TRY_RESTING_EVERY)
            for job_run, uris in self._source_health.due(self._clock()):
                loadable = any([await self._can_load(uri) for uri in uris])
                self._source_health.tried(job_run, loadable=loadable, now=self._clock())
                if loadable:
                    logger.info(
                        "the images of job %d, generation %d can be loaded again", job_run.job, job_run.generation
                    )
                    self._nudge.give()

    async def _load(self, held: TaskInHand, host: str) -> None:
        """Raises `ImageError`."""
        started = self._clock()
        data = await self._unless_gone(held)
        if data is None:
            return
        now = self._clock()
        held.timings["load"] = now - started
        self._speed.loaded(now - started)
        self._learn(host, started, now)
        self._source_health.loaded(held.job_run, host, now)
        self._tasks_in_hand.loaded(held, data)
        self._batcher.add(held)

    async def _unless_gone(self, held: TaskInHand) -> bytes | None:
        """The task's image; None as soon as the task is no longer in hand. Raises `ImageError`."""
        data: bytes | None = None
        try:
            async with asyncio.timeout(None) as loading:
                # A load that hangs on a connection which is cut would keep others from beginning once it is mended.
                held.stop_loading = lambda: loading.reschedule(0.0)
                data = await self._bytes(held.lease.task.uri, held.lease.task.version)
        except TimeoutError:
            return None
        finally:
            held.stop_loading = None
        if held.gone:
            self._loader.memory.release(len(data))
            return None
        return data

    def _learn(self, host: str, began: float, now: float) -> None:
        """How many to load from the host at a time, from how long it took."""
        others_wait = self._load_queue.has_waiting(host)
        if not self._concurrency.loaded(host, began=began, now=now, others_wait=others_wait):
            return
        groups = [group for group, count in self._tasks_in_hand.per_batch_group.items() if count]
        # While it is loaded an image reserves twice the mean size.
        room = self._loader.memory.total / max(1.0, 2 * self._loader.mean_size)
        if self._concurrency.review(host, now, wanted=self._speed.rate(groups), room=room):
            logger.info("%s: up to %d images are loaded at a time", host, self._concurrency.limit(host))
            self._load_queue.look_again()

    async def _bytes(self, uri: str, version: str = "") -> bytes:
        """The image, compressed; its size is charged to the memory budget. Raises `ImageError`."""
        try:
            return await self._loader.load(uri, version=version)
        except errors.ImageError:
            raise
        except Exception as error:
            # An image that trips the loader must not stop the worker, which would meet it again and again.
            logger.exception("loading from %s", self._loader.host(uri))
            raise errors.ImageUnreachable(f"loading failed: {type(error).__name__}") from error

    async def _after_error(self, held: TaskInHand, host: str, error: errors.ImageError) -> None:
        task = held.lease.task
        if held.gone:
            return
        if isinstance(error, errors.FolderMissing) and self._is_from_here(held.job_run):
            # Not a share that this worker lacks: where the job was submitted, the folder is what the image lacks. One
            # that was moved may come back, so that a retry may do better.
            self._reporter.report_failed(held, f"no such file: {error}, where it was submitted", retryable=True)
            return
        verdict = self._source_health.failed(
            held.job_run, host, task.uri, error, delivery=held.lease.delivery, now=self._clock()
        )
        match verdict:
            case HandBack(delay=delay):
                logger.debug("image %d of job %d handed back for %.1f s: %s", task.image, task.job, delay, error)
                await self._tasks_in_hand.hand_back(held, delay)
            case Fail(reason=reason, retryable=retryable):
                self._reporter.report_failed(held, reason, retryable=retryable)
        if self._source_health.job_rests(held.job_run, self._clock()):
            for other in self._tasks_in_hand:
                if other.job_run == held.job_run and other.stage is Stage.LEASED:
                    await self._tasks_in_hand.hand_back(other, self._dice.uniform(1.0, 5.0))

    async def _can_load(self, uri: str) -> bool:
        try:
            data = await self._bytes(uri)
        except errors.ImageUnusable:
            # The source answered, and only that is in question here.
            return True
        except errors.ImageError:
            return False
        self._loader.memory.release(len(data))
        return True
