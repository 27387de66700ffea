"""An answer for a batch becomes one result for each of its images, whatever the answer is like."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.contract import pushing
from antenna_orchestration.contract.pushing import Sent
from antenna_orchestration.contract.results import reduction_of

REDUCTION = reduction_of({}, top_k=3, algorithms={})
BATCH = [Sent(image_id=str(number), url="http://192.0.2.1/a", reply_subject=f"lease-{number}") for number in range(3)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DETECTION = st.fixed_dictionaries(
    {"algorithm": st.just({"key": "a"}) | JSON},
    optional={
        "source_image_id": st.integers(0, 4) | st.integers(0, 4).map(str) | JSON,
        "bbox": st.none() | st.just({"x1": 1, "y1": 1, "x2": 2, "y2": 2}) | JSON,
        "classifications": JSON,
    },
)
ANSWER = st.fixed_dictionaries(
    {},
    optional={
        "source_images": st.lists(st.fixed_dictionaries({"id": st.integers(0, 4)}) | JSON, max_size=5) | JSON,
        "detections": st.lists(DETECTION | JSON, max_size=6) | JSON,
        "errors": JSON,
        "total_time": JSON,
    },
)


@given(ANSWER | JSON)
def test_any_answer_gives_each_image_one_result_or_is_refused_whole(answer: Any) -> None:
    try:
        read = pushing.read_answer(json.dumps(answer).encode(), BATCH, REDUCTION)
    except errors.InvalidInput:
        return
    assert [item.image_id for item in read.items] == ["0", "1", "2"]
    assert [item.reply_subject for item in read.items] == ["lease-0", "lease-1", "lease-2"]
    assert all(item.kind == "done" or item.reason for item in read.items)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"detections": 5}', b"\xff\xff", b"<html>"])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidInput, match="not an answer"):
        pushing.read_answer(body, BATCH, REDUCTION)


def test_a_detection_without_an_image_belongs_to_the_only_one() -> None:
    found = {"algorithm": {"key": "a"}, "bbox": {"x1": 1, "y1": 1, "x2": 2, "y2": 2}}
    body = json.dumps({"detections": [found]}).encode()
    [only] = pushing.read_answer(body, BATCH[:1], REDUCTION).items
    assert only.kind == "done" and len(only.detections) == 1
    assert {item.kind for item in pushing.read_answer(body, BATCH, REDUCTION).items} == {"failed"}


def test_sizes_that_a_service_gives_are_kept() -> None:
    sources = [{"id": "0", "width": 4096, "height": 2160}, {"id": "1", "width": [], "height": 10**30}, {"id": "2"}]
    items = pushing.read_answer(json.dumps({"source_images": sources}).encode(), BATCH, REDUCTION).items
    assert [(item.kind, item.width, item.height) for item in items] == [
        ("done", 4096, 2160),
        ("done", None, None),
        ("done", None, None),
    ]


def test_an_error_that_names_an_image_is_of_that_image_alone() -> None:
    errors_of_two = [{"image_id": "1", "error": "no such photograph"}, {"image_id": "7", "error": "not ours"}]
    said = {"source_images": [{"id": "0"}, {"id": "2"}], "detections": [], "errors": errors_of_two[:1]}
    items = pushing.read_answer(json.dumps(said).encode(), BATCH, REDUCTION).items
    assert [(one.kind, one.reason) for one in items] == [
        ("done", None),
        ("failed", "no such photograph"),
        ("done", None),
    ]
    # What names none of the batch is about all of it.
    said["errors"] = errors_of_two
    items = pushing.read_answer(json.dumps(said).encode(), BATCH, REDUCTION).items
    assert [one.kind for one in items] == ["failed"] * 3 and items[1].reason == "no such photograph"
