"""How much may be in hand, from what was measured."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.pipelines import registry
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from antenna_orchestration.worker.policy.lease_time import LeaseTime
from antenna_orchestration.worker.policy.speed import AHEAD, COLD_LEASE, DeviceSpeed

FAST = BatchGroup(1, registry.get("null", ()), {})
SLOW = BatchGroup(2, registry.get("null", ()), {})


def new_speed(ack_wait: float = 30.0, threads: int = 2, batch_size: int = 16) -> DeviceSpeed:
    return DeviceSpeed(lease_time=LeaseTime(ack_wait), prepare_threads=threads, batch_size=batch_size)


def test_a_cold_group_gets_a_small_batch_to_begin_with() -> None:
    cold = new_speed()
    assert cold.is_cold(FAST)
    assert cold.batch(FAST) == COLD_LEASE
    assert cold.room(batches={FAST: COLD_LEASE}, unstarted=Counter(), held=Counter()) >= cold.cost(FAST)


def test_a_warm_group_has_one_batch_ready_beside_the_one_at_work() -> None:
    warm = new_speed()
    warm.finished(FAST, 4, 0.4)
    assert warm.batch(FAST) == 16
    inferring = Counter({FAST: 16})
    assert warm.room(batches={FAST: 16}, unstarted=Counter(), held=inferring) == pytest.approx(1.6)
    assert warm.room(batches={FAST: 16}, unstarted=Counter({FAST: 16}), held=Counter({FAST: 32})) == 0.0


def test_slow_loading_is_bridged_by_more_than_a_batch() -> None:
    warm = new_speed()
    warm.finished(FAST, 10, 0.1)
    warm.loaded(2.0)
    assert warm.room(batches={FAST: 4}, unstarted=Counter(), held=Counter({FAST: 4})) == pytest.approx(3.0 + AHEAD)


def test_two_batches_of_a_slow_group_fit_into_half_a_lease() -> None:
    warm = new_speed(ack_wait=30.0)
    warm.finished(SLOW, 1, 2.5)
    assert warm.batch(SLOW) == 3
    warm.finished(SLOW, 1, 1000.0)
    assert warm.batch(SLOW) == 1
    # One image is always allowed: it is extended while it moves.
    assert warm.room(batches={SLOW: 1}, unstarted=Counter(), held=Counter()) >= warm.cost(SLOW)
    assert warm.room(batches={SLOW: 1}, unstarted=Counter(), held=Counter({SLOW: 1})) == 0.0


def test_leases_last_as_long_as_the_announcements_say() -> None:
    """C7: only the worker's own setting was asked, which may be another than the orchestrator's."""
    lease_time = LeaseTime(600.0)
    warm = DeviceSpeed(lease_time=lease_time, prepare_threads=2, batch_size=16)
    warm.finished(SLOW, 1, 2.5)
    assert warm.batch(SLOW) == 16
    assert not lease_time.announced([])
    assert lease_time.announced([60.0, 30.0])
    assert (lease_time.seconds, warm.batch(SLOW)) == (30.0, 3)
    # Tasks of the last job may be in hand.
    assert not lease_time.announced([]) and lease_time.seconds == 30.0
    # A job from before this was announced.
    assert not lease_time.announced([0.0]) and lease_time.seconds == 600.0


def test_what_the_device_holds_at_once_is_remembered() -> None:
    warm = new_speed()
    warm.finished(FAST, 4, 0.1)
    warm.limit(FAST, 2)
    assert warm.batch(FAST) == 2


def test_a_starved_device_gets_more_batches_prepared_at_a_time() -> None:
    warm = new_speed(threads=16)
    for _ in range(10):
        warm.finished(FAST, 4, 1.0, starved=0.7)
    assert warm.depth(FAST) == 4
    assert warm.depth(SLOW) == 1


@given(
    ack_wait=st.floats(1.0, 60.0),
    costs=st.lists(st.floats(0.001, 30.0), min_size=2, max_size=2),
    held=st.lists(st.integers(0, 200), min_size=2, max_size=2),
    latency=st.floats(0.0, 60.0),
)
def test_what_is_in_hand_never_exceeds_half_a_lease(
    ack_wait: float, costs: list[float], held: list[int], latency: float
) -> None:
    warm = new_speed(ack_wait, batch_size=64)
    groups = (FAST, SLOW)
    for group, cost in zip(groups, costs, strict=True):
        warm.finished(group, 1, cost)
    warm.loaded(latency)
    in_hand = Counter(dict(zip(groups, held, strict=True)))
    room = warm.room(batches={group: warm.batch(group) for group in groups}, unstarted=in_hand, held=in_hand)
    work = sum(warm.cost(group) * images for group, images in in_hand.items())
    assert room >= 0
    assert work + room <= max(ack_wait / 2, work, *costs) + 1e-6
