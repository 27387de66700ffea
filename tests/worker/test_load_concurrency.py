"""How many images are loaded at a time, against sources that are simulated: each load takes what the model says."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.worker.policy.load_concurrency import GROWTH, START, LoadConcurrency

HOST = "http://images.invalid"
MOST = 256


@dataclass
class Simulation:
    """A worker that loads as much as it may from one source, in simulated time."""

    # Seconds of a load, by how many are under way beside it; None: it is refused at once.
    source: Callable[[int], float | None]
    # Images per second that the device takes.
    device: float
    most: int = MOST
    room: float = 1e9
    now: float = 0.0
    loaded: int = 0
    refused: int = 0
    peak: int = 0
    policy: LoadConcurrency = field(init=False)
    # End, number, beginning, and whether it was refused.
    under_way: list[tuple[float, int, float, bool]] = field(default_factory=list)
    # Images that the device has taken.
    taken: float = 0.0

    def __post_init__(self) -> None:
        self.policy = LoadConcurrency(self.most)

    def run(self, seconds: float) -> float:
        """Work for so long; returns the images per second that the source gave in the second half."""
        end, middle, before = self.now + seconds, self.now + seconds / 2, None
        number = self.loaded + self.refused
        while self.now < end:
            while self.policy.has_room(HOST) and len(self.under_way) < self.most and self._is_wanted():
                number += 1
                seconds_of_it = self.source(len(self.under_way))
                refused = seconds_of_it is None
                until = self.now + (0.05 if seconds_of_it is None else seconds_of_it)
                heapq.heappush(self.under_way, (until, number, self.now, refused))
                self.policy.began(HOST)
                self.peak = max(self.peak, len(self.under_way))
            if not self.under_way:
                self._pass(0.01)
                continue
            ended, _, began, refused = heapq.heappop(self.under_way)
            self._pass(max(0.0, ended - self.now))
            if refused:
                self.refused += 1
                self.policy.overloaded(HOST, began=began, now=self.now)
            else:
                self.loaded += 1
                if self.policy.loaded(HOST, began=began, now=self.now, others_wait=self._is_wanted()):
                    self.policy.review(HOST, self.now, wanted=self.device, room=self.room)
            self.policy.ended(HOST)
            if before is None and self.now >= middle:
                before = self.loaded
        return (self.loaded - (before or 0)) / (seconds / 2)

    def _is_wanted(self) -> bool:
        """The scheduler leases no more than the device takes, and some seconds' worth ahead."""
        return self.loaded + len(self.under_way) - self.taken < 3 * self.device + 64

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        self.taken = min(self.loaded, self.taken + self.device * seconds)

    @property
    def limit(self) -> int:
        return self.policy.limit(HOST)


def after(seconds: float) -> Callable[[int], float]:
    return lambda _: seconds


def sharing(seconds: float, per_second: float) -> Callable[[int], float]:
    """A source that gives so many images per second in all, and none sooner than after `seconds`."""
    return lambda under_way: max(seconds, (under_way + 1) / per_second)


@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.2])
def test_a_long_line_is_filled_until_the_device_is_busy(seconds: float) -> None:
    far = Simulation(after(seconds), device=100.0)
    assert far.run(40) >= 95
    assert START < far.limit <= GROWTH * 2 * 100 * seconds


def test_nothing_is_changed_where_the_device_is_busy_anyway() -> None:
    for near in (after(0.002), after(0.05), sharing(0.02, 500)):
        lan = Simulation(near, device=100.0)
        assert lan.run(10) == pytest.approx(100, rel=0.05)
        assert lan.limit == START


def test_what_brings_nothing_is_taken_back_and_tried_ever_more_rarely() -> None:
    small = Simulation(sharing(0.1, 40), device=100.0)
    assert small.run(200) == pytest.approx(40, rel=0.1)
    assert small.limit == START
    assert small.peak <= GROWTH * START
    asked = {small.policy.limit(HOST)}
    quiet = 0
    for _ in range(100):
        small.run(1.0)
        asked.add(small.limit)
        quiet += small.limit == START
    assert asked <= {START, GROWTH * START}
    assert quiet >= 90


def test_a_source_that_refuses_is_asked_for_less_until_it_does_not() -> None:
    small = Simulation(lambda under_way: 0.2 if under_way < 4 else None, device=1000.0)
    small.run(30)
    before = small.refused
    small.run(200)
    assert small.limit <= 8
    assert small.refused - before < 100
    assert small.loaded > 0.5 * 230 * 4 / 0.2


def test_a_source_that_was_overloaded_is_used_again_as_before() -> None:
    states = {"is_down": False}
    far = Simulation(lambda _: None if states["is_down"] else 0.5, device=100.0)
    assert far.run(60) >= 95
    states["is_down"] = True
    far.run(5)
    assert far.limit == 1
    states["is_down"] = False
    far.run(60)
    assert far.run(20) >= 90


def test_loads_that_are_refused_together_halve_it_once() -> None:
    policy = LoadConcurrency(MOST)
    for number in range(START):
        policy.overloaded(HOST, began=0.0, now=1.0 + number / 100)
    assert policy.limit(HOST) == START // 2


def test_sources_do_not_share_their_limits() -> None:
    policy = LoadConcurrency(MOST)
    policy.overloaded(HOST, began=0.0, now=1.0)
    assert (policy.limit(HOST), policy.limit("s3:bucket")) == (START // 2, START)


def test_memory_bounds_it() -> None:
    far = Simulation(after(1.0), device=1000.0, room=24.9)
    far.run(20)
    assert far.limit == 24


@given(
    most=st.integers(1, 300),
    device=st.floats(0.1, 300),
    floor=st.floats(0.001, 3),
    capacity=st.floats(1, 500),
    slots=st.integers(1, 400),
    room=st.floats(0, 500),
)
def test_it_stays_within_its_bounds_and_serves_what_it_can(
    most: int, device: float, floor: float, capacity: float, slots: int, room: float
) -> None:
    shared = sharing(floor, capacity)
    source = Simulation(
        lambda under_way: shared(under_way) if under_way < slots else None, device=device, most=most, room=room
    )
    limits = set()
    for _ in range(8):
        source.run(1.0)
        limits.add(source.limit)
    assert min(limits) >= 1
    assert max(limits) <= most
    assert max(limits) <= max(START, room), "more was tried than memory holds"
    assert max(limits) <= GROWTH * max(slots, START)
    assert source.loaded + source.refused + len(source.under_way) > 0


@given(st.lists(st.tuples(st.sampled_from(["began", "ended", "refused"]), st.floats(0.01, 2)), max_size=60))
def test_what_is_under_way_never_exceeds_the_limit_it_began_with(events: list[tuple[str, float]]) -> None:
    policy, now, under_way = LoadConcurrency(MOST), 0.0, 0
    for event, pause in events:
        now += pause
        if event == "began" and policy.has_room(HOST):
            policy.began(HOST)
            under_way += 1
            assert under_way <= policy.limit(HOST)
        elif event != "began" and under_way:
            if event == "refused":
                policy.overloaded(HOST, began=now - pause, now=now)
            policy.ended(HOST)
            under_way -= 1
