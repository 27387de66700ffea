"""The fair share as a pure function: shares within a bound, nobody starves, interactive first but not alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.worker.policy.fair_share import REST, Entrant, FairShare, Turn


@st.composite
def entrants(draw: st.DrawFn, *, interactive: bool = False) -> list[Entrant]:
    count = draw(st.integers(1, 8))
    return [
        Entrant(
            key=f"job-{number}" + ("-interactive" if interactive else ""),
            batch_group=draw(st.sampled_from("ab")),
            weight=draw(st.integers(1, 10)),
            cost=draw(st.sampled_from([0.01, 0.05, 0.3, 1.0, 4.0])),
            interactive=interactive,
        )
        for number in range(count)
    ]


budgets = st.lists(st.floats(0.05, 12.0), min_size=1, max_size=60)


def serve(
    fair: FairShare, jobs: Sequence[Entrant], budget: float, left: Counter[object] | None = None
) -> Counter[object]:
    """Take all turns of one plan from jobs with `left` images each (or endless); gives the images taken by job."""
    taken: Counter[object] = Counter()
    for turn in fair.plan(budget, 0.0):
        got = turn.wanted if left is None else min(turn.wanted, left[turn.key])
        taken[turn.key] += got
        if left is not None:
            left[turn.key] -= got
        fair.took(turn, got, 0.0)
    return taken


@given(entrants(), budgets)
def test_jobs_with_enough_images_get_device_time_by_weight(jobs: list[Entrant], plans: list[float]) -> None:
    fair = FairShare()
    fair.update(jobs)
    seconds: Counter[object] = Counter()
    quantum = max(job.cost for job in jobs) / max(job.weight for job in jobs)
    for budget in plans:
        taken = serve(fair, jobs, budget)
        for job in jobs:
            seconds[job.key] += taken[job.key] * job.cost  # type: ignore[assignment]
        for one in jobs:
            for other in jobs:
                # One visit's worth, and the image that was not given for want of deficit on either side.
                bound = quantum + one.cost / one.weight + other.cost / other.weight
                assert abs(seconds[one.key] / one.weight - seconds[other.key] / other.weight) <= bound + 1e-6


@given(entrants(), budgets)
def test_a_plan_keeps_within_its_budget_and_uses_it(jobs: list[Entrant], plans: list[float]) -> None:
    fair = FairShare()
    fair.update(jobs)
    dearest = max(job.cost for job in jobs)
    for budget in plans:
        turns = fair.plan(budget, 0.0)
        used = sum(turn.wanted * job.cost for turn in turns for job in jobs if job.key == turn.key)
        assert used <= budget + 1e-6
        assert budget - used < dearest + 1e-6
        assert len({turn.key for turn in turns}) == len(turns)


@given(entrants(), st.data())
def test_every_image_is_leased_in_the_end(jobs: list[Entrant], data: st.DataObject) -> None:
    left: Counter[object] = Counter({job.key: data.draw(st.integers(0, 30)) for job in jobs})
    images = sum(left.values())
    fair = FairShare()
    fair.update(jobs)
    now, rounds = 0.0, 0
    while sum(left.values()):
        rounds += 1
        assert rounds < 40 * images + 400, "somebody starves"
        for turn in fair.plan(4.0, now):
            got = min(turn.wanted, left[turn.key])
            left[turn.key] -= got
            fair.took(turn, got, now)
        now += 0.1


@given(entrants(), entrants(interactive=True), budgets)
def test_interactive_jobs_get_half_while_others_wait(
    ordinary: list[Entrant], urgent: list[Entrant], plans: list[float]
) -> None:
    fair = FairShare()
    fair.update([*ordinary, *urgent])
    cost = {job.key: job.cost for job in [*ordinary, *urgent]}
    dearest = max(cost.values())
    given_out = interactive = 0.0
    for budget in plans:
        for key, images in serve(fair, [], budget).items():
            given_out += images * cost[key]
            interactive += images * cost[key] * str(key).endswith("interactive")
        assert interactive <= sum(plans) / 2 + 2 * dearest
    total = sum(plans)
    # Neither class is starved by the other: what one budget cannot hold of a dear image is lost to both.
    if total > 40 * dearest and min(plans) > 2 * dearest:
        assert interactive >= total / 2 - 2 * dearest * len(plans)


def test_a_single_place_goes_to_the_interactive_job_first() -> None:
    fair = FairShare()
    fair.update([Entrant(key="long", batch_group="a"), Entrant(key="urgent", batch_group="a", interactive=True)])
    firsts = [next(iter(serve(fair, [], 1.0))) for _ in range(6)]
    assert firsts == ["urgent", "long", "urgent", "long", "urgent", "long"]


def test_an_interactive_job_alone_gets_everything() -> None:
    fair = FairShare()
    fair.update([Entrant(key="urgent", batch_group="a", interactive=True)])
    assert fair.plan(8.0, 0.0) == [Turn("urgent", 8)]


def test_six_jobs_share_a_batch_evenly() -> None:
    fair = FairShare()
    fair.update([Entrant(key=number, batch_group="a") for number in range(6)])
    taken: Counter[object] = Counter()
    for _ in range(6):
        taken += serve(fair, [], 4.0)
    assert set(taken.values()) == {4}


def test_a_wrong_first_guess_of_the_cost_favours_nobody() -> None:
    fair = FairShare()
    fair.update([Entrant(key=number, batch_group="a", cost=1.0) for number in range(2)])
    taken = serve(fair, [], 1.0)
    fair.update([Entrant(key=number, batch_group="a", cost=0.01) for number in range(2)])
    for _ in range(10):
        taken += serve(fair, [], 0.04)
    assert abs(taken[0] - taken[1]) <= 1


def test_priority_is_weight() -> None:
    fair = FairShare()
    fair.update([Entrant(key="plain", batch_group="a", weight=1), Entrant(key="preferred", batch_group="a", weight=3)])
    taken: Counter[object] = Counter()
    for _ in range(20):
        taken += serve(fair, [], 4.0)
    assert taken == {"plain": 20, "preferred": 60}


def test_an_empty_job_rests_longer_until_it_is_announced_again() -> None:
    fair = FairShare()
    job = Entrant(key="empty", batch_group="a", stamp=1)
    fair.update([job])
    now, rests = 0.0, []
    for _ in range(6):
        [turn] = fair.plan(1.0, now)
        fair.took(turn, 0, now)
        rest = fair.next_wake(now)
        assert rest is not None
        assert fair.plan(1.0, now + rest * 0.99) == []
        rests.append(rest)
        now += rest
    assert rests[0] == REST.first
    assert rests[-1] == REST.longest
    [turn] = fair.plan(1.0, now)
    fair.took(turn, 0, now)
    fair.update([Entrant(key="empty", batch_group="a", stamp=2)])
    assert fair.plan(1.0, now) == [Turn("empty", 1)]


def test_what_an_empty_job_did_not_take_goes_to_the_others() -> None:
    fair = FairShare()
    fair.update([Entrant(key="empty", batch_group="a"), Entrant(key="full", batch_group="a")])
    for turn in fair.plan(8.0, 0.0):
        fair.took(turn, 0 if turn.key == "empty" else turn.wanted, 0.0)
    assert fair.plan(4.0, 0.0) == [Turn("full", 4)]
    taken = serve(fair, [], 0.0)
    for turn in fair.plan(8.0, 10.0):
        taken[turn.key] += turn.wanted
    assert taken == {"empty": 4, "full": 4}


def test_limits_hold_per_batch_group_and_per_job() -> None:
    fair = FairShare()
    fair.update(
        [
            Entrant(key="cold", batch_group="a"),
            Entrant(key="cold too", batch_group="a"),
            Entrant(key="delicate", batch_group="b", limit=1),
            Entrant(key="free", batch_group="b"),
        ]
    )
    turns = {turn.key: turn.wanted for turn in fair.plan(20.0, 0.0, limits={"a": 2})}
    assert turns == {"cold": 1, "cold too": 1, "delicate": 1, "free": 17}


def test_a_job_that_leaves_and_comes_back_starts_anew() -> None:
    fair = FairShare()
    fair.update([Entrant(key=1, batch_group="a"), Entrant(key=2, batch_group="a")])
    fair.update([Entrant(key=2, batch_group="a")])
    assert fair.plan(3.0, 0.0) == [Turn(2, 3)]
    fair.update([])
    assert fair.plan(3.0, 0.0) == []
    assert fair.next_wake(0.0) is None


@pytest.mark.parametrize("jobs", [500])
def test_many_jobs_are_served_in_turn(jobs: int) -> None:
    fair = FairShare()
    fair.update([Entrant(key=number, batch_group="a") for number in range(jobs)])
    taken: Counter[object] = Counter()
    for _ in range(jobs):
        taken += serve(fair, [], 16.0)
    assert set(taken.values()) == {16}
