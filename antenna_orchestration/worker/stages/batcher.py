"""Batcher the device: makes batches of loaded images, has them processed, and sorts out what came of each image."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import Device, DeviceLost, PipelineUnavailable, Shipment
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from antenna_orchestration.worker.policy.source_health import Fail
from antenna_orchestration.worker.policy.speed import DeviceSpeed
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand

logger = logging.getLogger(__name__)

PIPELINE_REST: Final = 30.0
"""Seconds for which tasks are handed back whose pipeline could not be loaded."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A batch on its way."""

    batch: list[TaskInHand]
    # Nothing else may be in the device process meanwhile.
    solo: bool
    # The device has begun with it.
    begun: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def lane(self) -> BatchGroup:
        return self.batch[0].lane


class Batcher:
    """Loaded images on their way through the device process."""

    def __init__(
        self,
        *,
        device: Device,
        open_attempts: OpenAttempts,
        holdings: TasksInHand,
        pace: DeviceSpeed,
        max_attempts: int,
        dice: random.Random,
        clock: Callable[[], float],
        batch_size: Callable[[BatchGroup], int],
        done: Callable[[TaskInHand, protocol.Done], None],
        fail: Callable[[TaskInHand, Fail], None],
        load_again: Callable[[TaskInHand], Awaitable[None]],
        pipeline_unavailable: Callable[[BatchGroup, str], None],
    ) -> None:
        self._device = device
        self._open_attempts = open_attempts
        self._holdings = holdings
        self._pace = pace
        self._max_attempts = max_attempts
        self._dice = dice
        self._clock = clock
        self._batch_size = batch_size
        self._done = done
        self._fail = fail
        self._load_again = load_again
        self._pipeline_unavailable = pipeline_unavailable
        self._ready: dict[BatchGroup, deque[TaskInHand]] = {}
        # Images that run with nothing else in the device process, because it died with them.
        self._suspects: deque[TaskInHand] = deque()
        # Images that run with nothing else in hand, because they were delivered so often.
        self._alone: deque[TaskInHand] = deque()
        self._flights: set[_Flight] = set()
        self._last_end = 0.0
        self._error: Exception | None = None
        self._nudged = asyncio.Event()

    def add(self, held: TaskInHand) -> None:
        """This one's image is loaded."""
        if held.suspect:
            self._suspects.append(held)
        elif held.alone:
            self._alone.append(held)
        elif held.interactive:
            self._ready.setdefault(held.lane, deque()).appendleft(held)
        else:
            self._ready.setdefault(held.lane, deque()).append(held)
        self.nudge()

    def nudge(self) -> None:
        """Something moved: perhaps there is a batch to send."""
        self._nudged.set()

    @property
    def busy(self) -> bool:
        """Whether a batch is in the device process."""
        return bool(self._flights)

    async def abort(self) -> None:
        """Wait for no batch any longer; what is in them stays in hand."""
        tasks = [flight.task for flight in self._flights if flight.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self) -> None:
        """Send batches, for ever. Raises what went wrong with one of them beyond what is expected."""
        while True:
            self._nudged.clear()
            if self._error is not None:
                raise self._error
            while batch := self._next_batch():
                self._send(batch)
            await self._nudged.wait()

    # Choosing.

    def _next_batch(self) -> list[TaskInHand]:
        """The images to send now; empty when there are none or the device process has enough."""
        self._forget_gone()
        if any(flight.solo for flight in self._flights):
            return []
        if self._suspects:
            return [] if self._flights else [self._suspects.popleft()]
        if self._ready:
            return self._next_of_lanes()
        if self._alone and not self._flights and not self._others_unstarted(self._alone[0]):
            return [self._alone.popleft()]
        return []

    def _next_of_lanes(self) -> list[TaskInHand]:
        """The batch of the lane whose turn it is: interactive images first, then what was leased first."""
        not_begun = sum(not flight.begun for flight in self._flights)
        turns = sorted(
            self._ready, key=lambda lane: (not self._ready[lane][0].interactive, self._ready[lane][0].number)
        )
        for lane in turns:
            line, size = self._ready[lane], self._batch_size(lane)
            worth_it = len(line) >= size or not self._more_is_coming(lane)
            # While the device has something to do, a batch may wait until it is full.
            if not_begun < self._pace.depth(lane) and (worth_it or not self._flights):
                batch = [line.popleft() for _ in range(min(size, len(line)))]
                if not line:
                    del self._ready[lane]
                return batch
        return []

    def _more_is_coming(self, lane: BatchGroup) -> bool:
        return any(held.lane is lane and held.stage in (Stage.LEASED, Stage.LOADING) for held in self._holdings)

    def _others_unstarted(self, held: TaskInHand) -> bool:
        return any(other.unstarted and not other.alone for other in self._holdings if other is not held)

    def _forget_gone(self) -> None:
        for line in (self._suspects, self._alone, *self._ready.values()):
            if any(held.gone for held in line):
                kept = [held for held in line if not held.gone]
                line.clear()
                line.extend(kept)
        self._ready = {lane: line for lane, line in self._ready.items() if line}

    # Processing.

    def _send(self, batch: list[TaskInHand]) -> None:
        flight = _Flight(batch, solo=batch[0].suspect or batch[0].alone)
        self._flights.add(flight)
        for held in batch:
            self._holdings.move(held, Stage.SHIPPED)
        flight.task = asyncio.create_task(self._process(flight), name=f"batch-{batch[0].number}")

    async def _process(self, flight: _Flight) -> None:
        """See one batch through. Nobody awaits this task: what goes wrong beyond what is expected, `run` raises."""
        try:
            await self._fly(flight)
        except Exception as error:
            self._error = error
        finally:
            self._flights.discard(flight)
            self.nudge()

    async def _fly(self, flight: _Flight) -> None:
        first = flight.batch[0]
        if first.alone and not first.suspect:
            await self._note_opening(first)
        try:
            report = await self._run(flight)
        except PipelineUnavailable as error:
            self._pipeline_unavailable(flight.lane, str(error))
            for held in flight.batch:
                await self._holdings.hand_back(held, PIPELINE_REST)
        except DeviceLost as lost:
            await self._after_loss(flight, lost)
        else:
            await self._sort_out(flight, report)

    async def _note_opening(self, held: TaskInHand) -> None:
        try:
            await self._open_attempts.note(held.lease.task)
        except errors.Unavailable as error:
            # Should it kill us now, it is opened once more than it should be.
            logger.warning("that image %d is opened cannot be noted: %s", held.lease.task.image, error)

    async def _run(self, flight: _Flight) -> protocol.Report:
        try:
            # A fresh process has nothing loaded; otherwise this costs nothing.
            await self._device.load(flight.lane)
        except DeviceLost as lost:
            # It died before it saw an image.
            raise PipelineUnavailable(str(lost)) from lost
        started = self._clock()
        shipments = [_shipment(held) for held in flight.batch if not held.gone]
        report = await self._device.run(flight.lane, shipments, lambda: self._begin(flight))
        now = self._clock()
        if worked := sum(not isinstance(outcome, protocol.Dropped) for outcome in report.outcomes):
            # From when the device had nothing else to do: that is what it takes in a row of batches.
            seconds = now - max(started, self._last_end)
            self._pace.finished(flight.lane, worked, seconds, starved=report.starved)
        self._last_end = now
        return report

    def _begin(self, flight: _Flight) -> None:
        flight.begun = True
        for held in flight.batch:
            self._holdings.free(held)
            self._holdings.move(held, Stage.INFERRING)
        self.nudge()

    async def _sort_out(self, flight: _Flight, report: protocol.Report) -> None:
        if report.limit is not None:
            self._pace.limit(flight.lane, report.limit)
        in_hand = {held.number: held for held in flight.batch if not held.gone}
        for outcome in report.outcomes:
            held = in_hand.get(outcome.number)
            if held is None:
                continue
            match outcome:
                case protocol.Done():
                    self._done(held, outcome)
                case protocol.Failed(reason=reason, retryable=retryable):
                    self._fail(held, Fail(reason, retryable))
                case protocol.Dropped():
                    await self._holdings.hand_back(held)

    async def _after_loss(self, flight: _Flight, lost: DeviceLost) -> None:
        """The process died with these in it. One that was alone is the reason; of several, each is tried alone."""
        self._holdings.all_moved()
        for held in flight.batch:
            if held.gone:
                continue
            if flight.solo and held.suspect:
                await self._give_up(held, lost)
            else:
                held.suspect = True
                self._holdings.free(held)
                self._holdings.move(held, Stage.LEASED)
                await self._load_again(held)

    async def _give_up(self, held: TaskInHand, lost: DeviceLost) -> None:
        task = held.lease.task
        logger.warning("image %d of job %d stops the device process: %s", task.image, task.job, lost)
        reason = f"it stops the device process: {lost}"
        if lost.may_be_ours and not attempts.is_final(held.lease.delivery, self._max_attempts):
            await self._holdings.hand_back(
                held, attempts.retry_delay(held.lease.delivery) * self._dice.uniform(0.8, 1.2)
            )
        else:
            self._fail(held, Fail(reason, retryable=True))


def _shipment(held: TaskInHand) -> Shipment:
    task, data = held.lease.task, held.data or b""
    # The device process has the bytes from here on; should it die, they are loaded again.
    held.data = None
    item = protocol.Item(held.number, len(data), task.image, task.uri, task.captured_at, task.deployment)
    return Shipment(item=item, data=data)
