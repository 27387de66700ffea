"""Pauses between attempts: doubling up to the longest, spread if asked for, and never an overflow."""

from __future__ import annotations

import random

from antenna_orchestration.domain.backoff import Backoff


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(first=1.0, longest=6.0)
    assert [backoff.pause(failures) for failures in range(1, 6)] == [1.0, 2.0, 4.0, 6.0, 6.0]
    assert backoff.pause(10**6) == 6.0


def test_a_spread_pause_stays_within_its_spread() -> None:
    backoff = Backoff(first=10.0, longest=10.0, spread=0.2)
    pauses = [backoff.pause(1, random.Random(seed)) for seed in range(50)]
    assert all(8.0 <= pause <= 12.0 for pause in pauses)
    assert len(set(pauses)) > 1
