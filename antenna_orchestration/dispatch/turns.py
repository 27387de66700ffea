"""Turns of workers behind the gateway: order jobs, end turns, and count what was done, as `domain.turns` decides.

Existing workers lease from one job until they get an empty list, and then ask for a job again. So an empty list ends a
turn.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from antenna_orchestration.dispatch.lease import has_tasks
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import messages, turns
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.turns import Classes, Entrant, Pace
from antenna_orchestration.live.turns import Turn, WorkerTurns

logger = logging.getLogger(__name__)

OFFERED: Final = 8
"""Images that an offer counts for until the worker leases, so that workers that ask at the same moment get different
jobs."""

OFFERED_FOR: Final = 5.0
"""Seconds until an offer that nobody took counts no longer; a worker may need some to end its loaders and ask."""

LOOKED: Final = 0.25
"""Seconds for which one look whether a job has tasks serves all calls that would end a turn for it."""

LONGEST_SWITCH: Final = 60.0
"""Seconds from a turn's end to the next lease, beyond which the worker was idle and not about to change jobs."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """The jobs between which a worker can choose."""

    entrants: Mapping[JobRun, Entrant]
    classes: Classes
    # How many other workers were offered each of them, as the entrants have it.
    coming: Counter[JobRun]


class Turns:
    """Knows whose turn it is. One for each process that offers jobs."""

    def __init__(self, http: HttpServices) -> None:
        self._http = http
        # By worker: the last offer, or what its turn was ended for, and when.
        self._offered: dict[int, tuple[JobRun, float]] = {}
        self._looks: dict[JobRun, tuple[float, bool]] = {}
        # By pipeline: how fast a worker was of late, a guess for others.
        self._paces: dict[str, Pace] = {}

    async def in_order(self, worker: int, candidates: Sequence[messages.Announcement]) -> list[messages.Announcement]:
        """The jobs in the order in which to offer them to the worker."""
        known = await self._http.live.turns.of_worker(worker)
        choice = await self._choice(worker, known, candidates)
        by_run = {job.job_run: job for job in candidates}
        # No `await` from here on: of workers that ask at the same moment, each sees what the others were offered.
        coming = self._offers_to_others(worker)
        entrants = [
            replace(one, held=one.held + OFFERED * (coming[key] - choice.coming[key]))
            for key, one in choice.entrants.items()
        ]
        ordered = [by_run[one.key] for one in turns.in_order(entrants, choice.classes)]  # type: ignore[index]
        if ordered:
            self._offered[worker] = ordered[0].job_run, time.monotonic()
        return ordered

    async def offered(self, worker: int, found: Sequence[messages.Announcement], *, poll: str) -> None:
        """Take note of what was offered to a worker that asked in this way; turns that are over end with it."""
        if found:
            self._offered[worker] = found[0].job_run, time.monotonic()
        else:
            self._offered.pop(worker, None)
        if not poll:
            return
        async with self._http.live.turns.changing(worker):
            known = await self._http.live.turns.of_worker(worker)
            now = await self._http.live.leases.now()
            # Without an offer it rests, and does not change jobs.
            offered = found[0].job_run if found else None
            polled = replace(known, poll=poll, polled=now, offered=offered, cut=known.cut if found else 0.0)
            await self._http.live.turns.write(worker, polled, before=known)

    async def is_over(
        self,
        worker: int,
        poller: int,
        job: messages.Announcement,
        images: int,
        others: Callable[[str], Awaitable[Sequence[messages.Announcement]]],
        *,
        may_be_interrupted: bool,
    ) -> bool:
        """Whether the worker's turn on the job is over: it should hear that there are no tasks, and ask for a job.

        `others` are the jobs that would be offered to a worker that asked as it last did, as `poller`. A worker that
        never asked has no turns. Raises `Unavailable`.
        """
        known = await self._http.live.turns.of_worker(worker)
        asked = known if poller == worker else await self._http.live.turns.of_worker(poller)
        if not asked.poll:
            return False
        now = await self._http.live.leases.now()
        turn = _turn(known, job.job_run, asked, now)
        if turn is not None and turn.over:
            return True
        batch = min(images * self._pace(known, job.pipeline), self._http.settings.http_lease / 2)
        is_spent = turn is not None and turn.seconds >= turns.quantum(batch, known.switch)
        if not is_spent and not may_be_interrupted:
            return False
        candidates = [one for one in await others(asked.poll) if one.job_run != job.job_run]
        if not candidates:
            return False
        choice = await self._choice(worker, known, [job, *candidates], batch=batch)
        entrants, present = list(choice.entrants.values()), choice.entrants[job.job_run]
        ending = turns.interrupting(entrants, present, choice.classes)
        if is_spent:
            ending += turns.owed(entrants, present, choice.classes, batch=batch)
        by_run = {one.job_run: one for one in candidates}
        for one in ending:
            owed = by_run[one.key]  # type: ignore[index]
            # One image that waits should not end the turns of all workers.
            coming = self._offers_to_others(poller)[owed.job_run]
            if coming and coming * images >= owed.total:
                continue
            # Before the look, so that others which call meanwhile see it.
            self._offered[poller] = owed.job_run, time.monotonic()
            if await self._looks_leasable(owed):
                await self._end(worker, job, now)
                return True
            self._offered.pop(poller, None)
        return False

    async def leased(self, worker: int, poller: int, job: messages.Announcement, images: int) -> None:
        """Take note that the worker leased tasks of the job."""
        if not images:
            return
        if self._offered.get(poller, (None, 0))[0] == job.job_run:
            del self._offered[poller]
        # These tasks may have been its last.
        self._looks.pop(job.job_run, None)
        async with self._http.live.turns.changing(worker):
            known = await self._http.live.turns.of_worker(worker)
            asked = known if poller == worker else await self._http.live.turns.of_worker(poller)
            now = await self._http.live.leases.now()
            turn = _turn(known, job.job_run, asked, now)
            if turn is None or turn.over:
                turn = Turn(began=now)
            seconds = turn.seconds + images * self._pace(known, job.pipeline)
            turn = msgspec.structs.replace(turn, seconds=seconds)
            await self._http.live.turns.write(worker, known.with_turn(job.job_run, turn), before=known)

    async def enter(self, jobs: Sequence[messages.Announcement]) -> None:
        """Give those jobs clocks that have none."""
        standings, _ = await self._http.live.turns.standings([job.job_run for job in jobs])
        beginning = turns.start(standings.values(), await self._http.live.leases.now())
        await self._http.live.turns.enter({key: beginning for key, one in standings.items() if one.clock is None})

    async def _end(self, worker: int, job: messages.Announcement, now: float) -> None:
        logger.debug("worker %d: its turn on job %s is over", worker, job.job)
        async with self._http.live.turns.changing(worker):
            known = await self._http.live.turns.of_worker(worker)
            turn = msgspec.structs.replace(known.turns.get(job.job_run, Turn(began=now)), over=now)
            over = replace(known.with_turn(job.job_run, turn), cut=now)
            await self._http.live.turns.write(worker, over, before=known)

    async def _choice(
        self, worker: int, known: WorkerTurns, jobs: Sequence[messages.Announcement], *, batch: float | None = None
    ) -> _Choice:
        """Where the jobs stand for this worker. Newcomers get their clocks, and large differences are reduced."""
        standings, classes = await self._http.live.turns.standings([job.job_run for job in jobs])
        now = await self._http.live.leases.now()
        beginning = turns.start(standings.values(), now)
        clocks = {key: beginning if one.clock is None else one.clock for key, one in standings.items()}
        if newcomers := {key: beginning for key, one in standings.items() if one.clock is None}:
            await self._http.live.turns.enter(newcomers)
        offered = self._offers_to_others(worker)
        entrants = {
            job.job_run: Entrant(
                key=job.job_run,
                clock=clocks[job.job_run],
                held=standings[job.job_run].held + OFFERED * offered[job.job_run],
                priority=job.priority,
                interactive=job.interactive,
                pace=self._pace(known, job.pipeline),
            )
            for job in jobs
        }
        return await self._drawn_together(_Choice(entrants, classes, offered), known, batch)

    async def _drawn_together(self, choice: _Choice, known: WorkerTurns, batch: float | None) -> _Choice:
        entrants, classes = choice.entrants, choice.classes
        one_batch = OFFERED * max((one.pace for one in entrants.values()), default=0.0) if batch is None else batch
        within = max(turns.OWED, 4 * turns.quantum(one_batch, known.switch))
        reached = {key: one.reached for key, one in entrants.items()}
        drawn = turns.drawn_together(reached, within)
        shifts = {key: drawn[key] - reached[key] for key in drawn if drawn[key] != reached[key]}
        if len({one.interactive for one in entrants.values()}) > 1:
            classes = classes.drawn_together(entrants.values(), batch=one_batch, within=within)
        interactive = classes.interactive - choice.classes.interactive
        if not shifts and not interactive:
            return choice
        await self._http.live.turns.shift(shifts, interactive=interactive)
        shifted = {key: replace(one, clock=one.clock + shifts.get(key, 0.0)) for key, one in entrants.items()}
        return _Choice(shifted, classes, choice.coming)

    def _offers_to_others(self, worker: int) -> Counter[JobRun]:
        """How many other workers were offered each job a moment ago, and have not leased."""
        recent = time.monotonic() - OFFERED_FOR
        self._offered = {one: offer for one, offer in self._offered.items() if offer[1] > recent}
        return Counter(job_run for one, (job_run, _) in self._offered.items() if one != worker)

    def _pace(self, known: WorkerTurns, pipeline: str) -> float:
        """Seconds per image of the worker with the pipeline, or of another worker; else a guess."""
        if mine := known.paces.get(pipeline):
            self._paces[pipeline] = mine
        guess = self._paces.get(pipeline)
        return guess.per_image if guess is not None else turns.COLD_PACE

    async def _looks_leasable(self, job: messages.Announcement) -> bool:
        now = time.monotonic()
        self._looks = {one: look for one, look in self._looks.items() if now - look[0] < LOOKED}
        if look := self._looks.get(job.job_run):
            return look[1]
        found = await has_tasks(self._http, job.job_run, job.epoch)
        self._looks[job.job_run] = now, found
        return found


