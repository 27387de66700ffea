"""Merging the candidates of two detectors: agreement raises scores, crowds are split, duplicates are removed."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.pipelines.light_trap import specs
from antenna_orchestration.pipelines.light_trap.candidates import (
    Candidates,
    agree,
    as_detections,
    as_result,
    without_duplicates,
)

Row = tuple[float, float, float, float, float, float]


def candidates(*rows: Row) -> Candidates:
    """One row per candidate: box, score, moth probability."""
    numbers = np.array(rows, float).reshape(-1, 6)
    return Candidates(boxes=numbers[:, :4], scores=numbers[:, 4], moths=numbers[:, 5])


def rows(found: Candidates) -> list[Row]:
    together = np.column_stack([found.boxes, found.scores, found.moths])
    return sorted((tuple(row) for row in together.round(6).tolist()), key=lambda row: -row[4])


def test_what_both_see_is_one_insect_between_them() -> None:
    both = agree(candidates((0, 0, 10, 10, 0.6, 0.9)), candidates((0, 0, 12, 14, 0.8, 0.7)))
    assert rows(both) == [(0, 0, 11, 12, 0.7, 0.8)]


def test_what_one_sees_counts_half() -> None:
    both = agree(candidates((0, 0, 10, 10, 0.6, 0.9)), candidates((50, 50, 60, 60, 0.8, 0.1)))
    assert rows(both) == [(50, 50, 60, 60, 0.4, 0.1), (0, 0, 10, 10, 0.3, 0.9)]


def test_a_blob_of_several_insects_vouches_for_each_and_goes() -> None:
    touching = candidates((0, 0, 10, 10, 0.6, 1), (9, 0, 20, 11, 0.5, 0), (70, 70, 80, 80, 0.5, 0))
    both = agree(touching, candidates((0, 0, 20, 30, 0.9, 1)))
    assert rows(both) == [(0, 0, 10, 10, 0.75, 1), (9, 0, 20, 11, 0.7, 0), (70, 70, 80, 80, 0.25, 0)]


def test_parts_of_an_insect_that_both_see_get_nothing_from_it() -> None:
    both = agree(candidates((0, 0, 40, 40, 0.6, 1), (2, 2, 9, 9, 0.5, 1), (20, 20, 30, 30, 0.5, 1)),
                 candidates((0, 0, 40, 40, 0.9, 1)))  # fmt: skip
    assert rows(both)[0][4] == 0.75
    assert [row[4] for row in rows(both)[1:]] == [0.25, 0.25]
    assert len(without_duplicates(both)) == 1


def test_doubles_and_parts_give_way_to_what_is_more_certain() -> None:
    found = candidates((0, 0, 10, 10, 0.5, 1), (0, 0, 10, 11, 0.6, 0), (2, 2, 5, 5, 0.4, 0), (30, 30, 40, 40, 0.1, 0))
    assert rows(without_duplicates(found)) == [(0, 0, 10, 11, 0.6, 0), (30, 30, 40, 40, 0.1, 0)]


def test_a_small_insect_inside_a_less_certain_large_one_stays() -> None:
    found = candidates((0, 0, 50, 50, 0.5, 1), (10, 10, 20, 20, 0.9, 0))
    assert len(without_duplicates(found)) == 2


def test_nothing_is_no_trouble() -> None:
    nothing, something = candidates(), candidates((0, 0, 10, 10, 0.6, 0.9))
    assert len(agree(nothing, nothing)) == len(without_duplicates(nothing)) == 0
    assert rows(agree(something, nothing)) == rows(agree(nothing, something)) == [(0, 0, 10, 10, 0.3, 0.9)]


numbers = st.floats(0, 100, width=32)
proposals = st.lists(
    st.tuples(numbers, numbers, st.floats(1, 50), st.floats(1, 50), st.floats(0, 1), st.floats(0, 1)), max_size=8
).map(lambda found: candidates(*((x, y, x + w, y + h, score, moth) for x, y, w, h, score, moth in found)))


@given(proposals, proposals)
def test_whatever_is_proposed_boxes_and_scores_stay_what_they_are(network: Candidates, blobs: Candidates) -> None:
    both = agree(network, blobs)
    assert max(len(network), len(both) - len(blobs)) == len(network)
    assert ((both.scores >= 0) & (both.scores <= 1)).all()
    assert (both.boxes[:, 2:] > both.boxes[:, :2]).all()
    kept = without_duplicates(both)
    assert set(rows(kept)) <= set(rows(both))
    assert len(kept) > 0 or len(both) == 0
    detections = as_detections(kept, specs.DETECTOR, specs.MOTHS, min_score=0.3, min_size=5)
    scores = [detection.score for detection in detections]
    assert scores == sorted(scores, reverse=True)
    assert all(score >= 0.3 for score in scores)


@pytest.mark.parametrize(("scores", "there"), [("auto", True), ("full", True), ("top", False)])
def test_scores_of_both_classes_are_kept_unless_asked(scores: str, there: bool) -> None:
    config = {**specs.SETTINGS, "scores": scores}
    kept = candidates((0, 0, 99, 99, 0.9, 0.25))
    result = as_result(kept, specs.LIGHT_TRAP_INSECTS, config, width=200, height=200)
    # In the order of the labels, though nonmoth is the better one.
    expected = struct.pack("<2e", 0.25, 0.75) if there else None
    assert [one.scores for found in result.detections for one in found.classifications] == [expected]
