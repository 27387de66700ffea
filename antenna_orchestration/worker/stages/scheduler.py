"""Leasing: which jobs this worker may serve, how much it may have in hand, and the turns that the fair share plans."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts, messages, reach
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.domain.ids import Epoch, JobId, JobRun
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.queue.announcements import Snapshot
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.worker.device.model_loading import ModelLoader
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.policy.batch_groups import BatchGroup, BatchGroups
from antenna_orchestration.worker.policy.device_shares import DeviceShares, Work, shares
from antenna_orchestration.worker.policy.fair_share import Entrant, FairShare, Turn
from antenna_orchestration.worker.policy.lease_time import LeaseTime
from antenna_orchestration.worker.policy.source_health import SourceHealth
from antenna_orchestration.worker.policy.speed import COLD_LEASE, DeviceSpeed
from antenna_orchestration.worker.pulling import PipelinePuller
from antenna_orchestration.worker.pulse import Pulse
from antenna_orchestration.worker.stages.image_fetcher import ImageFetcher
from antenna_orchestration.worker.stages.reporter import Reporter
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 2.0
"""Seconds until announcements and room are looked at again when there was no nudge."""

UNAVAILABLE_PAUSE: Final = 0.5
"""Seconds to wait when NATS does not answer."""

MISSING: Final = Backoff(first=1.0, longest=60.0)
"""Seconds until a job is asked for again whose consumer was missing."""

MAX_BACKLOG: Final = 256
"""Results waiting to be published from which on nothing more is leased: back-pressure."""

DELICATE: Final = 60.0
"""Seconds for which a job that has images to be processed alone is leased from one by one."""

LOOKING: Final = 0.05
"""Share of its time, at most, that a worker spends looking through the announced jobs."""

KEPT_FROM: Final = 7
"""Delivery from which such an image is kept although another waits: handing it back again and again would fail it."""


@dataclass(frozen=True, slots=True)
class _Leasable:
    announcement: messages.Announcement
    batch_group: BatchGroup


@dataclass(frozen=True, slots=True)
class _Missing:
    """A consumer that was missing when it was asked for tasks."""

    # In a row.
    failures: int
    ask_again_at: float


class Scheduler:
    """Leases tasks as fast as they can be processed, and no faster; passes them to the image fetcher."""

    def __init__(
        self,
        *,
        image_fetcher: ImageFetcher,
        reporter: Reporter,
        leaser: Leaser,
        open_attempts: OpenAttempts,
        device: DevicePool,
        model_loader: ModelLoader,
        tasks_in_hand: TasksInHand,
        batch_groups: BatchGroups,
        speed: DeviceSpeed,
        source_health: SourceHealth,
        lease_time: LeaseTime,
        reaches: tuple[str, ...],
        puller: PipelinePuller,
        pulse: Pulse,
        nudge: Nudge,
        timing: Timing,
    ) -> None:
        """`reaches`: kinds of sources that can be read from here, as in `ANTENNA_WORKER_REACHES`."""
        self._pulse = pulse
        self._image_fetcher = image_fetcher
        self._reporter = reporter
        self._leaser = leaser
        self._open_attempts = open_attempts
        self._device = device
        self._model_loader = model_loader
        self._tasks_in_hand = tasks_in_hand
        self._batch_groups = batch_groups
        self._speed = speed
        self._source_health = source_health
        self._lease_time = lease_time
        self._reaches = reaches
        self._puller = puller
        self._clock = timing.clock
        self._dice = timing.dice
        # One for each device process, by `BatchGroup.process`, and what they have had of the device.
        self._fair: defaultdict[str, FairShare] = defaultdict(FairShare)
        self._device_shares = DeviceShares()
        self._announced: Snapshot = {}
        # Whether the announcements were read once; before, no work is no news.
        self.has_announcements = False
        self._nudged = nudge.subscribe()
        self._stopped = False
        self._missing: dict[Epoch, _Missing] = {}
        self._delicate_until: dict[JobRun, float] = {}
        self._skipped: set[JobRun] = set()
        # Announced jobs of another version of a pipeline than the one here, or with other settings, with the reason.
        self._refused: dict[JobId, str] = {}
        # The batch group found for an announcement: reading configurations at each turn would cost more than the turn.
        self._found: dict[JobRun, tuple[messages.Announcement, BatchGroup | None]] = {}
        # What the last look found, by the fair share's key, and when to look again.
        self._entries: dict[Hashable, _Leasable] = {}
        self._open_groups: set[BatchGroup] = set()
        self._look_again_at = 0.0

    def on_announcements(self, announced: Snapshot) -> set[JobRun]:
        """Take over what is announced now; returns the jobs whose announcements were withdrawn."""
        job_runs = {announcement.job_run for announcement in announced.values()}
        withdrawn = {announcement.job_run for announcement in self._announced.values()} - job_runs
        self._announced = announced
        self.has_announcements = True
        self._source_health.forget_all_but(job_runs)
        self._source_health.know(
            done={one.job_run for one in announced.values() if one.some_done},
            forbidden_since={one.job_run: one.forbidden_since for one in announced.values() if one.forbidden_since},
        )
        epochs = {announcement.epoch for announcement in announced.values()}
        self._missing = {epoch: missing for epoch, missing in self._missing.items() if epoch in epochs}
        for job_run in withdrawn:
            self._delicate_until.pop(job_run, None)
            self._skipped.discard(job_run)
            self._found.pop(job_run, None)
            self._refused.pop(job_run.job, None)
        self._look_again_at = 0.0
        self._nudged.set()
        return withdrawn

    def on_pipelines(self, pipelines: Mapping[str, PipelineSpec], changed: Collection[str]) -> None:
        """Serve these pipelines from now on; those that `changed` names are others than before, new or gone."""
        self._batch_groups.serve(pipelines)
        for announcement in self._announced.values():
            if announcement.pipeline in changed:
                self._skipped.discard(announcement.job_run)
                self._found.pop(announcement.job_run, None)
                self._refused.pop(announcement.job, None)
        self._look_again_at = 0.0
        self._nudged.set()

    def refused_jobs(self) -> Iterator[tuple[str, str]]:
        """Jobs, as text, that do not fit the pipeline as it is here, with the reason."""
        return ((str(job), reason) for job, reason in self._refused.items())

    @property
    def has_waiting_jobs(self) -> bool:
        """Whether jobs wait for images or models that this worker could not load, and tries again."""
        failing = self._model_loader.failing
        pulls = {*self._puller.fetching, *self._puller.failing}
        return self._source_health.has_waiting or any(
            one.pipeline in {*failing, *pulls} for one in self._announced.values()
        )

    def has_files_of(self, job_run: JobRun, kind: str) -> bool:
        """Whether all files of the job are of this kind of source."""
        found = next((one for one in self._announced.values() if one.job_run == job_run), None)
        return found is not None and [one for one in found.source_kinds if one.startswith("file:")] == [kind]

    def stop(self) -> None:
        """Lease nothing more; `run` ends after the turns that are being taken."""
        self._stopped = True
        self._pulse.end("scheduler")
        self._nudged.set()

    async def run(self) -> None:
        """Lease, until stopped."""
        while not self._stopped:
            self._pulse.turn("scheduler")
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
        turns: list[Turn] = []
        limits = self._cold_limits()
        due = shares({process: fair.demand(now) for process, fair in self._fair.items()})
        # Looking at all that is in hand would cost a lone process more than its turns do.
        work = self._work() if len(due) > 1 else {}
        held_back = self._device_shares.held_back(now, due=due, work=work, crowded=self._device.is_crowded)
        for process, fair in self._fair.items():
            planned: list[Turn] = []
            if process in due and process not in held_back:
                part = due[process].interactive
                planned = fair.plan(self._room(process), now, limits=limits, interactive=part)
            if not planned:
                self._image_fetcher.expect_no_more(process)
            turns += planned
        if not turns and not looks:
            # Whatever woke the scheduler may show at the next look.
            return self._look_again_at - now
        if not turns:
            # 0: a job is awake but there is no room; a nudge will tell.
            wakes = (fair.next_wake(now) or LONGEST_PAUSE for fair in self._fair.values())
            return min((LONGEST_PAUSE, *wakes))
        outcomes = await asyncio.gather(*(self._take(turn) for turn in turns), return_exceptions=True)
        for error in filter(None, outcomes):
            if not isinstance(error, errors.Unavailable):
                raise error
            logger.debug("leasing: %s", error)
        if not any(outcomes):
            return 0.0
        for process in self._fair:
            self._image_fetcher.expect_no_more(process)
        return UNAVAILABLE_PAUSE

    # What may be leased.

    def _look(self, now: float) -> None:
        """See which jobs may be leased from, and at what cost. With very many jobs that is not done at each turn."""
        leasable = self._leasable(now)
        self._entries = {entry.announcement.job_run: entry for entry in leasable}
        self._open_groups = {entry.batch_group for entry in leasable}
        entrants: dict[str, list[Entrant]] = {process: [] for process in self._fair}
        for entry in leasable:
            entrants.setdefault(entry.batch_group.process, []).append(self._entrant(entry, now))
        for process, here in entrants.items():
            self._fair[process].update(here)
        self._look_again_at = now + (self._clock() - now) / LOOKING

    def _leasable(self, now: float) -> list[_Leasable]:
        found: list[_Leasable] = []
        for announcement in self._announced.values():
            job_run = announcement.job_run
            missing = self._missing.get(announcement.epoch)
            if (missing and missing.ask_again_at > now) or self._source_health.job_rests(job_run, now):
                continue
            seen, group = self._found.get(job_run, (None, None))
            if seen is not announcement or (group is None and self._is_pulled(announcement)):
                group = self._group_of(announcement)
                self._found[job_run] = (announcement, group)
            if group is not None and self._model_loader.loaded_or_requested(group):
                found.append(_Leasable(announcement, group))
        return found

    def _is_pulled(self, announcement: messages.Announcement) -> bool:
        """Whether the job's pipeline was fetched since the job was found to be for others; has it fetched, if not."""
        if self._puller.get(announcement) is None:
            return False
        self._skipped.discard(announcement.job_run)
        self._refused.pop(announcement.job, None)
        return True

    def _group_of(self, announcement: messages.Announcement) -> BatchGroup | None:
        """The job's batch group, or None when this worker cannot serve the job, which is logged once."""
        if announcement.dispatch_mode is not DispatchMode.ASYNC:
            self._skip(announcement, "it is pushed to a processing service", logging.DEBUG)
            return None
        try:
            group = self._batch_groups.group_of(announcement)
        except errors.OtherVersion as error:
            self._refused[announcement.job] = str(error)
            self._skip(announcement, str(error), logging.WARNING)
            return None
        except errors.UnknownPipeline as error:
            self._skip(announcement, str(error), logging.DEBUG)
            return None
        except errors.InvalidInput as error:
            self._refused[announcement.job] = str(error)
            self._skip(announcement, str(error), logging.ERROR)
            return None
        if not reach.covers(self._reaches, announcement.source_kinds):
            kinds = ", ".join(announcement.source_kinds)
            self._skip(announcement, f"its images ({kinds}) are out of this worker's reach", logging.INFO)
            return None
        return group

    def _skip(self, announcement: messages.Announcement, reason: str, level: int) -> None:
        if announcement.job_run not in self._skipped:
            self._skipped.add(announcement.job_run)
            logger.log(level, "job %d is left to other workers: %s", announcement.job, reason)

    def _entrant(self, entry: _Leasable, now: float) -> Entrant:
        announcement = entry.announcement
        job_run = announcement.job_run
        one_by_one = self._source_health.is_on_trial(job_run) or self._delicate_until.get(job_run, 0.0) > now
        return Entrant(
            key=job_run,
            batch_group=entry.batch_group,
            weight=max(1, announcement.priority),
            interactive=announcement.interactive,
            cost=self._speed.cost(entry.batch_group),
            limit=1 if one_by_one else None,
            stamp=(announcement.epoch, announcement.total, announcement.priority),
        )

    # How much.

    def _room(self, process: str) -> float:
        """Device seconds of work to lease now for this device process."""
        if self._reporter.failed_for(self._lease_time.seconds):
            # A task leased now would only be held back from workers whose results arrive.
            return 0.0
        if self._reporter.backlog >= MAX_BACKLOG:
            return 0.0
        if any((held.alone or held.suspect) and held.batch_group.process == process for held in self._tasks_in_hand):
            # While such an image runs, nothing else of the process may be at stake, or wait.
            return 0.0
        groups = [group for group in self._open_groups if group.process == process]
        room = self._speed.room(
            batches={group: self._speed.batch(group) for group in groups},
            unstarted=_of_process(self._tasks_in_hand.unstarted, process),
            held=_of_process(self._tasks_in_hand.per_batch_group, process),
        )
        images = self._image_fetcher.room
        if groups and images is not None and len(self._tasks_in_hand):
            room = min(room, images * min(map(self._speed.cost, groups)))
        return room

    def _work(self) -> dict[str, Work]:
        """What the device processes have to do: the images in them, and those that are loaded."""
        seconds: defaultdict[str, float] = defaultdict(float)
        first: dict[str, int] = {}
        for held in self._tasks_in_hand:
            group = held.batch_group
            # Not what waits for the pipeline to be loaded.
            if Stage.LOADED <= held.stage <= Stage.INFERRING and group in self._open_groups:
                seconds[group.process] += self._speed.cost(group)
                first.setdefault(group.process, held.number)
        return {process: Work(first[process], seconds[process]) for process in first}

    def _cold_limits(self) -> dict[BatchGroup, int]:
        return {
            group: max(0, COLD_LEASE - self._tasks_in_hand.per_batch_group[group])
            for group in self._open_groups
            if self._speed.is_cold(group)
        }

    # Taking.

    async def _take(self, turn: Turn) -> None:
        """Lease what one turn allows. Raises `Unavailable`."""
        entry = self._entries[turn.key]
        announcement = entry.announcement
        try:
            leases = await self._leaser.lease(
                announcement.job_run, announcement.epoch, turn.wanted, ack_wait=announcement.ack_wait
            )
        except errors.Unavailable:
            self._fair[entry.batch_group.process].took(turn, 0, self._clock())
            raise
        if leases is None:
            self._miss(announcement)
            return
        self._missing.pop(announcement.epoch, None)
        self._fair[entry.batch_group.process].took(turn, len(leases), self._clock())
        for lease in leases:
            await self._receive(self._tasks_in_hand.add(lease, announcement, entry.batch_group))

    def _miss(self, announcement: messages.Announcement) -> None:
        """A consumer that is gone for good and a server that has just started look the same: ask again, ever later."""
        known = self._missing.get(announcement.epoch)
        failures = 1 + (known.failures if known else 0)
        pause = MISSING.pause(failures)
        self._missing[announcement.epoch] = _Missing(failures, self._clock() + pause)
        self._look_again_at = 0.0
        logger.info("job %d has no consumer, asking again in %.0f s", announcement.job, pause)

    async def _receive(self, held: TaskInHand) -> None:
        plan = attempts.plan(held.lease.delivery)
        _, group = self._found.get(held.job_run, (None, None))
        if held.job_run not in self._announced or group is not held.batch_group:
            # It was withdrawn, or its pipeline changed, while it was being leased.
            await self._tasks_in_hand.hand_back(held)
        elif plan is attempts.Plan.FAIL_UNOPENED and await self._was_opened_often(held):
            self._reporter.report_failed(held, attempts.STOPPED_WORKER, retryable=True)
        elif plan is attempts.Plan.ALONE and self._one_too_many(held):
            self._delicate_until[held.job_run] = self._clock() + DELICATE
            self._look_again_at = 0.0
            await self._tasks_in_hand.hand_back(held, self._dice.uniform(1.0, 3.0))
        else:
            self._image_fetcher.add(held)

    async def _was_opened_often(self, held: TaskInHand) -> bool:
        """Whether workers that opened it never reported back; false for a task that was only handed back each time."""
        try:
            return await self._open_attempts.count(held.lease.task) >= attempts.OPENED_AT_LEAST
        except errors.Unavailable as error:
            logger.debug("image %d is opened: how often it was before is not known: %s", held.lease.task.image, error)
            return False

    def _one_too_many(self, held: TaskInHand) -> bool:
        others = any(other.alone for other in self._tasks_in_hand.beside(held))
        return others and held.lease.delivery < KEPT_FROM


def _of_process(counts: Counter[BatchGroup], process: str) -> dict[BatchGroup, int]:
    return {group: count for group, count in counts.items() if group.process == process}