def _turn(known: WorkerTurns, job_run: JobRun, asked: WorkerTurns, now: float) -> Turn | None:
    """The worker's turn on the job, if it lasts or is over; None when a new one begins. `asked` has its last poll."""
    turn = known.turns.get(job_run)
    if turn is None:
        return None
    if turn.over:
        return None if asked.polled > turn.over or now - turn.over > turns.OVER_FOR else turn
    return None if asked.offered == job_run and asked.polled > turn.began else turn


async def posted(http: HttpServices, job: Job, worker: int, since: Sequence[float], *, before: float) -> None:
    """Advance the job's clock by the time that the worker gave to images leased at `since`, and measure the worker.

    `before` is when it last posted results.
    """
    now = await http.live.leases.now()
    images, first = len(since), min(since)
    seconds = max(now - max(before, first), 0.0)
    await http.live.turns.advance(
        job.job_run, seconds / max(job.priority, 1), seconds=seconds, interactive=job.interactive, now=now
    )
    async with http.live.turns.changing(worker):
        known = await http.live.turns.of_worker(worker)
        pace, switch, cut = known.paces.get(job.pipeline), known.switch, known.cut
        turn = known.turns.get(job.job_run)
        is_first = turn is not None and first <= turn.began
        if is_first and cut and first >= cut:
            if pace is not None and first - cut < LONGEST_SWITCH:
                switch = turns.switching(switch, now - max(cut, before) - images * pace.per_image)
            cut = 0.0
        paces = {**known.paces, job.pipeline: turns.measured(pace, images, seconds, is_first=is_first)}
        await http.live.turns.write(worker, replace(known, paces=paces, switch=switch, cut=cut), before=known)
