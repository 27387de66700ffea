"""Makes batches of loaded images, has the device process infer them, and passes the outcomes to the reporter."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain import attempts
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import DeviceLost, PipelineUnavailable, Shipment
from antenna_orchestration.worker.device.model_loading import ModelLoader
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from antenna_orchestration.worker.policy.speed import DeviceSpeed
from antenna_orchestration.worker.stages.load_queue import LoadQueue
from antenna_orchestration.worker.stages.reporter import Reporter
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

PIPELINE_REST: Final = 30.0
"""Seconds for which tasks are handed back whose pipeline could not be loaded."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A batch on its way through the device process."""

    batch: list[TaskInHand]
    # Nothing else may be in its device process meanwhile.
    solo: bool
    # The device has begun with it.
    begun: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def batch_group(self) -> BatchGroup:
        return self.batch[0].batch_group


@dataclass(slots=True)
class _Lane:
    """What waits for one device process, and what is in it: no lane waits for another."""

    # The inbox: loaded images by batch group, and those that must not share a batch.
    ready: dict[BatchGroup, deque[TaskInHand]] = field(default_factory=dict)
    # Images that run with nothing else in the process, because it died with them.
    suspects: deque[TaskInHand] = field(default_factory=deque)
    # Images that run with nothing else of the lane in hand, because they were delivered so often.
    alone: deque[TaskInHand] = field(default_factory=deque)
    flights: set[_Flight] = field(default_factory=set)
    # Whether the scheduler may still lease for the room that the last batch made when the device began with it.
    more_may_be_leased: bool = False
    last_end: float = 0.0

    def forget_gone(self) -> None:
        for line in (self.suspects, self.alone, *self.ready.values()):
            if any(held.gone for held in line):
                kept = [held for held in line if not held.gone]
                line.clear()
                line.extend(kept)
        self.ready = {group: line for group, line in self.ready.items() if line}


