"""Shares of the device over all device processes of a worker, in a simulated world in which these share it evenly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antenna_orchestration.worker.policy.device_shares import (
    LEAD,
    OVERDUE,
    OVERDUE_LEAST,
    Demand,
    DeviceShares,
    Share,
    Work,
    shares,
)

IN_HAND = 2
"""Batches that a process has at most: one in the device process, and the next."""


@dataclass
class Process:
    """A device process with jobs that never end."""

    # Device seconds of a batch; infinite for one that hangs.
    batch: float
    demand: Demand = field(default_factory=lambda: Demand(1.0))
    # What it should take, as far as the worker knows.
    expected: float = 0.0
    # Seconds until its next images are loaded, after each batch.
    loading: float = 0.0
    ready_at: float = 0.0
    in_hand: int = 0
    left: float = 0.0
    batches: int = 0


class World:
    """Processes that share a device evenly while they have work, and a worker that leases for those that may have."""

    def __init__(self, processes: Mapping[str, Process]) -> None:
        self.processes = processes
        self.policy = DeviceShares()
        self.now = 0.0
        self.used: Counter[str] = Counter()
        self.idle = 0.0

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._lease()
            self._advance(end)

    def _lease(self) -> None:
        due = shares({name: process.demand for name, process in self.processes.items()})
        work = {
            name: Work(process.batches, process.in_hand * (process.expected or process.batch))
            for name, process in self.processes.items()
            if process.in_hand
        }
        held_back = self.policy.held_back(self.now, due=due, work=work)
        assert not held_back or work.keys() - held_back, "all wait for each other"
        for name, process in self.processes.items():
            if name not in held_back and process.ready_at <= self.now and process.in_hand < IN_HAND:
                if not process.in_hand:
                    process.left = process.batch
                process.in_hand = IN_HAND
        # What was leased is at work from now on.
        work |= {
            name: Work(process.batches, process.in_hand * (process.expected or process.batch))
            for name, process in self.processes.items()
            if process.in_hand
        }
        self.policy.held_back(self.now, due=due, work=work)

    def _advance(self, end: float) -> None:
        """To the next moment at which a worker looks: a batch is over, images are loaded, or two seconds are."""
        # One that hangs uses nothing.
        busy = {name: one for name, one in self.processes.items() if one.in_hand and one.batch != float("inf")}
        moments = [end, self.now + 2.0, *(one.ready_at for one in self.processes.values() if one.ready_at > self.now)]
        moments += [self.now + one.left * len(busy) for one in busy.values()]
        seconds = min(moments) - self.now
        self.now += seconds
        self.idle += 0.0 if busy else seconds
        for name, one in busy.items():
            part = seconds / len(busy)
            self.used[name] += part  # type: ignore[assignment]
            one.left -= part
            if one.left < 1e-9:
                one.batches += 1
                one.in_hand -= 1
                one.left = one.batch
                if one.loading and not one.in_hand:
                    one.ready_at = self.now + one.loading


weights = st.sampled_from([1.0, 2.0, 5.0, 10.0])
batches = st.sampled_from([0.2, 0.5, 2.0])
busy_processes = st.lists(st.builds(Process, batch=batches, demand=st.builds(Demand, weights)), min_size=2, max_size=4)


def world_of(processes: list[Process]) -> World:
    return World({f"process-{number}": process for number, process in enumerate(processes)})


@settings(max_examples=40, deadline=None)
@given(busy_processes)
def test_processes_with_enough_images_get_device_time_by_weight(processes: list[Process]) -> None:
    world = world_of(processes)
    world.run(60.0)
    total = sum(process.demand.ordinary for process in processes)
    # What leads by almost too much takes what it may have in hand; somebody else lacks what the others have too much.
    lead = LEAD + IN_HAND * max(process.batch for process in processes)
    for name, process in world.processes.items():
        due = 60.0 * process.demand.ordinary / total
        assert world.used[name] - due <= lead
        assert due - world.used[name] <= lead * (len(processes) - 1)
    assert world.idle == 0


@settings(max_examples=40, deadline=None)
@given(busy_processes, st.floats(0.1, 3.0))
def test_nobody_waits_for_a_process_that_has_nothing_to_do(processes: list[Process], loading: float) -> None:
    """A process of any weight that mostly loads images: the device is never idle, and others have the rest."""
    slow = Process(batch=0.2, demand=Demand(100.0), loading=loading)
    world = world_of([slow, *processes])
    world.run(60.0)
    assert world.idle == 0
    assert sum(world.used.values()) == pytest.approx(60.0)


@settings(max_examples=40, deadline=None)
@given(busy_processes, weights)
def test_a_process_that_hangs_keeps_nobody_waiting(processes: list[Process], weight: float) -> None:
    hanging = Process(batch=float("inf"), expected=0.5, demand=Demand(weight))
    world = world_of([*processes, hanging])
    hanging.in_hand = IN_HAND
    world.run(OVERDUE * IN_HAND * hanging.expected + OVERDUE_LEAST + 2.0)
    before = world.used.copy()
    idle = world.idle
    world.run(60.0)
    assert world.idle == idle
    total = sum(process.demand.ordinary for process in processes)
    lead = 2 * (LEAD + IN_HAND * max(process.batch for process in processes)) * len(processes)
    for process, (name, _) in zip(processes, world.processes.items(), strict=False):
        assert abs(world.used[name] - before[name] - 60.0 * process.demand.ordinary / total) <= lead


def test_one_process_is_never_held_back() -> None:
    world = world_of([Process(batch=3.0)])
    world.run(60.0)
    assert world.processes["process-0"].batches == 20


def test_interactive_jobs_of_one_process_get_half_beside_another() -> None:
    urgent = Process(batch=0.2, demand=Demand(interactive=1.0))
    world = world_of([urgent, Process(batch=0.2, demand=Demand(10.0)), Process(batch=0.2, demand=Demand(10.0))])
    world.run(100.0)
    assert world.used["process-0"] == pytest.approx(50.0, abs=2 * LEAD)


def test_shares_are_those_of_jobs_in_a_single_process() -> None:
    found = shares({"": Demand(3.0, 1.0), "own": Demand(1.0), "resting": Demand()})
    assert found == {"": Share(0.75 + 1.0, 1.0 / 1.75), "own": Share(0.25, 0.0)}
    assert shares({"": Demand(0.0, 2.0), "own": Demand(0.0, 2.0)}) == {"": Share(0.5, 1.0), "own": Share(0.5, 1.0)}
    assert shares({"": Demand(5.0, 1.0)}) == {"": Share(2.0, 0.5)}


def test_a_process_whose_jobs_ended_is_owed_nothing() -> None:
    """What it did not take while it had none is not made up for later."""
    world = world_of([Process(batch=0.2), Process(batch=0.2, demand=Demand())])
    world.processes["process-1"].in_hand = 0
    late = world.processes["process-1"]
    late.ready_at = 50.0
    world.run(50.0)
    late.demand = Demand(1.0)
    before = world.used.copy()
    world.run(20.0)
    assert world.used["process-0"] - before["process-0"] == pytest.approx(10.0, abs=LEAD + 0.4)


def test_nobody_waits_while_the_device_has_time_left() -> None:
    """Two pipelines that use one CPU each, on two CPUs: what the one has, the other does not lack."""
    policy, due = DeviceShares(), shares({"": Demand(100.0), "own": Demand(1.0)})

    def held_back(now: int, *, crowded: bool) -> set[str]:
        return policy.held_back(now, due=due, work={"": Work(now, 1.0), "own": Work(now, 1.0)}, crowded=crowded)

    assert not any(held_back(now, crowded=False) for now in range(60))
    assert not held_back(61, crowded=True), "what was left over is nobody's lead"
    assert any(held_back(now, crowded=True) == {"own"} for now in range(61, 70))
