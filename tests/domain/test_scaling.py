"""How many workers are started where: the rule's promises for any backlog, and what it says."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.domain.scaling import Demand, Past, Pool, PoolDecision, Start, decide

NAMES = ("near", "far")


def pool(name: str = "near", **limits: Any) -> Pool:
    return Pool(**({"name": name, "most": 10, "finish_within": 100.0, "cold_start": 1.0, "idle_exit": 1.0} | limits))


def demand(seconds: float, **more: Any) -> Demand:
    return Demand(**({"job": 1, "images": 1, "seconds": seconds, "pools": frozenset({"near"})} | more))


def start(number: int, state: str = "waiting", **more: Any) -> Start:
    values: dict[str, Any] = {"pool": "near", "state": state, "age": 100.0, "worker": f"w{number}"}
    return Start(start_id=f"w{number}", **(values | more))


def one(*asked: Demand, pool: Pool, starts: list[Start] | None = None, past: Past | None = None) -> PoolDecision:
    [decision] = decide(asked, [pool], starts or [], {pool.name: past} if past else {})
    return decision


pools = st.builds(
    pool,
    name=st.just("near"),
    most=st.integers(0, 20),
    finish_within=st.floats(10, 1000),
    cold_start=st.floats(0.1, 60),
    idle_exit=st.floats(0.1, 60),
    overhead=st.floats(0.01, 2),
    budget=st.none() | st.floats(0, 1000),
    cool_down=st.floats(1, 100),
    only_unserved=st.booleans(),
)
workers = st.frozensets(st.sampled_from(["a", "b", "w0", "w1"]))
demands = st.lists(
    st.builds(
        Demand,
        job=st.integers(1, 9),
        seconds=st.floats(0, 1e5),
        due=st.none() | st.floats(0, 1e5),
        priority=st.integers(1, 10),
        workers=workers,
        pools=st.frozensets(st.sampled_from(NAMES)),
    ),
    max_size=6,
)
starts = st.lists(st.tuples(st.sampled_from(["waiting", "running", "heard", "silent"]), st.floats(0, 500)), max_size=6)
pasts = st.builds(
    Past,
    failures=st.integers(0, 5),
    failed_ago=st.floats(0, 2000),
    error=st.just("it broke"),
    used=st.floats(0, 1000),
    blocked=st.sampled_from(["", "", "no torch"]),
)


def started(drawn: list[tuple[str, float]], name: str = "near") -> list[Start]:
    return [start(number, state, age=age, pool=name) for number, (state, age) in enumerate(drawn)]


@pytest.mark.long
@given(demands=demands, near=pools, drawn=starts, past=pasts)
def test_no_limit_is_exceeded_and_nothing_is_started_and_taken_back(
    demands: list[Demand], near: Pool, drawn: list[tuple[str, float]], past: Past
) -> None:
    there = started(drawn)
    decision = one(*demands, pool=near, starts=there, past=past)
    assert decision.start >= 0
    if decision.start:
        assert len(there) + decision.start <= near.most
        assert not decision.cancel
        assert not past.blocked
        assert near.budget is None or past.used < near.budget
    states = {one.start_id: one for one in there}
    assert all(states[name].state == "waiting" and states[name].age >= near.cool_down for name in decision.cancel)


@given(demands=demands, near=pools, drawn=starts, past=pasts)
def test_what_was_decided_is_enough(
    demands: list[Demand], near: Pool, drawn: list[tuple[str, float]], past: Past
) -> None:
    """Once the starts are on their way the same backlog starts nothing more, and takes nothing back."""
    there = started(drawn)
    first = one(*demands, pool=near, starts=there, past=past)
    new = [start(100 + number, age=1000.0) for number in range(first.start)]
    kept = [one for one in there if one.start_id not in first.cancel]
    again = one(*demands, pool=near, starts=[*kept, *new], past=past)
    assert again.start == 0
    assert not (first.start and again.cancel)


@given(demands=demands, near=pools, drawn=starts, factor=st.floats(1, 10))
def test_more_work_never_starts_fewer(
    demands: list[Demand], near: Pool, drawn: list[tuple[str, float]], factor: float
) -> None:
    there = started(drawn)
    more = [replace(d, seconds=d.seconds * factor) for d in demands]
    assert one(*more, pool=near, starts=there).start >= one(*demands, pool=near, starts=there).start


@given(demands=demands, near=pools)
def test_work_that_nobody_can_do_gets_a_worker(demands: list[Demand], near: Pool) -> None:
    decision = one(*demands, pool=near)
    unserved = [d for d in demands if "near" in d.pools and not d.workers and d.seconds > 1e-6]
    if unserved and near.most and (near.budget is None or near.budget > 0):
        assert decision.start >= 1
    if not any("near" in d.pools and d.seconds for d in demands):
        assert decision.start == 0


@given(demands=demands, near=pools, far=pools, drawn=starts)
def test_pools_are_filled_in_order(
    demands: list[Demand], near: Pool, far: Pool, drawn: list[tuple[str, float]]
) -> None:
    """A second pool never changes what the first does, and gets only what the first has no room for."""
    second = Pool(**{name: getattr(far, name) for name in Pool.__dataclass_fields__} | {"name": "far"})
    there = started(drawn)
    alone = one(*demands, pool=near, starts=there)
    both = {decision.pool: decision for decision in decide(demands, [near, second], there, {})}
    assert (both["near"].start, both["near"].cancel) == (alone.start, alone.cancel)
    for_both = all(d.pools == {"near", "far"} for d in demands)
    if for_both and not near.only_unserved and both["far"].start:
        assert alone.is_short or both["near"].start


@pytest.mark.parametrize(
    ("asked", "limits", "expected"),
    [
        ([demand(1)], {}, 1),
        ([demand(990)], {"finish_within": 100, "cold_start": 1}, 10),
        ([demand(2000)], {"most": 3}, 3),
        # Starting ten would cost 100 s; a quarter of 90 s of work pays for two.
        ([demand(90)], {"finish_within": 15, "cold_start": 5, "idle_exit": 5}, 2),
        # A deadline is worth it.
        ([demand(90, due=15.0)], {"finish_within": 15, "cold_start": 5, "idle_exit": 5}, 9),
        # However late it is, workers work as long as their start costs.
        ([demand(90, due=0.0)], {"finish_within": 15, "cold_start": 5, "idle_exit": 5}, 9),
        ([demand(3600, due=0.0)], {"most": 10_000, "finish_within": 600, "cold_start": 20, "idle_exit": 60}, 45),
        # One image that is due, or a deadline far away, lets the others cost no more.
        ([demand(90), demand(1, due=9.0)], {"finish_within": 15, "cold_start": 5, "idle_exit": 5}, 3),
        ([demand(90, due=9e4)], {"finish_within": 15, "cold_start": 5, "idle_exit": 5}, 2),
        # One that serves already does 99 s of it in time.
        ([demand(198, workers=frozenset({"other"}))], {}, 1),
        ([demand(90, workers=frozenset({"other"}))], {}, 0),
        ([demand(9000, workers=frozenset({"other"}))], {"only_unserved": True}, 0),
        ([demand(500, pools=frozenset())], {}, 0),
    ],
)
def test_so_many_are_started(asked: list[Demand], limits: dict[str, Any], expected: int) -> None:
    assert one(*asked, pool=pool(**limits)).start == expected


def test_a_failing_pool_is_tried_ever_later_and_says_why() -> None:
    """P4: runs that died before they worked were started again every few seconds, and nobody was told why."""
    waits = []
    for failures in range(1, 9):
        past = Past(failures=failures, failed_ago=0.0, error="no such file: weights.pt")
        decision = one(demand(50), pool=pool(), past=past)
        assert decision.start == 0
        assert decision.is_short
        assert "no such file: weights.pt" in decision.why
        waits.append(next(s for s in range(10_000) if one(
            demand(50), pool=pool(), past=Past(failures=failures, failed_ago=float(s), error="x")).start))  # fmt: skip
    assert waits == sorted(waits)
    assert Counter(waits)[900] >= 1, "it is tried again within a quarter of an hour for ever"


def test_a_useless_start_is_taken_back_only_while_it_waits() -> None:
    there = [start(0, "heard"), start(1, "waiting"), start(2, "running"), start(3, "waiting", age=1.0)]
    assert one(pool=pool(), starts=there).cancel == ("w1",)
    kept = one(demand(280, workers=frozenset({"w0"})), pool=pool(), starts=there)
    assert not kept.cancel, "two may still be of use"


def test_what_holds_workers_up_is_said() -> None:
    assert "at most 1 (`most`)" in one(demand(900), pool=pool(most=1)).why
    assert "budget of 1 h a day is used up" in one(demand(9), pool=pool(budget=3600.0), past=Past(used=3600.0)).why
    assert "PyTorch" in one(demand(9), pool=pool(), past=Past(blocked="PyTorch is not installed here")).why
    assert one(pool=pool()).why == "nothing waits"
    assert one(demand(20, pools=frozenset()), pool=pool()).why == "what waits is not for this pool"
    assert math.isclose(one(demand(30), demand(20, pools=frozenset()), pool=pool()).work, 30)
