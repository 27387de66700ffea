"""What becomes of results that are right, and odd."""

import json
from datetime import UTC, datetime, timedelta, timezone
from math import nan
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from antenna_orchestration import errors
from antenna_orchestration.domain import masks, messages
from antenna_orchestration.domain.ids import Generation, ImageId, JobId
from antenna_orchestration.lake import arrow, rows, schemas
from antenna_orchestration.queue import names
from tests.pipelines import more_than_boxes

REF = messages.AlgorithmRef("a", "1")


def result(image: int, created_at: datetime | None, detections: int = 1) -> messages.Result:
    label = messages.Classification(algorithm=REF, label="moth", score=0.5)
    found = messages.Detection(box=(1.0, 2.0, 3.0, 4.0), score=0.5, algorithm=REF, classifications=[label, label])
    return messages.Result(
        job=JobId(1),
        generation=Generation(1),
        image=ImageId(image),
        worker=f"w{image}",
        delivery=1,
        outcome="done",
        detections=[found] * detections,
        created_at=created_at,
    )


def test_each_row_names_its_own_image_worker_and_detection() -> None:
    tables = rows.tables_of([result(1, None, 2), result(2, None, 0), result(3, None, 1)])
    detections, classifications = tables["detections"], tables["classifications"]
    assert detections["detection_id"].to_pylist() == ["1-0", "1-1", "3-0"]
    assert detections["image_id"].to_pylist() == [1, 1, 3]
    assert detections["worker"].to_pylist() == ["w1", "w1", "w3"]
    assert [detections[corner].to_pylist() for corner in ("x1", "y1", "x2", "y2")] == [
        [1.0] * 3, [2.0] * 3, [3.0] * 3, [4.0] * 3
    ]  # fmt: skip
    assert classifications["detection_id"].to_pylist() == ["1-0", "1-0", "1-1", "1-1", "3-0", "3-0"]


def test_a_worker_s_clock_may_name_any_zone_or_none() -> None:
    moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
    given = [moment, moment.astimezone(timezone(timedelta(hours=5))), moment.replace(tzinfo=None)]
    tables = rows.tables_of([result(number, at) for number, at in enumerate(given)])
    for table in tables.values():
        assert set(arrow.moments(table["created_at"])) == {moment}


def test_a_missing_score_is_null_in_the_tables() -> None:
    label = messages.Classification(algorithm=REF, label="moth", score=None)
    found = messages.Detection(box=(1.0, 2.0, 3.0, 4.0), score=None, algorithm=REF, classifications=[label])
    sent = msgspec.structs.replace(result(1, None), detections=[found, *result(1, None).detections])
    messages.check_detections(sent.detections)
    tables = rows.tables_of([messages.decode(messages.Result, messages.encode(sent))])
    assert tables["detections"]["score"].to_pylist() == [None, 0.5]
    assert tables["classifications"]["score"].to_pylist() == [None, 0.5, 0.5]
    assert tables["detections"]["inference_time"].null_count == 2


LABELLED = messages.Classification(algorithm=REF, label="moth", score=0.5, top_labels=["moth"], top_scores=[0.5])


@pytest.mark.parametrize(
    "changed",
    [{"score": 1e39}, {"score": 2.0}, {"score": -0.1}, {"score": float("nan")}, {"inference_time": -1.0},
     {"box": (1.0, 2.0, 1e39, 4.0)}, {"box": (1.0, 2.0, 1e7, 4.0)}, {"box": (float("nan"), 2.0, 3.0, 4.0)},
     {"box": (3.0, 2.0, 1.0, 4.0)},
     *({"classifications": [msgspec.structs.replace(LABELLED, **inner)]} for inner in (
         {"score": 7.0}, {"score": float("nan")}, {"top_scores": [float("inf")]}, {"top_scores": []},
         {"label": "x" * 501}, {"top_labels": ["x" * 501]}, {"inference_time": float("nan")})),
     {"classifications": [LABELLED, msgspec.structs.replace(LABELLED, label="a\0b")]}],
)  # fmt: skip
def test_what_no_image_can_show_is_refused(changed: dict[str, Any]) -> None:
    """S3, S5: one box at 1e9 held up the whole job while its picture was drawn."""
    found = messages.Detection(
        box=(1.0, 2.0, 3.0, 4.0), score=1.0005, algorithm=REF, classifications=[LABELLED], inference_time=0.1
    )
    messages.check_detections([found])
    with pytest.raises(errors.InvalidInput):
        messages.check_detections([msgspec.structs.replace(found, **changed)])


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_clock_at_the_calendar_s_end_does_not_stop_collecting(text: str) -> None:
    at = datetime.fromisoformat(text)
    assert rows.tables_of([result(1, at)])["detections"].num_rows == 1


