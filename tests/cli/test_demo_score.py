"""Counting which of the drawn insects were found."""

from antenna_orchestration.cli import demo_score


def test_each_insect_is_found_once() -> None:
    insect, other = (0, 0, 10, 10), (20, 20, 30, 30)
    assert demo_score.matches([], [insect]) == 0
    assert demo_score.matches([insect], []) == 0
    assert demo_score.matches([(0, 0, 10, 9), (0, 0, 9, 10)], [insect, other]) == 1
    assert demo_score.matches([(21, 20, 30, 30), (0, 1, 10, 10), (50, 50, 60, 60)], [insect, other]) == 2
