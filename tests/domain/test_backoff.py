"""How long to wait after the n-th failure in a row."""

import random

from hypothesis import assume, given
from hypothesis import strategies as st

from antenna_orchestration.domain.backoff import Backoff, spread_out

SECONDS = st.floats(min_value=0.001, max_value=3600)
FAILURES = st.integers(min_value=1, max_value=10_000)
SPREADS = st.floats(min_value=0, max_value=1)


@st.composite
def backoffs(draw: st.DrawFn, spread: float = 0.0) -> Backoff:
    first, longest = sorted([draw(SECONDS), draw(SECONDS)])
    return Backoff(first=first, longest=longest, factor=draw(st.floats(min_value=1, max_value=10)), spread=spread)


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(first=1.0, longest=10.0)
    assert [backoff.pause(failures) for failures in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@given(backoffs())
def test_the_first_pause_is_the_first(backoff: Backoff) -> None:
    assert backoff.pause(1) == backoff.first


@given(backoffs(), FAILURES)
def test_no_pause_is_shorter_than_the_one_before_or_beyond_the_longest(backoff: Backoff, failures: int) -> None:
    assert backoff.first <= backoff.pause(failures) <= backoff.pause(failures + 1) <= backoff.longest


@given(backoffs())
def test_a_growing_pause_reaches_the_longest(backoff: Backoff) -> None:
    assume(backoff.factor >= 1.5)
    assert backoff.pause(10_000) == backoff.longest


@given(backoffs(), SPREADS, FAILURES, st.randoms(use_true_random=False))
def test_a_drawn_pause_lies_within_its_spread(
    backoff: Backoff, spread: float, failures: int, dice: random.Random
) -> None:
    exact = backoff.pause(failures)
    drawn = Backoff(first=backoff.first, longest=backoff.longest, factor=backoff.factor, spread=spread)
    least, most = exact * (1 - spread), exact * (1 + spread)
    assert least * 0.999 <= drawn.pause(failures, dice) <= most * 1.001


@given(SECONDS, SPREADS, st.integers())
def test_the_same_dice_draw_the_same_pause(seconds: float, spread: float, seed: int) -> None:
    draws = [spread_out(seconds, spread, random.Random(seed)) for _ in range(2)]
    assert draws[0] == draws[1]


@given(SECONDS)
def test_without_a_spread_nothing_is_drawn(seconds: float) -> None:
    assert spread_out(seconds, 0.0) == seconds
