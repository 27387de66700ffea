"""The last stage: publishes results, and settles a task once JetStream has confirmed its result."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.queue.results import ResultSender
from antenna_orchestration.worker.stages.spool import Spool
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand

logger = logging.getLogger(__name__)

CHUNK: Final = 64
"""Results published together."""

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
"""Seconds between two attempts to publish; doubled from the first to the longest."""

ONE_BY_ONE_AFTER: Final = 3
"""Failures of a chunk after which its results are published alone, so that one bad result stops itself only."""

RATE_WINDOW: Final = 60


@dataclass(frozen=True, slots=True)
class _Outcome:
    held: TaskInHand
    result: messages.Result


class Reporter:
    """Delivers results, and counts them."""

    def __init__(
        self,
        *,
        sender: ResultSender,
        holdings: TasksInHand,
        spool: Spool,
        worker: str,
        patience: float,
        dice: random.Random,
        clock: Callable[[], float],
    ) -> None:
        self._sender = sender
        self._holdings = holdings
        self._spool = spool
        self._worker = worker
        self._patience = patience
        self._dice = dice
        self._clock = clock
        self._waiting: deque[_Outcome] = deque()
        self._arrived = asyncio.Event()
        self._seconds: Counter[int] = Counter()
        self._since = clock()
        self._kept_some = False
        self.done = 0
        self.failed = 0
        self.spooled = 0
        self.last_result_at: datetime | None = None

    @property
    def backlog(self) -> int:
        """Results that wait to be published."""
        return len(self._waiting)

    def rate(self) -> float:
        """Images a second over the last minute, or since the start if that is shorter."""
        now = self._clock()
        first = int(now) - RATE_WINDOW
        for second in [second for second in self._seconds if second < first]:
            del self._seconds[second]
        return sum(self._seconds.values()) / max(1.0, min(RATE_WINDOW, now - self._since))

    def report_done(
        self, held: TaskInHand, *, width: int | None, height: int | None, detections: list[messages.Detection]
    ) -> None:
        """The image was processed."""
        self._put(held, outcome="done", width=width, height=height, detections=detections)

    def report_failed(self, held: TaskInHand, reason: str, *, retryable: bool) -> None:
        """The image failed, for good."""
        task = held.lease.task
        logger.info("image %d of job %d failed: %s", task.image, task.job, reason)
        self._put(held, outcome="failed", reason=reason, retryable=retryable)

    async def run(self) -> None:
        """Publish what comes, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._deliver(list(islice(self._waiting, CHUNK)), self._clock() + self._patience)
            if self._kept_some:
                await self._deliver_kept()

    async def flush(self, patience: float) -> None:
        """Publish all that waits, for at most so many seconds, and put the rest on disk. `run` must have ended."""
        deadline = self._clock() + patience
        while self._waiting:
            await self._deliver(list(islice(self._waiting, CHUNK)), deadline)

    async def _deliver_kept(self) -> None:
        """The queue takes results again: what had to be put on disk goes first."""
        try:
            await deliver_spooled(self._spool, self._sender)
        except (errors.Unavailable, OSError) as error:
            # A disk that fails here costs no other result: those are published all the same.
            logger.debug("results on disk wait on: %s", error)
        else:
            self._kept_some = False

    def _put(self, held: TaskInHand, **outcome: object) -> None:
        task = held.lease.task
        result = messages.Result(
            job=task.job,
            generation=task.generation,
            image=task.image,
            worker=self._worker,
            delivery=held.lease.delivery,
            timings=held.timings,
            created_at=datetime.now(UTC),
            **outcome,  # type: ignore[arg-type]
        )
        self._holdings.free(held)
        self._holdings.move(held, Stage.REPORTING)
        self._waiting.append(_Outcome(held, result))
        self._arrived.set()

    async def _deliver(self, chunk: list[_Outcome], deadline: float) -> None:
        """Publish these, again and again until it works; what was not published by the deadline goes to disk."""
        pause, failures = FIRST_PAUSE, 0
        while chunk:
            try:
                await self._publish(chunk if failures < ONE_BY_ONE_AFTER else chunk[:1])
            except errors.Unavailable as error:
                failures += 1
                log = logger.warning if failures == ONE_BY_ONE_AFTER else logger.debug
                log("%d results wait to be delivered: %s", len(self._waiting), error)
                left = deadline - self._clock()
                if left <= 0:
                    self._keep(chunk)
                    return
                for outcome in chunk:
                    self._holdings.move(outcome.held, Stage.REPORTING)
                if failures > ONE_BY_ONE_AFTER:
                    # Another one may be the one that cannot be published.
                    chunk.append(chunk.pop(0))
                await asyncio.sleep(min(pause * self._dice.uniform(0.7, 1.3), left))
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                chunk = [outcome for outcome in chunk if not outcome.held.lease.ended]

    async def _publish(self, chunk: list[_Outcome]) -> None:
        await self._sender.send([(outcome.result, outcome.held.lease) for outcome in chunk])
        # Durable from here on; a lost acknowledgement costs a redelivery that the collector does not count again.
        self.last_result_at = datetime.now(UTC)
        self._seconds[int(self._clock())] += len(chunk)
        published = set(map(id, chunk))
        self._waiting = deque(outcome for outcome in self._waiting if id(outcome) not in published)
        for outcome in chunk:
            if outcome.result.outcome == "done":
                self.done += 1
            else:
                self.failed += 1
            self._holdings.drop(outcome.held)
            try:
                await outcome.held.lease.acknowledge()
            except errors.Unavailable as error:
                logger.debug("not acknowledged, it will be redelivered: %s", error)

    def _keep(self, outcomes: list[_Outcome]) -> None:
        try:
            self._spool.keep([(outcome.result, outcome.held.lease.ack) for outcome in outcomes])
        except OSError as error:
            # Their tasks were not acknowledged: somebody does them again.
            logger.error("%d results can neither be delivered nor kept on disk: %s", len(outcomes), error)
        else:
            self.spooled += len(outcomes)
            self._kept_some = True
        kept = set(map(id, outcomes))
        self._waiting = deque(outcome for outcome in self._waiting if id(outcome) not in kept)
        for outcome in outcomes:
            # Its lease ends by itself; whoever gets the task then may be sooner than we are.
            self._holdings.drop(outcome.held)


async def deliver_spooled(spool: Spool, sender: ResultSender) -> None:
    """Deliver what an earlier life of a worker had to leave on disk. Raises `Unavailable`; what is left stays."""
    with spool.waiting() as paths:
        for path in paths:
            try:
                results = spool.read(path)
            except errors.InvalidInput as error:
                logger.error("%s", error)
                continue
            await sender.deliver(results)
            path.unlink()
            for job, count in sorted(Counter(result.job for result, _ in results).items()):
                logger.warning("job %d: %d results of an earlier worker were delivered late", job, count)
