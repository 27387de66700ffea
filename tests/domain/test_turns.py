"""The rule of turns, tried on simulated workers and jobs, in which an image takes as long as it takes."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antenna_orchestration.domain import turns
from antenna_orchestration.domain.turns import Classes, Entrant, Standing

BATCH = 8


@dataclass
class SimulatedJob:
    """A job with images; its clock is where the stores would have it."""

    name: int
    pace: float
    priority: int = 1
    interactive: bool = False
    # Images that are not leased yet.
    waiting: float = float("inf")
    # When it is announced, in seconds.
    begins: float = 0.0
    clock: float | None = None
    held: int = 0
    at: float = 0.0
    # Device seconds.
    given: float = 0.0
    ended: float | None = None


@dataclass
class Fleet:
    """Workers that lease from a job until its turn is over, as the gateway decides it."""

    jobs: list[SimulatedJob]
    workers: int
    # Seconds that a worker needs to change jobs.
    switch: float = 0.0
    classes: Classes = field(default_factory=Classes)
    switches: int = 0
    now: float = 0.0

    def run(self, seconds: float) -> None:
        """Until so many seconds have passed, or nothing is left to do."""
        # When the worker asks next, its number, its job, seconds of its turn.
        asking: list[tuple[float, int, int | None, float]] = [
            (0.0, number, None, 0.0) for number in range(self.workers)
        ]
        # When results come, the job, images, seconds.
        coming: list[tuple[float, int, int, float]] = []
        by_name = {job.name: job for job in self.jobs}
        while asking and asking[0][0] <= seconds:
            self.now, number, present, spent = heapq.heappop(asking)
            while coming and coming[0][0] <= self.now:
                self._post(by_name, *heapq.heappop(coming))
            job = by_name[present] if present is not None else None
            after = self.now
            if job is None or not job.waiting or self._is_over(job, spent):
                chosen = self._chosen()
                if chosen is None:
                    if any(one.begins > self.now for one in self.jobs):
                        heapq.heappush(asking, (self.now + 0.1, number, None, 0.0))
                    continue
                if job is not None and chosen is not job:
                    self.switches += 1
                    after += self.switch
                job, spent = chosen, 0.0
            images = int(min(BATCH, job.waiting))
            job.waiting -= images
            job.held += images
            done = after + images * job.pace
            heapq.heappush(coming, (done, job.name, images, images * job.pace))
            heapq.heappush(asking, (done, number, job.name, spent + images * job.pace))
        while coming:
            self._post(by_name, *heapq.heappop(coming))

    def _post(self, by_name: dict[int, SimulatedJob], at: float, name: int, images: int, seconds: float) -> None:
        job = by_name[name]
        job.held -= images
        job.given += seconds
        job.clock = (job.clock or 0.0) + seconds / job.priority
        job.at = at
        if not job.waiting and not job.held:
            job.ended = at
        self.classes = replace(
            self.classes,
            interactive=self.classes.interactive + seconds * job.interactive,
            others=self.classes.others + seconds * (not job.interactive),
        )

    def _entrants(self) -> dict[int, Entrant]:
        present = [job for job in self.jobs if job.begins <= self.now and (job.waiting or job.held)]
        standings = [Standing(clock=job.clock, held=job.held, at=job.at) for job in present]
        beginning = turns.start(standings, self.now)
        for job in present:
            if job.clock is None:
                job.clock = beginning
        entrants = {
            job.name: Entrant(
                key=job.name, clock=job.clock or 0.0, held=job.held, priority=job.priority,
                interactive=job.interactive, pace=job.pace,
            )
            for job in present
        }  # fmt: skip
        reached = {name: one.reached for name, one in entrants.items()}
        drawn = turns.drawn_together(reached, self._within())
        for job in present:
            job.clock = (job.clock or 0.0) + drawn[job.name] - reached[job.name]
            entrants[job.name] = replace(entrants[job.name], clock=job.clock)
        if len({job.interactive for job in present}) > 1:
            self.classes = self.classes.drawn_together(entrants.values(), batch=self._batch(), within=self._within())
        return entrants

    def _chosen(self) -> SimulatedJob | None:
        entrants = self._entrants()
        leasable = {job.name: job for job in self.jobs if job.waiting}
        for one in turns.in_order(entrants.values(), self.classes):
            if one.key in leasable:
                return leasable[one.key]  # type: ignore[index]
        return None

    def _is_over(self, job: SimulatedJob, spent: float) -> bool:
        entrants = self._entrants()
        present, leasable = entrants[job.name], {one.name for one in self.jobs if one.waiting}
        ending = turns.interrupting(entrants.values(), present, self.classes)
        batch = BATCH * job.pace
        if spent >= turns.quantum(batch, self.switch):
            ending += turns.owed(entrants.values(), present, self.classes, batch=batch)
        return any(one.key in leasable for one in ending)

    def _batch(self) -> float:
        return BATCH * max(job.pace for job in self.jobs)

    def _within(self) -> float:
        return max(turns.OWED, 4 * turns.quantum(self._batch(), self.switch))


PACES = st.sampled_from([0.05, 0.2, 1.0])


@pytest.mark.long
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(PACES, st.integers(1, 4)), min_size=2, max_size=5), st.integers(1, 4))
def test_time_goes_by_priority_however_slow_pipelines_are(jobs: list[tuple[float, int]], workers: int) -> None:
    fleet = Fleet([SimulatedJob(n, pace, priority) for n, (pace, priority) in enumerate(jobs)], workers)
    fleet.run(600)
    shares = [job.given / job.priority for job in fleet.jobs]
    assert max(shares) - min(shares) <= 2 * (workers + 1) * BATCH


@pytest.mark.long
@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 10.0), st.integers(1, 3), st.integers(2, 4))
def test_switching_costs_a_twentieth_at_most(switch: float, workers: int, jobs: int) -> None:
    fleet = Fleet([SimulatedJob(n, 0.1) for n in range(jobs)], workers, switch=switch)
    fleet.run(2_000)
    assert fleet.switches * switch <= 0.05 * 2_000 * workers + jobs * switch
    # Nobody waits for longer than the turns of the others.
    shares = [job.given for job in fleet.jobs]
    assert max(shares) - min(shares) <= 4 * workers * turns.quantum(0.8, switch)


def test_equals_with_a_worker_each_change_seldom() -> None:
    fleet = Fleet([SimulatedJob(1, 0.1), SimulatedJob(2, 0.1)], 2)
    fleet.run(300)
    assert fleet.switches <= 2


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 100), st.integers(1, 4))
def test_a_newcomer_is_owed_at_once_and_no_more_than_others(begins: float, workers: int) -> None:
    old, new = SimulatedJob(1, 0.1), SimulatedJob(2, 0.1, begins=begins)
    small = SimulatedJob(3, 0.1, begins=begins, waiting=10)
    fleet = Fleet([old, new, small], workers)
    fleet.run(begins + 100)
    assert small.ended is not None and small.ended - begins <= 3 * (3.0 / workers) + 3 * 0.8
    assert abs((fleet.now - begins) * workers / 2 - new.given) <= 6 * workers


def test_a_job_that_lay_idle_has_little_credit() -> None:
    """Its images come back after a while; and then the other one is not kept waiting for as long."""
    other, idle = SimulatedJob(1, 0.1), SimulatedJob(2, 0.1, clock=0.0, begins=600)
    fleet = Fleet([other, idle], 1)
    fleet.run(600)
    before = other.given
    assert before > 550
    fleet.run(600 + 120)
    assert idle.given - other.given <= turns.OWED + 2


def test_a_job_served_alone_for_long_is_soon_served_again() -> None:
    ahead, behind = SimulatedJob(1, 0.1, clock=10_000.0), SimulatedJob(2, 0.1, clock=100.0)
    fleet = Fleet([ahead, behind], 1)
    fleet.run(100)
    assert ahead.given >= (100 - turns.OWED) / 2 - 2


@pytest.mark.long
def test_jobs_far_behind_another_take_turns() -> None:
    """Their differences stay, though that with the third is reduced again and again."""
    jobs = [SimulatedJob(1, 0.1), SimulatedJob(2, 0.1), SimulatedJob(3, 0.1, clock=0.0, waiting=0, held=1)]
    fleet = Fleet(jobs, 1)
    for second in range(1, 200):
        jobs[2].clock = (jobs[2].clock or 0.0) + 20
        fleet.run(second)
    assert abs(jobs[0].given - jobs[1].given) <= 10


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 60), st.integers(1, 4))
def test_an_interactive_image_waits_two_batches_at_most(begins: float, workers: int) -> None:
    image = SimulatedJob(2, 0.1, interactive=True, waiting=1, begins=begins)
    Fleet([SimulatedJob(1, 0.1), image], workers, switch=5.0).run(begins + 60)
    assert image.ended is not None
    # The worker changes, and does it.
    assert image.ended - begins <= 2 * BATCH * 0.1 + 5.0 + 0.1


@pytest.mark.long
@settings(max_examples=15, deadline=None)
@given(PACES, PACES, st.integers(1, 4))
def test_interactive_jobs_get_half_while_others_wait(pace: float, other: float, workers: int) -> None:
    urgent = [SimulatedJob(1, pace, interactive=True), SimulatedJob(2, pace, interactive=True)]
    fleet = Fleet([*urgent, SimulatedJob(3, other)], workers)
    fleet.run(400)
    took, left = sum(job.given for job in urgent), fleet.jobs[2].given
    assert abs(took - left) <= turns.OWED + 4 * workers * BATCH


@given(st.dictionaries(st.integers(), st.floats(-1e6, 1e6), min_size=1, max_size=8), st.floats(1, 1e3))
def test_clocks_drawn_together_keep_their_order(clocks: dict[int, float], within: float) -> None:
    drawn = turns.drawn_together(clocks, within)
    assert max(drawn.values()) - min(drawn.values()) <= within * (1 + 1e-9)
    for one, clock in clocks.items():
        assert all(drawn[one] >= drawn[other] for other, another in clocks.items() if clock >= another)


def test_loading_models_is_measured_as_switching() -> None:
    """A first post with five seconds of loading, then one without: what was too slow is forgotten at once."""
    pace = turns.measured(None, 8, 5.4, 5.4, is_first=True)
    pace = turns.measured(pace, 8, 0.4, 0.4, is_first=False)
    assert abs(pace.per_image - 0.05) < 1e-9
    assert turns.measured(pace, 8, 5.4, 5.4, is_first=True) == pace
    assert pace.latency == 0.4
    # What waits for others takes longer, and that is no news; what is slower for good becomes known.
    for _ in range(200):
        pace = turns.measured(pace, 8, 0.4, 1.2, is_first=False)
    assert 1.1 < pace.latency < 1.2
    switch = turns.switching(None, 5.4 - 8 * pace.per_image)
    assert turns.quantum(0.4, switch) == 20 * switch
    assert turns.quantum(0.4, None) == turns.BATCHES_AT_FIRST * 0.4
    assert turns.quantum(0.4, 1_000) == turns.LONGEST_TURN and turns.quantum(400, 1_000) == 400


def test_posts_that_come_together_are_averaged() -> None:
    pace, seen = None, []
    for seconds in (0.53, 0.01) * 10:
        pace = turns.measured(pace, 8, seconds, seconds, is_first=False)
        seen.append(pace.per_image)
    # The second one could still tell that models were loaded before.
    assert all(0.02 < one < 0.05 for one in seen[2:]), seen
