"""The formats of other programs, from tables as jobs leave them."""

import csv
import io
import json
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Generation, ImageId, JobId, PipelineSlug, ProjectId
from antenna_orchestration.domain.job import DispatchMode, Job, JobStatus
from antenna_orchestration.ecology import columns
from antenna_orchestration.exports import csv_tables, formats, megadetector_of_tables
from antenna_orchestration.exports.material import BOXES
from antenna_orchestration.lake import rows, schemas
from antenna_orchestration.lake.store import Lake

NIGHT = datetime(2026, 6, 12, 20, 10, tzinfo=UTC)
DETECTOR, CLASSIFIER = messages.AlgorithmRef("detector", "2"), messages.AlgorithmRef("species", "1")
JOB = Job(
    job_id=JobId(42), project_id=ProjectId(1), project="traps", name="night", pipeline=PipelineSlug("p"), config={},
    config_hash="", status=JobStatus.SUCCESS, generation=Generation(2), launch=1, epoch=None, published_upto=4,
    compacted=True, priority=1, interactive=False, dispatch_mode=DispatchMode.ASYNC, total=4, skipped=0, duplicates=0,
    source_kinds=("http",), run_id=None, status_reason=None, created_at=NIGHT, claimed_at=None, started_at=None,
    finished_at=datetime(2026, 6, 13, 8, 0, 1, tzinfo=UTC),
)  # fmt: skip


def label(name: str, score: float | None, *, terminal: bool = True, **others: float) -> messages.Classification:
    top = {name: score, **others} if others else {}
    return messages.Classification(
        algorithm=CLASSIFIER, label=name, score=score, terminal=terminal, top_labels=list(top),
        top_scores=[one or 0.0 for one in top.values()],
    )  # fmt: skip


def insect(score: float | None, *labels: messages.Classification) -> messages.Detection:
    return messages.Detection(box=(10.0, 20.0, 60.0, 120.0), score=score, algorithm=DETECTOR, classifications=[*labels])


