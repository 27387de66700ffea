"""Boxes that a job is given: what a result may make of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.domain import given_boxes, messages
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection, GivenBox

FINDER, OTHER = AlgorithmRef("finder", "3"), AlgorithmRef("other", "1")
Box = tuple[float, float, float, float]


def given_box(*box: float, score: float | None = 0.5) -> GivenBox:
    return GivenBox((box[0], box[1], box[2], box[3]), score, FINDER)


def found_again(box: Box, label: str = "moth") -> Detection:
    """As a worker returns it, which names a detector and a score of its own."""
    named = [Classification(algorithm=OTHER, label=label, score=0.9)]
    return Detection(box=box, score=0.1, algorithm=OTHER, classifications=named)


boxes = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 9), st.integers(1, 9)).map(
        lambda one: given_box(4.0 * one[0], 4.0 * one[1], 4.0 * (one[0] + one[2]), 4.0 * (one[1] + one[3]))
    ),
    max_size=30,
)


@given(boxes, st.randoms(use_true_random=False))
def test_boxes_come_back_as_given_in_any_order_and_cut(wanted: list[GivenBox], dice: object) -> None:
    returned = [found_again(tuple(corner + 0.5 for corner in one.box)) for one in wanted]  # type: ignore[arg-type]
    dice.shuffle(returned)  # type: ignore[attr-defined]
    made = given_boxes.classified(wanted, returned)
    assert [(one.box, one.score, one.algorithm) for one in made] == [(one.box, 0.5, FINDER) for one in wanted]
    assert all(one.classifications for one in made)


def test_each_box_gets_its_own_classification() -> None:
    wanted = [given_box(0, 0, 10, 10), given_box(1, 0, 10, 10, score=None), given_box(50, 50, 50.4, 60)]
    returned = [found_again((1, 0, 10, 10), "second"), found_again((0, 0, 10, 10), "first")]
    made = given_boxes.classified(wanted, returned)
    assert [[said.label for said in one.classifications] for one in made] == [["first"], ["second"], []]
    # A detector that gave no score gave none.
    assert made[1].score is None


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ([(0, 0, 10, 12)], "^box 0, 0, 10, 12 is none of those given: the pipeline looked for boxes of its own$"),
        ([(200, 200, 210, 210)], "none of those given"),
        ([(0, 0, 10, 10), (0, 0, 10, 10)], "^box 0, 0, 10, 10 came more often than it was given$"),
        ([(-1e6, -1e6, 1e6, 1e6)], "none of those given"),
    ],
)
def test_a_box_that_was_not_given_is_refused(returned: list[Box], why: str) -> None:
    with pytest.raises(errors.InvalidInput, match=why):
        given_boxes.classified([given_box(0, 0, 10, 10)], map(found_again, returned))


def test_ten_thousand_boxes_fit_into_one_message() -> None:
    wanted = [given_box(n + 0.1, n, n + 9.7, n + 9) for n in range(messages.MAX_DETECTIONS)]
    packed = given_boxes.packed(wanted)
    assert given_boxes.unpacked(packed) == wanted and len(packed) < 2**20
    assert (given_boxes.packed([]), given_boxes.unpacked(b"")) == (b"", [])


def test_a_task_without_boxes_is_as_it_was() -> None:
    fields = {"job": 1, "generation": 1, "image": 1, "uri": "", "pipeline": "p", "config_hash": ""}
    assert b"detections" not in messages.encode(messages.Task(**fields))  # type: ignore[arg-type]
    task = messages.Task(**fields, detections=[given_box(0, 1, 2, 3)])  # type: ignore[arg-type]
    assert messages.decode(messages.Task, messages.encode(task)) == task
