"""The loading stage: loads the images of leased tasks side by side, and settles those that fail."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable

from antenna_orchestration import errors
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.worker.policy.source_health import Fail, HandBack, SourceHealth
from antenna_orchestration.worker.policy.speed import DeviceSpeed
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand

logger = logging.getLogger(__name__)


class ImageFetcher:
    """Loads the images of leased tasks, interactive ones first."""

    def __init__(
        self,
        *,
        loader: Loader,
        holdings: TasksInHand,
        standing: SourceHealth,
        pace: DeviceSpeed,
        dice: random.Random,
        clock: Callable[[], float],
        accept: Callable[[TaskInHand], None],
        fail: Callable[[TaskInHand, Fail], None],
    ) -> None:
        self._loader = loader
        self._holdings = holdings
        self._standing = standing
        self._pace = pace
        self._dice = dice
        self._clock = clock
        self._accept = accept
        self._fail = fail
        self._waiting: deque[TaskInHand] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()

    def add(self, held: TaskInHand) -> None:
        """Load this one's image, too."""
        if held.interactive or held.suspect:
            self._waiting.appendleft(held)
        else:
            self._waiting.append(held)
        if self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)

    async def run(self) -> None:
        """Load one image after the other, for ever; run as many of these as images may be loaded at a time."""
        while True:
            if not self._waiting:
                idle = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                await idle
                continue
            held = self._waiting.popleft()
            if held.gone:
                continue
            uri = held.lease.task.uri
            host = self._loader.host(uri)
            if rest := self._standing.host_rests(host, self._clock()):
                await self._holdings.hand_back(held, rest * self._dice.uniform(1.0, 1.5))
                continue
            self._holdings.move(held, Stage.LOADING)
            try:
                await self._load(held, host)
            except errors.ImageError as error:
                await self._after_error(held, host, error)

    async def try_resting(self, every: float) -> None:
        """Try images of resting jobs again, without a lease, when their rest is over; runs for ever."""
        while True:
            await asyncio.sleep(every)
            for job, uris in self._standing.due(self._clock()):
                loadable = any([await self._can_load(uri) for uri in uris])
                self._standing.tried(job, loadable=loadable, now=self._clock())
                if loadable:
                    logger.info("the images of job %s can be loaded again", job)
                    self._holdings.on_change()

    async def _load(self, held: TaskInHand, host: str) -> None:
        started = self._clock()
        data = await self._bytes(held.lease.task.uri)
        if held.gone:
            self._loader.memory.give(len(data))
            return
        now = self._clock()
        held.timings["load"] = now - started
        self._pace.loaded(now - started)
        self._standing.loaded(held.job, host, now)
        self._holdings.loaded(held, data)
        self._accept(held)

    async def _bytes(self, uri: str) -> bytes:
        try:
            return await self._loader.load(uri)
        except errors.ImageError:
            raise
        except Exception as error:
            # An image that trips the loader is not to stop the worker, which would meet it again and again.
            logger.exception("loading from %s", self._loader.host(uri))
            raise errors.ImageUnreachable(f"loading failed: {type(error).__name__}") from error

    async def _after_error(self, held: TaskInHand, host: str, error: errors.ImageError) -> None:
        task = held.lease.task
        if held.gone:
            return
        verdict = self._standing.failed(
            held.job, host, task.uri, error, delivery=held.lease.delivery, now=self._clock()
        )
        match verdict:
            case HandBack(delay=delay):
                logger.debug("image %d of job %d handed back for %.1f s: %s", task.image, task.job, delay, error)
                await self._holdings.hand_back(held, delay)
            case Fail():
                self._fail(held, verdict)
        if self._standing.job_rests(held.job, self._clock()):
            for other in self._holdings:
                if other.job == held.job and other.stage is Stage.LEASED:
                    await self._holdings.hand_back(other, self._dice.uniform(1.0, 5.0))

    async def _can_load(self, uri: str) -> bool:
        try:
            data = await self._bytes(uri)
        except errors.ImageUnusable:
            # It was reached, and that is what rested the job.
            return True
        except errors.ImageError:
            return False
        self._loader.memory.give(len(data))
        return True
