"""The last stage: publishes results, and acknowledges a task once JetStream has confirmed its result."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import messages, redaction
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.queue.results import ResultSender
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.stages.spool import Spool
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

CHUNK: Final = 256
"""Results published together: there is one round trip for all of them, which takes long on a long line."""

BACKOFF: Final = Backoff(first=0.2, longest=3.0, spread=0.3)
"""Seconds between two attempts to publish; while none succeeds nothing is leased, even when the line is mended."""

ONE_BY_ONE_AFTER: Final = 3
"""Failures of a chunk after which its results are published alone, so that one bad result stops itself only."""

RATE_WINDOW: Final = 60
"""Seconds over which the rate is averaged."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    held: TaskInHand
    result: messages.Result


class Reporter:
    """Delivers results, at least once each, and counts them."""

    def __init__(
        self,
        *,
        sender: ResultSender,
        spool: Spool,
        tasks_in_hand: TasksInHand,
        worker: str,
        patience: float,
        timing: Timing,
    ) -> None:
        """`worker` is the name in the results; after `patience` seconds of trying they are kept on disk."""
        self._sender = sender
        self._spool = spool
        self._tasks_in_hand = tasks_in_hand
        self._worker = worker
        self._patience = patience
        self._clock = timing.clock
        self._dice = timing.dice
        self._waiting: deque[_Outcome] = deque()
        self._arrived = asyncio.Event()
        # Results published in each second of the clock, for the rate.
        self._seconds: Counter[int] = Counter()
        self._since = self._clock()
        # Since when no result could be delivered; None while they can be.
        self._failing_since: float | None = None
        self._kept_some = False
        self.done = 0
        self.failed = 0
        self.spooled = 0
        self.last_result_at: datetime | None = None

    @property
    def backlog(self) -> int:
        """Results that wait to be published."""
        return len(self._waiting)

    def failed_for(self, seconds: float) -> bool:
        """Whether results have been waiting for so long, and none could be delivered meanwhile."""
        return self._failing_since is not None and self._clock() - self._failing_since >= seconds

    def rate(self) -> float:
        """Images per second over the last minute, or since the start if that is shorter."""
        now = self._clock()
        first = int(now) - RATE_WINDOW
        for second in [second for second in self._seconds if second < first]:
            del self._seconds[second]
        return sum(self._seconds.values()) / max(1.0, min(RATE_WINDOW, now - self._since))

    def report_done(self, held: TaskInHand, outcome: protocol.Done) -> None:
        """Publish what was found in the image."""
        held.timings.update(outcome.timings)
        # Encoded and checked in the device process; put into the result's message as it is.
        detections: Any = outcome.detections
        self._add(
            held,
            outcome="done",
            width=outcome.width,
            height=outcome.height,
            detections=detections,
            labels=outcome.labels,
            attributes=outcome.attributes,
        )

    def report_failed(self, held: TaskInHand, reason: str, *, retryable: bool) -> None:
        """Publish that the image failed, for good; `retryable` if a retry of the job may do better."""
        task = held.lease.task
        reason = redaction.without_secrets(reason)
        logger.info("image %d of job %d failed: %s", task.image, task.job, reason)
        self._add(held, outcome="failed", reason=reason, retryable=retryable)

    async def run(self) -> None:
        """Publish what arrives, for ever."""
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
            if self._clock() >= deadline:
                # Another attempt per chunk would take longer than anybody waits for us.
                self._keep(list(self._waiting))
            else:
                await self._deliver(list(islice(self._waiting, CHUNK)), deadline)

    async def deliver_spooled(self) -> None:
        """Deliver the results that an earlier worker left on disk.

        Raises `Unavailable` or `OSError`; files not yet delivered stay where they are.
        """
        with self._spool.waiting() as paths:
            for path in paths:
                try:
                    results = self._spool.read(path)
                except errors.InvalidInput as error:
                    logger.error("%s", error)
                    continue
                await self._sender.deliver(results)
                path.unlink()
                for job, count in sorted(Counter(result.job for result, _ in results).items()):
                    logger.warning("job %d: %d results of an earlier worker were delivered late", job, count)

    async def _deliver_kept(self) -> None:
        """The queue takes results again: deliver those that had to be kept on disk."""
        try:
            await self.deliver_spooled()
        except (errors.Unavailable, OSError) as error:
            # A disk that fails here costs no other result: those are published all the same.
            logger.debug("results on disk wait on: %s", error)
        else:
            self._kept_some = False

    def _add(self, held: TaskInHand, **outcome: object) -> None:
        task = held.lease.task
        result = messages.Result(
            job=task.job,
            generation=task.generation,
            image=task.image,
            worker=self._worker,
            delivery=held.lease.delivery,
            timings=held.timings,
            created_at=datetime.now(UTC),
            algorithms=[algorithm.ref for algorithm in held.batch_group.spec.algorithms],
            digest=held.batch_group.digest or msgspec.UNSET,
            **outcome,  # type: ignore[arg-type]
        )
        self._tasks_in_hand.free(held)
        self._tasks_in_hand.move(held, Stage.REPORTING)
        self._waiting.append(_Outcome(held, result))
        self._arrived.set()

    async def _deliver(self, chunk: list[_Outcome], deadline: float) -> None:
        """Publish these, retrying with back-off; those not published by the deadline are kept on disk."""
        failures = 0
        while chunk:
            try:
                await self._publish(chunk if failures < ONE_BY_ONE_AFTER else chunk[:1])
            except errors.Unavailable as error:
                failures += 1
                if self._failing_since is None:
                    self._failing_since = self._clock()
                log = logger.warning if failures == ONE_BY_ONE_AFTER else logger.debug
                log("%d results wait to be delivered: %s", len(self._waiting), error)
                left = deadline - self._clock()
                if left <= 0:
                    self._keep(chunk)
                    return
                for outcome in chunk:
                    self._tasks_in_hand.move(outcome.held, Stage.REPORTING)
                if failures > ONE_BY_ONE_AFTER:
                    # It may be another one that cannot be published.
                    chunk.append(chunk.pop(0))
                await asyncio.sleep(min(BACKOFF.pause(failures, self._dice), left))
            else:
                chunk = [outcome for outcome in chunk if not outcome.held.lease.ended]

    async def _publish(self, chunk: list[_Outcome]) -> None:
        await self._sender.send([(outcome.result, outcome.held.lease) for outcome in chunk])
        self._failing_since = None
        # Durable from here on. A lost acknowledgement costs a redelivery, whose result the collector does not count.
        self.last_result_at = datetime.now(UTC)
        self._seconds[int(self._clock())] += len(chunk)
        published = set(map(id, chunk))
        self._waiting = deque(outcome for outcome in self._waiting if id(outcome) not in published)
        for outcome in chunk:
            if outcome.result.outcome == "done":
                self.done += 1
            else:
                self.failed += 1
            self._tasks_in_hand.drop(outcome.held)
            try:
                await outcome.held.lease.acknowledge()
            except errors.Unavailable as error:
                logger.debug("not acknowledged, it will be redelivered: %s", error)

    def _keep(self, outcomes: list[_Outcome]) -> None:
        try:
            self._spool.keep([(outcome.result, outcome.held.lease.ack) for outcome in outcomes])
        except OSError as error:
            # Their tasks were not acknowledged, so they are redelivered.
            logger.error("%d results can neither be delivered nor kept on disk: %s", len(outcomes), error)
        else:
            self.spooled += len(outcomes)
            self._kept_some = True
        kept = set(map(id, outcomes))
        self._waiting = deque(outcome for outcome in self._waiting if id(outcome) not in kept)
        if not self._waiting:
            # Only a new result can show whether the queue takes results again.
            self._failing_since = None
        for outcome in outcomes:
            # Its lease ends by itself. Another worker may then report sooner than the file is delivered.
            self._tasks_in_hand.drop(outcome.held)