def result(image: int, *detections: messages.Detection) -> messages.Result:
    return messages.Result(
        job=JOB.job_id, generation=JOB.generation, image=ImageId(image), worker="w", delivery=1, outcome="done",
        detections=[*detections], created_at=NIGHT,
    )  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Four images of two sites: three done, of which one is empty, and one failed. A retry brought the last one."""
    made = Lake(str(tmp_path))
    filtered = label("moth", 0.9, terminal=False)
    first = rows.tables_of(
        [
            result(7, insect(0.25, filtered), insect(None, filtered, label("=Noctua", 0.5, comes=0.25))),
        ]
    )
    second = rows.tables_of([result(3, insect(0.75, label("comes", None)))])
    for name in ("detections", "classifications"):
        made.write_table(name, JOB.job_id, Generation(1), [first[name]])
        made.write_table(name, JOB.job_id, Generation(2), [second[name]])
    captures = [
        {"image_id": 3, "url": "https://x.org/t/b/1%20a.jpg?sig=s", "captured_at": NIGHT, "width": 100, "height": 200},
        {"image_id": 5, "url": "https://x.org/t/a/2.jpg", "width": None, "height": None},
        {"image_id": 7, "url": "https://x.org/t/a/3.jpg", "width": 100, "height": 200},
        {"image_id": 9, "url": "https://x.org/t/a/4.jpg", "status": "failed"},
    ]
    table = pa.Table.from_pylist([{"status": "done", **one} for one in captures], schema=schemas.CAPTURES)
    made.write_table("captures", JOB.job_id, JOB.generation, [table])
    failed = pa.Table.from_pylist([{"image_id": 9, "reason": "404"}], schema=schemas.FAILED_IMAGES)
    made.write_table("failed_images", JOB.job_id, JOB.generation, [failed])
    return made


def exported(lake: Lake, **options: Any) -> Any:
    return json.loads(b"".join(megadetector_of_tables.pieces(lake, JOB, **options)))


def test_megadetector_s_json_has_every_image_once_in_order(lake: Lake) -> None:
    made = exported(lake)
    assert made["info"] == {
        "format_version": "1.6", "detector": "detector 2", "classifier": "species 1",
        "detection_completion_time": "2026-06-13 08:00:01",
        "antenna": {"job": 42, "name": "night", "project": "traps", "pipeline": "p", "complete": True, "threshold": 0.0,
                    "detections_without_score": 1, "boxes": BOXES},
    }  # fmt: skip
    assert made["detection_categories"] == {"1": "animal"}
    names = made["classification_categories"]
    one, empty, two, failed = made["images"]
    # Relative to the folder that all are in, as they are called on the disk.
    assert [image["file"] for image in made["images"]] == ["b/1 a.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg"]
    assert one["datetime"] == "2026:06:12 20:10:00"
    assert one["detections"][0]["bbox"] == [0.1, 0.1, 0.5, 0.5]
    assert (one["detections"][0]["category"], one["detections"][0]["conf"]) == ("1", 0.75)
    assert empty["detections"] == []
    assert (failed["failure"], failed["detections"]) == ("404", None)
    said = [[(names[key], chance) for key, chance in found["classifications"]] for found in two["detections"]]
    # The terminal classification decides; without one, the last step that there was.
    assert said == [[("moth", 0.9)], [("=Noctua", 0.5), ("comes", 0.25)]]
    # The format has no null.
    assert [found["conf"] for found in two["detections"]] == [0.25, 1.0]
    assert all(type(found["conf"]) is float for image in (one, two) for found in image["detections"])


def test_a_threshold_leaves_out_low_scores_but_not_missing_ones(lake: Lake) -> None:
    made = exported(lake, threshold=0.5)
    assert [[found["conf"] for found in image["detections"] or []] for image in made["images"]] == [
        [0.75],
        [],
        [1.0],
        [],
    ]


def test_boxes_without_a_size_are_refused_or_measured(lake: Lake) -> None:
    table = lake.read_table("captures", JOB.job_id)
    sizeless = table.set_column(4, table.schema.field("width"), pa.nulls(4, pa.int32()))
    lake.write_table("captures", JOB.job_id, JOB.generation, [sizeless])
    with pytest.raises(errors.Conflict, match="the size of 2 images is not known"):
        next(megadetector_of_tables.pieces(lake, JOB))
    asked: list[str] = []

    def size_of(url: str) -> megadetector_of_tables.Size:
        asked.append(url)
        return 100, 200

    assert exported(lake, size_of=size_of)["images"][0]["detections"][0]["bbox"] == [0.1, 0.1, 0.5, 0.5]
    # An image without boxes needs none.
    assert len(asked) == 2


def test_csv_is_safe_and_says_the_same(lake: Lake) -> None:
    text = b"".join(csv_tables.of_job(lake, "classifications", JOB.job_id)).decode()
    found = list(csv.DictReader(io.StringIO(text)))
    assert [row["label"] for row in found] == ["moth", "moth", "'=Noctua", "comes"]
    assert [row["score"] for row in found] == ["0.9", "0.9", "0.5", ""]
    assert json.loads(found[2]["top_labels"]) == ["=Noctua", "comes"]
    assert found[0]["created_at"] == "2026-06-12T20:10:00Z" and "scores" not in found[0]
    assert [len(b"".join(csv_tables.of_job(lake, name, JOB.job_id)).splitlines()) for name in schemas.TABLES] == [
        1, 5, 4, 5, 2
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        (columns.MOMENT, datetime(2026, 6, 1, 21, 30, tzinfo=UTC), "2026-06-01T21:30:00Z"),
        (columns.LOCAL, datetime(2026, 6, 1, 23, 30, 0, 500_000), "2026-06-01T23:30:00.500000"),
        (pa.date32(), date(2026, 6, 1), "2026-06-01"),
        (pa.time64("us"), time(23, 30), "23:30:00"),
        (pa.float32(), 0.1, "0.1"),
        (pa.float64(), 0.1, "0.1"),
        (pa.int64(), 2**53 + 1, "9007199254740993"),
        (pa.bool_(), True, "True"),
        (pa.list_(pa.string()), ["too_small", "at_edge"], '["too_small", "at_edge"]'),
        (pa.list_(pa.string()), [], "[]"),
        (pa.string(), "=1+1", "'=1+1"),
        (pa.string(), "", ""),
        (pa.string(), None, ""),
        (columns.MOMENT, None, ""),
    ],
)
def test_a_cell_of_each_kind_of_column(kind: pa.DataType, value: object, cell: str) -> None:
    batch = pa.record_batch([pa.array([value, None], kind), pa.array([1, 2])], ["x", "row"])
    text = b"".join(csv_tables.lines(["x", "row"], [batch])).decode()
    assert list(csv.reader(io.StringIO(text))) == [["x", "row"], [cell, "1"], ["", "2"]]


def test_scores_that_are_no_chances_are_written_as_some(tmp_path: Path) -> None:
    made = Lake(str(tmp_path))
    tables = rows.tables_of([result(7, insect(1e38, label("a", 2.5)), insect(-3.0))])
    for name in ("detections", "classifications"):
        made.write_table(name, JOB.job_id, Generation(2), [tables[name]])
    row = {"image_id": 7, "url": "https://x.org/3.jpg", "width": 100, "height": 200, "status": "done"}
    made.write_table("captures", JOB.job_id, JOB.generation, [pa.Table.from_pylist([row], schema=schemas.CAPTURES)])
    text = b"".join(megadetector_of_tables.pieces(made, JOB, threshold=-5.0))
    (image,) = json.loads(text)["images"]
    assert [one["conf"] for one in image["detections"]] == [1.0, 0.0]
    assert image["detections"][0]["classifications"] == [["0", 1.0]]


def test_one_of_each_thing_has_its_word() -> None:
    one = dict.fromkeys(("photographs", "boxes", "classes", "nights", "measurements"), 1)
    assert formats.in_words(one) == "1 photograph, 1 box, 1 class, 1 night, 1 measurement"
    assert formats.in_words(dict.fromkeys(one, 2)) == ", ".join(f"2 {what}" for what in one)
