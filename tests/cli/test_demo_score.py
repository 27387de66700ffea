"""Counting which of the drawn insects were found."""

import pytest

from antenna_orchestration.cli import demo_score


def test_overlap() -> None:
    assert demo_score.overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert demo_score.overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert demo_score.overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert demo_score.overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_each_insect_is_found_once() -> None:
    insect, other = (0, 0, 10, 10), (20, 20, 30, 30)
    assert demo_score.matches([], [insect]) == 0
    assert demo_score.matches([insect], []) == 0
    assert demo_score.matches([(0, 0, 10, 9), (0, 0, 9, 10)], [insect, other]) == 1
    assert demo_score.matches([(21, 20, 30, 30), (0, 1, 10, 10), (50, 50, 60, 60)], [insect, other]) == 2