class Batcher:
    """Takes loaded images through the device process.

    Each goes on to the reporter, except: an image that the device process did not begin with is handed back, and one
    that was in there when the process died goes back to the image fetcher, to be tried alone. Each device process has a
    lane of its own: what is alone is so in its lane, and no lane waits for another.
    """

    def __init__(
        self,
        *,
        reporter: Reporter,
        load_queue: LoadQueue,
        device: DevicePool,
        model_loader: ModelLoader,
        open_attempts: OpenAttempts,
        tasks_in_hand: TasksInHand,
        speed: DeviceSpeed,
        max_attempts: int,
        nudge: Nudge,
        timing: Timing,
    ) -> None:
        self._reporter = reporter
        self._load_queue = load_queue
        self._device = device
        self._model_loader = model_loader
        self._open_attempts = open_attempts
        self._tasks_in_hand = tasks_in_hand
        self._speed = speed
        self._max_attempts = max_attempts
        self._timing = timing
        self._clock = timing.clock
        # By `BatchGroup.process`.
        self._lanes: defaultdict[str, _Lane] = defaultdict(_Lane)
        self._error: Exception | None = None
        self._nudged = nudge.subscribe()

    def add(self, held: TaskInHand) -> None:
        """Put a task whose image is loaded into the inbox."""
        lane = self._lanes[held.batch_group.process]
        if held.suspect:
            lane.suspects.append(held)
        elif held.alone:
            lane.alone.append(held)
        elif held.interactive:
            lane.ready.setdefault(held.batch_group, deque()).appendleft(held)
        else:
            lane.ready.setdefault(held.batch_group, deque()).append(held)
        self._nudged.set()

    def expect_no_more(self, process: str) -> None:
        """The scheduler has leased what this device process has room for: partial batches need not wait for more."""
        lane = self._lanes[process]
        if lane.more_may_be_leased:
            lane.more_may_be_leased = False
            self._nudged.set()

    @property
    def busy(self) -> bool:
        """Whether a batch is in a device process."""
        return any(lane.flights for lane in self._lanes.values())

    async def hand_back_unstarted(self, which: Callable[[TaskInHand], bool], delay: float = 0.0) -> None:
        """Hand back, for `delay` seconds, those tasks that the device has not begun with and for which `which` is true.

        Those that have reached the device process are reported by it as `Dropped` first, and handed back then.
        """
        shipped: list[int] = []
        for held in self._tasks_in_hand:
            if held.unstarted and which(held):
                if held.stage is Stage.SHIPPED:
                    shipped.append(held.number)
                else:
                    await self._tasks_in_hand.hand_back(held, delay)
        await self._device.forget(shipped)

    async def abort(self) -> None:
        """Stop waiting for the batches in the device processes; their tasks stay in hand."""
        flights = [flight for lane in self._lanes.values() for flight in lane.flights]
        tasks = [flight.task for flight in flights if flight.task is not None]
        await kernel.end(*tasks)

    async def run(self) -> None:
        """Send batches, for ever. Raises whatever unexpected error processing one of them met."""
        while True:
            self._nudged.clear()
            if self._error is not None:
                raise self._error
            for process, lane in self._lanes.items():
                while batch := self._next_batch(process, lane):
                    self._send(lane, batch)
            await self._nudged.wait()

    # Choosing.

    def _next_batch(self, process: str, lane: _Lane) -> list[TaskInHand]:
        """The images to send to this process now; empty when there are none or it has enough."""
        lane.forget_gone()
        if any(flight.solo for flight in lane.flights):
            return []
        if lane.suspects:
            # Nor may a pipeline be loaded meanwhile: it would not be known which of the two the process died of.
            return [] if lane.flights or self._device.is_loading(process) else [lane.suspects.popleft()]
        if lane.ready:
            return self._next_of_groups(lane)
        if lane.alone and not lane.flights and not self._others_unstarted(lane.alone[0]):
            return [lane.alone.popleft()]
        return []

    def _next_of_groups(self, lane: _Lane) -> list[TaskInHand]:
        """The batch of the group whose turn it is: interactive images first, then what was leased first."""
        not_begun = sum(not flight.begun for flight in lane.flights)
        ready = lane.ready
        turns = sorted(ready, key=lambda group: (not ready[group][0].interactive, ready[group][0].number))
        for group in turns:
            line, size = ready[group], self._speed.batch(group)
            worth_it = len(line) >= size or not self._more_is_coming(lane, group)
            # While the device has something to do, a batch may wait until it is full.
            if not_begun < self._speed.depth(group) and (worth_it or not lane.flights):
                batch = [line.popleft() for _ in range(min(size, len(line)))]
                if not line:
                    del ready[group]
                return batch
        return []

    def _more_is_coming(self, lane: _Lane, group: BatchGroup) -> bool:
        before = (Stage.LEASED, Stage.LOADING)
        return lane.more_may_be_leased or any(
            held.batch_group is group and held.stage in before for held in self._tasks_in_hand
        )

    def _others_unstarted(self, held: TaskInHand) -> bool:
        others = self._tasks_in_hand.beside(held)
        return any(other.unstarted and not other.alone for other in others)

    # Processing.

    def _send(self, lane: _Lane, batch: list[TaskInHand]) -> None:
        flight = _Flight(batch, solo=batch[0].suspect or batch[0].alone)
        lane.flights.add(flight)
        for held in batch:
            self._tasks_in_hand.move(held, Stage.SHIPPED)
        flight.task = asyncio.create_task(self._process(lane, flight), name=f"batch-{batch[0].number}")

    async def _process(self, lane: _Lane, flight: _Flight) -> None:
        """See one batch through. Nobody awaits this task, so `run` raises its unexpected errors."""
        try:
            await self._fly(lane, flight)
        except Exception as error:
            self._error = error
        finally:
            lane.flights.discard(flight)
            self._nudged.set()

    async def _fly(self, lane: _Lane, flight: _Flight) -> None:
        first = flight.batch[0]
        if first.alone and not first.suspect:
            await self._note_attempt(first)
        try:
            report = await self._run(lane, flight)
        except PipelineUnavailable as error:
            self._model_loader.failed(flight.batch_group, str(error), error.trace)
            for held in flight.batch:
                await self._tasks_in_hand.hand_back(held, PIPELINE_REST)
        except DeviceLost as lost:
            await self._after_loss(flight, lost)
        else:
            await self._sort_out(flight, report)

    async def _note_attempt(self, held: TaskInHand) -> None:
        try:
            await self._open_attempts.note(held.lease.task)
        except errors.Unavailable as error:
            # Should it kill this worker now, it is opened once more than it should be.
            logger.warning("the attempt to open image %d cannot be noted: %s", held.lease.task.image, error)

    async def _run(self, lane: _Lane, flight: _Flight) -> protocol.Report:
        await self._device.load_despite_losses(flight.batch_group)
        started = self._clock()
        shipments = [_shipment(held) for held in flight.batch if not held.gone]
        report = await self._device.run(flight.batch_group, shipments, lambda: self._begin(lane, flight))
        now = self._clock()
        if worked := sum(not isinstance(outcome, protocol.Dropped) for outcome in report.outcomes):
            # Counted from when the device was free: what the batch takes in a row of batches.
            seconds = now - max(started, lane.last_end)
            self._speed.finished(flight.batch_group, worked, seconds, starved=report.starved)
            self._model_loader.worked(flight.batch_group)
        lane.last_end = now
        return report

    def _begin(self, lane: _Lane, flight: _Flight) -> None:
        flight.begun = True
        # Without this a batch that was once too small would stay so: the next one, made before the scheduler has
        # leased for the room of this one, would have the same size, and so on.
        lane.more_may_be_leased = True
        for held in flight.batch:
            self._tasks_in_hand.free(held)
            self._tasks_in_hand.move(held, Stage.INFERRING)
        self._nudged.set()

    async def _sort_out(self, flight: _Flight, report: protocol.Report) -> None:
        self._speed.limit(flight.batch_group, report.limit)
        in_hand = {held.number: held for held in flight.batch if not held.gone}
        for outcome in report.outcomes:
            held = in_hand.get(outcome.number)
            if held is None:
                continue
            match outcome:
                case protocol.Done():
                    self._reporter.report_done(held, outcome)
                case protocol.Failed(out_of_memory=True) if not self._is_last(held, may_wait=outcome.shared):
                    await self._hand_back_later(held, outcome.reason)
                case protocol.Failed(reason=reason, retryable=retryable):
                    self._reporter.report_failed(held, reason, retryable=retryable)
                case protocol.Dropped():
                    await self._tasks_in_hand.hand_back(held)

    async def _after_loss(self, flight: _Flight, lost: DeviceLost) -> None:
        """The process died with these images in it. A single one is the cause; of several, each is tried alone."""
        self._tasks_in_hand.all_moved()
        for held in flight.batch:
            if held.gone:
                continue
            if self._device.health.gone:
                # This worker leaves; no image is to blame.
                await self._hand_back_later(held, self._device.health.gone)
            elif flight.solo and held.suspect and lost.alone:
                await self._give_up(held, lost)
            else:
                held.suspect = True
                self._tasks_in_hand.free(held)
                self._tasks_in_hand.move(held, Stage.LEASED)
                await self._load_again(held)

    async def _load_again(self, held: TaskInHand) -> None:
        """Send the task back to the image fetcher; from a worker that is leaving, to other workers."""
        if self._load_queue.is_closed:
            await self._tasks_in_hand.hand_back(held)
        else:
            self._load_queue.put(held)

    def _is_last(self, held: TaskInHand, *, may_wait: bool) -> bool:
        """Whether a failure is published now; one that others perhaps caused waits as long as there are tries."""
        most = max(self._max_attempts, attempts.UNOPENED_AFTER) if may_wait else self._max_attempts
        return attempts.is_final(held.lease.delivery, most)

    async def _hand_back_later(self, held: TaskInHand, why: str) -> None:
        """Hand back what failed through no fault of its own perhaps: the attempt does not count against it."""
        task = held.lease.task
        logger.info("image %d of job %d is handed back: %s", task.image, task.job, why)
        if held.alone:
            try:
                await self._open_attempts.take_back(held.job_run, task.image)
            except errors.Unavailable as error:
                logger.warning("the attempt to open image %d cannot be taken back: %s", task.image, error)
        delay = self._timing.spread_out(attempts.retry_delay(held.lease.delivery))
        await self._tasks_in_hand.hand_back(held, delay)

    async def _give_up(self, held: TaskInHand, lost: DeviceLost) -> None:
        task = held.lease.task
        logger.warning("image %d of job %d stops the device process: %s", task.image, task.job, lost)
        # As long as nothing was finished on the device since, it may be what is broken.
        is_proven = self._device.health.is_proven(held.batch_group.process)
        if lost.may_be_ours and not self._is_last(held, may_wait=not is_proven):
            await self._hand_back_later(held, str(lost))
        else:
            self._reporter.report_failed(held, f"it stops the device process: {lost}", retryable=True)
        if self._model_loader.crashed(held.batch_group, str(lost)):
            await self.hand_back_unstarted(lambda other: other.batch_group is held.batch_group, PIPELINE_REST)


def _shipment(held: TaskInHand) -> Shipment:
    task, data = held.lease.task, held.data or b""
    # The device process has the bytes from here on; should it die, they are loaded again.
    held.data = None
    given = None if task.detections is msgspec.UNSET else task.detections
    item = protocol.Item(held.number, len(data), task.image, task.uri, task.captured_at, task.deployment, given)
    return Shipment(item=item, data=data)
