"""Leasing: which jobs this worker may serve, what it may have in hand, and the turns that the fair share gives them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts, messages, reach
from antenna_orchestration.domain.ids import Epoch
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.queue.announcements import Snapshot
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.worker.device.client import Device
from antenna_orchestration.worker.policy.batch_groups import BatchGroup, BatchGroups
from antenna_orchestration.worker.policy.fair_share import Entrant, FairShare, Turn
from antenna_orchestration.worker.policy.source_health import SourceHealth
from antenna_orchestration.worker.policy.speed import COLD_LEASE, DeviceSpeed
from antenna_orchestration.worker.stages.tasks_in_hand import JobKey, TaskInHand, TasksInHand

logger = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 2.0
"""Seconds until the board and the room are looked at again when nothing tells us to."""

UNAVAILABLE_PAUSE: Final = 0.5
"""Seconds to wait when NATS does not answer."""

MISSING_FIRST: Final = 1.0
MISSING_LONGEST: Final = 60.0
"""Seconds until a job is asked for again whose consumer was gone; doubled from the first to the longest."""

MAX_BACKLOG: Final = 256
"""Results that may wait to be published before nothing more is leased."""

DELICATE: Final = 60.0
"""Seconds for which a job that has images to be processed alone is leased from one by one."""

LOOKING: Final = 0.05
"""Share of its time, at most, that a worker looks through the jobs that there are."""

KEPT_FROM: Final = 7
"""Delivery from which such an image is kept although another waits already: handing it back on and on would fail it."""


@dataclass(frozen=True, slots=True)
class _Leasable:
    announcement: messages.Announcement
    lane: BatchGroup


class Scheduler:
    """Leases tasks as fast as they can be worked off, and no faster."""

    def __init__(
        self,
        *,
        leaser: Leaser,
        open_attempts: OpenAttempts,
        lanes: BatchGroups,
        pace: DeviceSpeed,
        holdings: TasksInHand,
        standing: SourceHealth,
        device: Device,
        loader: Loader,
        reaches: tuple[str, ...],
        batch_size: int,
        dice: random.Random,
        clock: Callable[[], float],
        want_loaded: Callable[[BatchGroup], None],
        accept: Callable[[TaskInHand], None],
        fail_unopened: Callable[[TaskInHand], None],
        backlog: Callable[[], int],
    ) -> None:
        self._leaser = leaser
        self._open_attempts = open_attempts
        self._lanes = lanes
        self._pace = pace
        self._holdings = holdings
        self._standing = standing
        self._device = device
        self._loader = loader
        self._reaches = reaches
        self._batch_size = batch_size
        self._dice = dice
        self._clock = clock
        self._want_loaded = want_loaded
        self._accept = accept
        self._fail_unopened = fail_unopened
        self._backlog = backlog
        self._fair = FairShare()
        self._board: Snapshot = {}
        # Whether the board was read once; before, no work is no news.
        self.has_board = False
        self._nudged = asyncio.Event()
        self._stopped = False
        # Consumers that were gone when we asked, with the time to ask again and the pause before that.
        self._missing: dict[Epoch, tuple[float, float]] = {}
        self._delicate_until: dict[JobKey, float] = {}
        self._skipped: set[JobKey] = set()
        # What was found for an announcement; reading configurations anew for each turn would cost more than the turn.
        self._found: dict[JobKey, tuple[messages.Announcement, BatchGroup | None]] = {}
        # What the last look found, and when to look again.
        self._entries: dict[JobKey, _Leasable] = {}
        self._open_lanes: set[BatchGroup] = set()
        self._look_again_at = 0.0

    def on_announcements(self, board: Snapshot) -> list[JobKey]:
        """The board changed; returns the jobs that were taken off it."""
        withdrawn = [key for key in self._board if key not in board]
        self._board = board
        self.has_board = True
        self._standing.forget(set(board))
        epochs = {announcement.epoch for announcement in board.values()}
        self._missing = {epoch: when for epoch, when in self._missing.items() if epoch in epochs}
        for key in withdrawn:
            self._delicate_until.pop(key, None)
            self._skipped.discard(key)
            self._found.pop(key, None)
        self._look_again_at = 0.0
        self.nudge()
        return withdrawn

    def nudge(self) -> None:
        """Something changed that may make room or work."""
        self._nudged.set()

    def stop(self) -> None:
        """Lease nothing more; `run` ends after the turns that are being taken."""
        self._stopped = True
        self.nudge()

    async def run(self) -> None:
        """Lease, until stopped."""
        while not self._stopped:
            self._nudged.clear()
            pause = await self._round()
            if pause > 0:
                try:
                    async with asyncio.timeout(pause):
                        await self._nudged.wait()
                except TimeoutError:
                    continue

    async def _round(self) -> float:
        """Plan turns and take them; returns for how many seconds there is nothing to do."""
        now = self._clock()
        looks = now >= self._look_again_at
        if looks:
            self._look(now)
        turns = self._fair.plan(self._room(), now, limits=self._cold_limits())
        if not turns and not looks:
            # What woke this worker may show at the next look.
            return self._look_again_at - now
        if not turns:
            wake = self._fair.next_wake(now)
            # 0 would be a job that is awake while there is no room: a nudge will tell.
            return min(wake, LONGEST_PAUSE) if wake else LONGEST_PAUSE
        outcomes = await asyncio.gather(*(self._take(turn) for turn in turns), return_exceptions=True)
        for error in filter(None, outcomes):
            if not isinstance(error, errors.Unavailable):
                raise error
            logger.debug("leasing: %s", error)
        return UNAVAILABLE_PAUSE if any(outcomes) else 0.0

    # What may be leased.

    def _look(self, now: float) -> None:
        """See which jobs may be leased from, and at what price. With very many jobs that is not done at each turn."""
        self._entries = self._leasable(now)
        self._open_lanes = {entry.lane for entry in self._entries.values()}
        self._fair.update(self._entrant(key, entry, now) for key, entry in self._entries.items())
        self._look_again_at = now + (self._clock() - now) / LOOKING

    def _leasable(self, now: float) -> dict[JobKey, _Leasable]:
        found: dict[JobKey, _Leasable] = {}
        for key, announcement in self._board.items():
            if self._missing.get(announcement.epoch, (now,))[0] > now or self._standing.job_rests(key, now):
                continue
            seen, lane = self._found.get(key, (None, None))
            if seen is not announcement:
                lane = self._lane(key, announcement)
                self._found[key] = (announcement, lane)
            if lane is None:
                continue
            if self._device.has_loaded(lane):
                found[key] = _Leasable(announcement, lane)
            else:
                self._want_loaded(lane)
        return found

    def _lane(self, key: JobKey, announcement: messages.Announcement) -> BatchGroup | None:
        """The job's lane, or None when this worker cannot serve the job, which is said once."""
        if announcement.dispatch_mode is not DispatchMode.ASYNC:
            self._skip(key, "it is pushed to a processing service", logging.DEBUG)
            return None
        try:
            lane = self._lanes.of(announcement)
        except errors.UnknownPipeline as error:
            self._skip(key, str(error), logging.DEBUG)
            return None
        except errors.InvalidInput as error:
            self._skip(key, str(error), logging.ERROR)
            return None
        if not reach.covers(self._reaches, announcement.source_kinds):
            kinds = ", ".join(announcement.source_kinds)
            self._skip(key, f"its images ({kinds}) are out of this worker's reach", logging.INFO)
            return None
        return lane

    def _skip(self, key: JobKey, reason: str, level: int) -> None:
        if key not in self._skipped:
            self._skipped.add(key)
            logger.log(level, "job %d is left to other workers: %s", key[0], reason)

    def _entrant(self, key: JobKey, entry: _Leasable, now: float) -> Entrant:
        one_by_one = self._standing.is_on_trial(key) or self._delicate_until.get(key, 0.0) > now
        return Entrant(
            key=key,
            lane=entry.lane,
            weight=max(1, entry.announcement.priority),
            interactive=entry.announcement.interactive,
            cost=self._pace.cost(entry.lane),
            limit=1 if one_by_one else None,
            stamp=(entry.announcement.epoch, entry.announcement.total, entry.announcement.priority),
        )

    # How much.

    def batch_size(self, lane: BatchGroup) -> int:
        """Images of the lane that go to the device together."""
        return self._pace.batch(lane, self._batch_size or lane.spec.batch_size)

    def _room(self) -> float:
        """Device seconds of work to lease now."""
        if self._backlog() >= MAX_BACKLOG or any(held.alone or held.suspect for held in self._holdings):
            # Nothing else is to be at stake, or to wait, while such an image runs.
            return 0.0
        lanes = self._open_lanes
        room = self._pace.room(
            batches={lane: self.batch_size(lane) for lane in lanes},
            unstarted=self._holdings.unstarted,
            held=self._holdings.per_lane,
        )
        if lanes and self._loader.mean_size and len(self._holdings):
            images = self._loader.memory.free / self._loader.mean_size
            room = min(room, images * min(map(self._pace.cost, lanes)))
        return room

    def _cold_limits(self) -> dict[BatchGroup, int]:
        return {
            lane: max(0, COLD_LEASE - self._holdings.per_lane[lane])
            for lane in self._open_lanes
            if self._pace.is_cold(lane)
        }

    # Taking.

    async def _take(self, turn: Turn) -> None:
        key: JobKey = turn.key  # type: ignore[assignment]
        entry = self._entries[key]
        try:
            leases = await self._leaser.lease(key, entry.announcement.epoch, turn.wanted)
        except errors.Unavailable:
            self._fair.took(turn, 0, self._clock())
            raise
        if leases is None:
            self._miss(entry.announcement)
            return
        self._missing.pop(entry.announcement.epoch, None)
        self._fair.took(turn, len(leases), self._clock())
        for lease in leases:
            await self._receive(self._holdings.add(lease, entry.announcement, entry.lane))

    def _miss(self, announcement: messages.Announcement) -> None:
        """A consumer that is gone for good and a server that has just started look the same: ask again, ever later."""
        _, pause = self._missing.get(announcement.epoch, (0.0, MISSING_FIRST))
        self._missing[announcement.epoch] = (self._clock() + pause, min(pause * 2, MISSING_LONGEST))
        self._look_again_at = 0.0
        logger.info("job %d has no consumer, asking again in %.0f s", announcement.job, pause)

    async def _receive(self, held: TaskInHand) -> None:
        plan = attempts.plan(held.lease.delivery)
        if held.job not in self._board:
            await self._holdings.hand_back(held)
        elif plan is attempts.Plan.FAIL_UNOPENED and await self._was_opened_often(held):
            self._fail_unopened(held)
        elif plan is attempts.Plan.ALONE and self._one_too_many(held):
            self._delicate_until[held.job] = self._clock() + DELICATE
            self._look_again_at = 0.0
            await self._holdings.hand_back(held, self._dice.uniform(1.0, 3.0))
        else:
            self._accept(held)

    async def _was_opened_often(self, held: TaskInHand) -> bool:
        """Whether those who opened it never reported back; false for a task that was only handed back all the time."""
        try:
            return await self._open_attempts.count(held.lease.task) >= attempts.OPENED_AT_LEAST
        except errors.Unavailable as error:
            logger.debug("opened, for nobody says how often it was: %s", error)
            return False

    def _one_too_many(self, held: TaskInHand) -> bool:
        others = any(other.alone for other in self._holdings if other is not held)
        return others and held.lease.delivery < KEPT_FROM
