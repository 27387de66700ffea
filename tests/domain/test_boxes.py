"""How much of two boxes is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.domain import boxes

SIDES = st.integers(0, 50)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[int, int, int, int]:
    left, top = draw(SIDES), draw(SIDES)
    return left, top, left + draw(SIDES), top + draw(SIDES)


def test_overlap() -> None:
    assert boxes.overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert boxes.overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert boxes.overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert boxes.overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


@given(one=drawn(), other=drawn())
def test_overlap_counts_the_pixels_in_both(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> None:
    pixels = [{(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (one, other)]
    either = pixels[0] | pixels[1]
    share = len(pixels[0] & pixels[1]) / len(either) if either else 0
    assert boxes.overlap(one, other) == pytest.approx(share)
    assert boxes.overlap(other, one) == boxes.overlap(one, other)
