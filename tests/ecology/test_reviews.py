"""What files of reviews say, which of it is refused and where, and which review counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology import reviews
from antenna_orchestration.ecology.reviews import Review

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def said(text: str | bytes, **options: Any) -> list[Review]:
    content = text if isinstance(text, bytes) else text.encode()
    return [one.review for one in reviews.read(content, "reviews.csv", **options).given]


def review(label: str = "moth", detection: str = "1007-0", job: int = 42, **others: Any) -> Review:
    return Review(JobId(job), detection, label, others.get("reviewer", ""), others.get("at"))


CSV = {
    "plain": ("detection_id,label\n42-1007-0,moth\n", [review()]),
    "in another order, with columns of their own": (
        "note,Label,Detection ID\nnice,moth,42-1007-0\n",
        [review()],
    ),
    "semicolons, a byte order mark, empty lines, Windows' line ends": (
        "\ufeff\r\ndetection_id;label\r\n\r\n42-1007-0;moth\r\n;\r\n",
        [review()],
    ),
    "by whom and when": (
        "observation_id,label,reviewer,reviewed_at\n"
        "42-1007-0,moth,Ana,2026-06-01T14:00:00+02:00\n42-1007-1,moth,Ana,2026-06-01 12:00\n42-1007-2,moth,,\n",
        [
            review(reviewer="Ana", at=NOON),
            review(detection="1007-1", reviewer="Ana", at=NOON),
            review(detection="1007-2"),
        ],
    ),
    "the job in a column": ("job_id,detection_id,label\n42,1007-0,moth\n", [review()]),
    "spaces, accents, commas in quotes": (
        'detection_id,label\n 42-1007-0 ,"Agrotis segetum, or Agrotis ipsilon"\n42-1007-1,Zerynthia cassandra é\n',
        [
            review("Agrotis segetum, or Agrotis ipsilon"),
            review("Zerynthia cassandra é", detection="1007-1"),
        ],
    ),
    "the same twice": ("detection_id,label\n42-1007-0,moth\n42-1007-0,moth\n", [review(), review()]),
    "one person at two times": (
        "detection_id,label,reviewed_at\n42-1007-0,moth,2026-06-01T12:00Z\n42-1007-0,fly,2026-06-01T13:00Z\n",
        [review(at=NOON), review("fly", at=NOON + timedelta(hours=1))],
    ),
}


def test_objects_are_read_like_rows() -> None:
    rows = [{"detection_id": "42-1007-0", "label": "moth", "reviewer": None}, {"detection_id": "1-0", "label": "fly"}]
    reading = reviews.read(json.dumps(rows).encode(), "reviews.json", job=JobId(7))
    assert [one.review for one in reading.given] == [review(), review("fly", detection="1-0", job=7)]


@pytest.mark.parametrize("name", CSV)
def test_a_csv_file_says_what_people_wrote(name: str) -> None:
    text, expected = CSV[name]
    assert said(text) == expected


def test_utf_16_is_read_as_spreadsheets_write_it() -> None:
    assert said("detection_id\tlabel\n42-1007-0\tmoth\n".encode("utf-16")) == [review()]


def test_options_hold_where_the_file_says_nothing() -> None:
    text = "detection_id,label,reviewer\n1007-0,moth,\n42-1007-1,moth,Ben\n"
    assert said(text, job=JobId(42), reviewer="Ana") == [
        review(reviewer="Ana"),
        review(detection="1007-1", reviewer="Ben"),
    ]


REFUSED = {
    "no such column": ("id,species\n1,2\n", "reviews.csv has no column detection_id and no column label"),
    "an empty file": ("", "reviews.csv has no column detection_id"),
    "only a header": ("detection_id,label\n", "reviews.csv has no review of a detection"),
    "no detection": ("detection_id,label\n\nfoo,moth\n", "line 3, detection_id: 'foo' is not a detection"),
    "a number": ("detection_id,label\n42,moth\n", "line 2, detection_id: '42' is not a detection"),
    "no job": ("detection_id,label\n1007-0,moth\n", "line 2, detection_id: '1007-0' does not say of which job"),
    "two jobs": (
        "job,detection_id,label\n7,42-1-0,moth\n",
        "line 2, detection_id: '42-1-0' is of job 42, not of job 7",
    ),
    "no number of a job": ("job,detection_id,label\nx,1-0,moth\n", "line 2, job: 'x' is not the number of a job"),
    "no label": ("detection_id,label\n42-1-0, \n", "line 2, label: no label"),
    "a long label": (f"detection_id,label\n42-1-0,{'x' * 201}\n", "line 2, label: a label is printable text"),
    "a control character": ("detection_id,label\n42-1-0,a\x1b[2J\n", "line 2, label: a label is printable text"),
    "an odd time": (
        "detection_id,label,reviewed_at\n42-1-0,moth,09/10/2026\n",
        "line 2, reviewed_at: '09/10/2026' is not an ISO 8601 time",
    ),
    "the year 1": (
        "detection_id,label,reviewed_at\n42-1-0,moth,0001-01-01T00:00:00\n",
        "line 2, reviewed_at: '0001-01-01T00:00:00' lies before 1970",
    ),
    "a cell too many": ("detection_id,label\n42-1-0,moth,x\n", "line 2: more cells than the header has columns"),
    "two words of one person": (
        "detection_id,label\n42-1-0,moth\n42-1-0,fly\n",
        "line 3: detection 42-1-0 is 'fly', but 'moth' in line 2",
    ),
    "several faults": (
        "detection_id,label\n42-1-0,\nx,y\n",
        "2 faults: line 2, label: no label; a box",
    ),
    "an open quote": ('detection_id,label\n42-1-0,"moth\n', "line 2"),
    "no UTF-8": (b"detection_id,label\n42-1-0,\xff\n", "line 2: not UTF-8 text"),
    "JSON that is none": ("[{", "cannot be read as JSON"),
    "a number without end": (f"[{'1' * 5000}]", "cannot be read as JSON"),
    "a header without end": ("x" * 200_000, "line 1: field larger than field limit"),
    "Label Studio's JSON-MIN": (
        '[{"id": 3, "image": "a.jpg", "taxon": "moth"}]',
        "task 3: no list `annotations`; export from Label Studio as JSON, not JSON-MIN",
    ),
    "a list of numbers": ("[1]", "is not a list of objects"),
    "no label in JSON": (
        '[{"detection_id": "42-1-0", "label": NaN}]',
        "row 1, label: nan is neither text nor a number",
    ),
    "a list as a label": ('[{"detection_id": "42-1-0", "label": ["moth"]}]', "row 1, label: ['moth'] is neither text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_named_with_its_place(name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(errors.InvalidInput) as refused:
        said(text)
    assert str(refused.value).startswith("reviews.csv")
    assert message in str(refused.value)


BOX = {"x": 10.0, "y": 10.0, "width": 5.0, "height": 5.0, "rotation": 0}


def answer(region: str, kind: str, *values: Any) -> dict[str, Any]:
    """A part of a result as Label Studio exports it."""
    return {"id": region, "type": kind, "from_name": "x", "to_name": "image", "value": {**BOX, kind: list(values)}}


def task(*result: dict[str, Any], predicted: tuple[dict[str, Any], ...] = (), **annotation: Any) -> dict[str, Any]:
    """A task with one annotation, as Label Studio exports it."""
    parent = {"parent_prediction": 5} if predicted else {}
    return {
        "id": 3,
        "data": {"image": "/data/local-files/?d=a.jpg", "image_id": 1007},
        "annotations": [
            {
                "id": 8,
                "completed_by": 2,
                "was_cancelled": False,
                "created_at": "2026-06-01T11:00:00.5Z",
                "updated_at": "2026-06-01T12:00:00Z",
                "result": list(result),
                **parent,
                **annotation,
            }
        ],
        "predictions": [{"id": 5, "result": list(predicted)}] if predicted else [],
    }


def insect(region: str, *choices: str) -> tuple[dict[str, Any], ...]:
    return answer(region, "rectanglelabels", "insect"), *((answer(region, "choices", *choices),) if choices else ())


BY_USER_2: dict[str, Any] = {"reviewer": "Label Studio user 2", "at": NOON}

EXPORTS: dict[str, tuple[dict[str, Any], list[Review], list[str]]] = {
    "a choice": (task(*insect("42-1007-0", "moth")), [review(**BY_USER_2)], []),
    "a taxon, by its last name": (
        task(answer("42-1007-0", "taxonomy", ["Lepidoptera", "Noctua pronuba"])),
        [review("Noctua pronuba", **BY_USER_2)],
        [],
    ),
    "only the box's label": (task(*insect("42-1007-0")), [review("insect", **BY_USER_2)], []),
    "who it was": (
        task(
            *insect("42-1007-0", "moth"),
            completed_by={"id": 2, "email": "ana@example.org", "first_name": "Ana", "last_name": "Li"},
        ),
        [review(reviewer="Ana Li", at=NOON)],
        [],
    ),
    "an older export without a time of change": (
        task(*insect("42-1007-0", "moth"), updated_at=None),
        [review(reviewer="Label Studio user 2", at=NOON - timedelta(minutes=59, seconds=59.5))],
        [],
    ),
    "a new box beside": (
        task(*insect("42-1007-0", "moth"), *insect("aB3-x_9", "fly")),
        [review(**BY_USER_2)],
        ["1 box that reviewers drew: no detections, left out"],
    ),
    "a box that was deleted": (
        task(*insect("42-1007-0", "moth"), predicted=(*insect("42-1007-0", "fly"), *insect("42-1007-1", "fly"))),
        [review(**BY_USER_2), review("not an insect", detection="1007-1", **BY_USER_2)],
        ["1 box that reviewers deleted: not an insect"],
    ),
    "an answer on the whole photograph": (
        task(*insect("42-1007-0", "moth"), {"id": "q", "type": "choices", "value": {"choices": ["blurred"]}}),
        [review(**BY_USER_2)],
        [],
    ),
    "answers that are not lists": (
        task(*insect("42-1007-0"), {**answer("42-1007-0", "choices"), "value": {**BOX, "choices": "moth"}})
        | {"predictions": 5},
        [review(**BY_USER_2)],
        [],
    ),
    "a box without an answer": (
        task(*insect("42-1007-0", "moth"), answer("42-1007-1", "rectanglelabels")),
        [review(**BY_USER_2)],
        ["1 box without a label: left out"],
    ),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_of_label_studio_says_what_people_chose(name: str) -> None:
    exported, expected, notes = EXPORTS[name]
    reading = reviews.read(json.dumps([exported]).encode(), "export.json")
    assert ([one.review for one in reading.given], reading.notes) == (expected, notes)


def test_what_a_reviewer_skipped_is_no_review() -> None:
    skipped = task(*insect("42-1007-0", "moth"), was_cancelled=True)
    reading = reviews.read(json.dumps([skipped, task(*insect("42-1-0", "fly"))]).encode(), "export.json")
    assert [one.review.label for one in reading.given] == ["fly"]
    assert reading.notes == ["1 task that reviewers skipped: left out"]


def test_two_choices_for_one_box_are_refused() -> None:
    with pytest.raises(errors.InvalidInput, match=r"task 3, region 42-1007-0: 2 labels \(fly, moth\)"):
        reviews.read(json.dumps([task(*insect("42-1007-0", "moth", "fly"))]).encode(), "export.json")


@pytest.mark.parametrize("label", ["not an insect", "Not_an_Insect", "NOT AN ANIMAL", "false-positive"])
def test_a_box_without_an_animal_has_its_label(label: str) -> None:
    assert reviews.rejects(label)
    assert not reviews.rejects("nonmoth")


TIMES = st.sampled_from([NOON, NOON + timedelta(hours=1)])
SOME = st.lists(
    st.builds(review, st.sampled_from("abc"), st.sampled_from(["1-0", "1-1"]), st.sampled_from([1, 2]), at=TIMES)
)


@pytest.mark.long
@given(SOME)
def test_the_newest_review_of_each_detection_counts(many: list[Review]) -> None:
    expected: dict[tuple[int, str], Review] = {}
    for one in many:
        key = (one.job_id, one.detection_id)
        if key not in expected or one.reviewed_at >= expected[key].reviewed_at:  # type: ignore[operator]
            expected[key] = one
    found = reviews.newest(many)
    assert list(found.columns) == list(Review._fields)
    assert str(found.dtypes["reviewed_at"]) == "datetime64[us, UTC]"
    assert str(found.dtypes["job_id"]) == "int64"
    rows = [tuple(row) for row in found[["job_id", "detection_id", "label"]].itertuples(index=False)]
    assert rows == [(*key, expected[key].label) for key in sorted(expected)]
    assert found["reviewer"].isna().all()


def test_nobody_has_said_anything_yet() -> None:
    found = reviews.newest([])
    assert found.empty
    assert list(found.columns) == list(Review._fields)