def test_bytes_that_are_no_text_are_refused() -> None:
    payload = messages.encode(result(1, None)).replace(b"moth", b"mo\xff\xfe")
    with pytest.raises(errors.InvalidInput):
        messages.decode(messages.Result, payload)


def test_an_image_beyond_what_the_catalog_can_hold_is_refused() -> None:
    assert names.image_of_subject(f"results.1.1.{2**63 - 1}") == 2**63 - 1
    with pytest.raises(errors.InvalidInput):
        names.image_of_subject(f"results.1.1.{2**63}")


def test_what_is_more_than_boxes_has_tables_of_its_own() -> None:
    said = {"labels": more_than_boxes.labels(), "attributes": {"blur": 0.25, "at": "dusk", "hour": 3, "odd": nan}}
    both = [more_than_boxes.plain(), more_than_boxes.outlined()]
    bare = messages.Detection(box=(0, 0, 1, 1), score=None, algorithm=REF, attributes={"legs": 6})
    given = [
        result(1, None),
        msgspec.structs.replace(result(2, None), detections=[*both, bare], **said),
        msgspec.structs.replace(result(3, None), detections=[], labels=more_than_boxes.labels()[:1]),
        msgspec.structs.replace(result(4, None), detections=[], labels=[], attributes={}),
    ]
    assert [rows.has_rows(one) for one in given] == [True, True, True, False]
    tables = rows.tables_of([messages.decode(messages.Result, messages.encode(one)) for one in given])
    # Tables that all jobs have are as they were.
    of_boxes = rows.tables_of([msgspec.structs.replace(one, labels=UNSET, attributes=UNSET) for one in given[:1]])
    assert set(of_boxes) == {"detections", "classifications"}
    assert tables["detections"].schema == of_boxes["detections"].schema == schemas.OF_PARTS["detections"]
    assert tables["detections"]["detection_id"].to_pylist() == ["1-0", "2-0", "2-1", "2-2"]
    assert tables["classifications"].num_rows == 4

    first, second = tables["detection_details"].to_pylist()
    assert (first["image_id"], first["detection_id"], second["detection_id"]) == (2, "2-1", "2-2")
    assert masks.of_json(first["mask"]) == more_than_boxes.mask()
    assert [first[f"rotated_{name}"] for name in ("cx", "cy", "width", "height", "angle")] == [24, 16, 28, 10, 30]
    assert json.loads(first["attributes"]) == more_than_boxes.ATTRIBUTES
    assert (second["mask"], second["rotated_cx"], second["attributes"]) == (None, None, '{"legs":6}')
    labels = tables["image_labels"]
    assert labels["image_id"].to_pylist() == [2, 2, 2, 3]
    assert labels["label"].to_pylist() == ["empty", "rain", "Noctua pronuba", "empty"]
    assert labels["terminal"].to_pylist() == [False, True, True, False]
    assert tables["image_attributes"].to_pylist() == [
        {"image_id": 2, "attributes": '{"blur":0.25,"at":"dusk","hour":3,"odd":null}'}
    ]


@pytest.mark.parametrize("changed", [{"score": 2.0}, {"label": "a\0"}, {"top_scores": [0.5, 0.5]}])
def test_a_label_of_an_image_is_checked_as_one_of_a_box(changed: dict[str, Any]) -> None:
    wrong = msgspec.structs.replace(LABELLED, **changed)
    with pytest.raises(errors.InvalidInput):
        messages.decode(messages.Result, messages.encode(msgspec.structs.replace(result(1, None), labels=[wrong])))
