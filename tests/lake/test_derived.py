"""Derived tables through real files: which results count, what files of earlier versions lack, the same bytes again."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.answers import derive
from antenna_orchestration.answers.knowledge import Knowledge
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.ecology.names import classes_of
from antenna_orchestration.ecology.reviews import Review
from antenna_orchestration.lake import derived, paths
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from tests.ecology.lakes_by_hand import FINISHED, PROJECT, derive_all, without_jobs, write_job
from tests.ecology.nights_by_hand import CLASSES, MOTHS, capture, detection, times
from tests.lake.conftest import content_of

DUSK = datetime(2026, 6, 1, 22)
GAMMA, PRONUBA = "Autographa gamma", "Noctua pronuba"

CAPTURES = [
    capture(number, one, deployment=deployment)
    for number, (one, deployment) in enumerate(
        [
            *((one, "by the pond") for one in times(DUSK, [0, 60, 120, 86_400, 86_460])),
            *((one, "hedge's [end]") for one in times(DUSK, [0, 30])),
            (None, "by the pond"),
            (None, None),
        ]
    )
]
DETECTIONS = [
    detection(image, number, label)
    for image, labels in enumerate([[GAMMA, PRONUBA], [GAMMA], [], [None, GAMMA], [], [PRONUBA], [GAMMA] * 11, [GAMMA]])
    for number, label in enumerate(labels)
]


def shuffled(rows: list, seed: int) -> list:
    return random.Random(seed).sample(rows, len(rows))


@pytest.mark.long
def test_any_split_over_jobs_gives_the_same_tables(lake: Lake) -> None:
    together = without_jobs(derive_all(lake, [write_job(lake, 1, CAPTURES, DETECTIONS)]))
    parts = [shuffled(CAPTURES, 1)[start::3] for start in range(3)]
    apart = [
        write_job(lake, 10 + number, part, shuffled(DETECTIONS, number), finished_at=FINISHED + timedelta(number))
        for number, part in enumerate(parts)
    ]

    assert without_jobs(derive_all(lake, apart)) == together
    assert [row["found"] for row in together["nights"]] == [3, 2, 1, 2, 1]
    assert [row["night"] for row in together["nights"]][2:] == [None, datetime(2026, 6, 1).date(), None]
    assert [row["deployment"] for row in together["nights"]] == [*["by the pond"] * 3, "hedge's [end]", None]


BOX = st.builds(
    dict,
    label=st.sampled_from([GAMMA, PRONUBA, "unlike any", None]),
    # Of equal ones, something other than the job has to decide.
    score=st.sampled_from([0.5, 0.875]),
    left=st.sampled_from([10.0, 12.0, 200.0]),
)
PHOTOGRAPH = st.builds(
    dict,
    # Of a minute, an hour and a day later, and of no known time; some at the same time.
    seconds=st.sampled_from([0, 60, 60, 120, 3_600, 86_400, None]),
    deployment=st.sampled_from(["by the pond", "by the pond", "hedge", None]),
    failed=st.sampled_from([False, False, False, True]),
    boxes=st.lists(BOX, max_size=3),
    # The job that it goes to, and whether a later job tries it once more and fails.
    job=st.integers(1, 3),
    again=st.booleans(),
)


@pytest.mark.long
@given(st.lists(PHOTOGRAPH, min_size=1, max_size=8), st.randoms(use_true_random=False))
# Each derives twice, so a failing one is not made smaller, which takes minutes.
@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_no_split_over_jobs_changes_any_table(photographs: list[dict[str, Any]], chance: random.Random) -> None:
    captures, detections = [], []
    failed = {"status": "failed", "width": None, "height": None}
    for image, one in enumerate(photographs):
        time = None if one["seconds"] is None else DUSK + timedelta(seconds=one["seconds"])
        outcome = failed if one["failed"] else {}
        captures.append(capture(image, time, deployment=one["deployment"], **outcome))
        for number, box in enumerate([] if one["failed"] else one["boxes"]):
            place = {"x1": box["left"], "x2": box["left"] + 40}
            detections.append(detection(image, number, box["label"], box["score"], **place))
    later = [{**row, **failed} for row, one in zip(captures, photographs, strict=True) if one["again"]]
    chance.shuffle(detections)
    with TemporaryDirectory() as folder:
        lake = Lake(folder)
        together = derive_all(lake, [write_job(lake, 1, captures, detections)])
        apart = []
        # A later job may have ended earlier, and the other way round.
        for job, days in zip((11, 12, 13), chance.sample(range(3), 3), strict=True):
            part = [row for row, one in zip(captures, photographs, strict=True) if one["job"] == job - 10]
            chance.shuffle(part)
            apart.append(write_job(lake, job, part, detections, finished_at=FINISHED + timedelta(days)))
        apart.append(write_job(lake, 14, later, [], finished_at=FINISHED + timedelta(9)))
        assert nameless(derive_all(lake, apart)) == nameless(together)


def nameless(tables: Mapping[str, pa.Table]) -> dict[str, list[dict[str, Any]]]:
    """The rows, in their order, with ids of detections that do not say which job they are from."""
    named = ("observation_id", "track", "best_observation")
    return {
        name: [
            {
                key: value.partition("-")[2] if key in named and value else value
                for key, value in row.items()
                if key != "job_id"
            }
            for row in tables[name].to_pylist()
        ]
        for name in paths.DERIVED_TABLES
    }


@pytest.mark.long
def test_deriving_again_gives_the_same_bytes(lake: Lake, root: str) -> None:
    sources = [write_job(lake, 1, CAPTURES, DETECTIONS)]
    derive_all(lake, sources)
    before = {table: content_of(root, PROJECT.path(table)) for table in paths.DERIVED_TABLES}
    write_job(lake, 1, shuffled(CAPTURES, 2), shuffled(DETECTIONS, 3))
    derive_all(lake, sources)

    assert {table: content_of(root, PROJECT.path(table)) for table in paths.DERIVED_TABLES} == before
    metadata = lake.metadata_of_file(PROJECT.path("counts")) or {}
    assert metadata[derived.JOBS] == b'{"1": 1}'
    assert metadata[derived.RECIPE] == Knowledge(project="pond").recipe.hash.encode()


def test_of_each_image_the_newest_finished_result_counts(lake: Lake) -> None:
    failed = {"status": "failed", "width": None, "height": None}
    first = [detection(0, 0, GAMMA), detection(1, 0, GAMMA)]
    sources = [
        write_job(lake, 1, CAPTURES[:3], first),
        write_job(lake, 2, CAPTURES[:1], [detection(0, 0, PRONUBA)], finished_at=FINISHED + timedelta(1)),
        # A failure afterwards takes nothing back.
        write_job(lake, 3, [{**CAPTURES[1], **failed}], [], finished_at=FINISHED + timedelta(2)),
        write_job(lake, 4, [{**CAPTURES[3], **failed}], []),
    ]
    tables = derive_all(lake, sources)

    assert [(row["job_id"], row["label"]) for row in tables["observations"].to_pylist()] == [(2, PRONUBA), (1, GAMMA)]
    assert [(row["done"], row["failed"]) for row in tables["nights"].to_pylist()] == [(3, 0), (0, 1)]


def test_results_of_two_pipelines_are_never_added_up(lake: Lake) -> None:
    moths = write_job(lake, 1, CAPTURES[:2], [detection(0, 0, GAMMA)])
    others = write_job(lake, 2, CAPTURES[:2], [detection(0, 0, GAMMA)])._replace(pipeline="others")
    tables = derive_all(lake, [moths, others])

    assert [(row["pipeline"], row["found"]) for row in tables["nights"].to_pylist()] == [("moths", 2), ("others", 2)]
    assert [(row["pipeline"], row["detections"]) for row in tables["counts"].to_pylist()] == [
        ("moths", 1),
        ("others", 1),
    ]


@pytest.mark.long
def test_files_of_earlier_versions_lack_columns(lake: Lake) -> None:
    lacks = ["stamp", "stamp_offset", "finished_at", "night", "seconds", "inference_time", "pipeline"]
    old = write_job(lake, 1, CAPTURES[:5], DETECTIONS, lacks=lacks)
    new = write_job(lake, 2, CAPTURES[5:], DETECTIONS)
    whole = write_job(lake, 3, CAPTURES, DETECTIONS)

    assert without_jobs(derive_all(lake, [old, new])) == without_jobs(derive_all(lake, [whole]))


def test_places_make_moments_and_nights(lake: Lake) -> None:
    # 6 h in Panama by a clock in UTC: 1:00 of the night before.
    captures = [capture(1, datetime(2026, 6, 2, 6)), capture(2, datetime(2026, 6, 2, 18))]
    source = write_job(lake, 1, captures, [detection(1, 0, GAMMA)])
    panama = ZoneInfo("America/Panama")
    place = Place(deployment="by the pond", time_zone="America/Panama", zone=panama, clock="utc", pixels_per_mm=2.0)
    tables = derive_all(lake, [source], Knowledge(project="pond", places={"by the pond": place}))

    [row] = tables["observations"].to_pylist()
    assert (row["night"], row["local_time"]) == (datetime(2026, 6, 1).date(), datetime(2026, 6, 2, 1))
    assert (row["captured_at"], row["stamp"]) == (datetime(2026, 6, 2, 6, tzinfo=UTC), datetime(2026, 6, 2, 6))
    assert row["length_mm"] == 4.0
    assert [one["zone"] for one in tables["nights"].to_pylist()] == ["America/Panama"] * 2


def test_a_job_without_images_has_empty_tables(lake: Lake) -> None:
    tables = derive_all(lake, [write_job(lake, 1, [], [])], scope=Scope(job=JobId(1)))

    assert {name: table.num_rows for name, table in tables.items()} == dict.fromkeys(paths.DERIVED_TABLES, 0)


def test_a_damaged_table_is_told_in_one_line(lake: Lake) -> None:
    source = write_job(lake, 1, CAPTURES, DETECTIONS)
    derive_all(lake, [source])
    lake.write_file("detections/job_id=1/part-g1-00000.parquet", lambda sink: sink.write(b"PAR1 no more"))

    with pytest.raises(errors.Unavailable, match=r"^lake .*detections") as raised:
        derive_all(lake, [source])
    assert "\n" not in str(raised.value)
    with pytest.raises(errors.Unavailable, match=r"job_id=2: the table is not there"):
        derive_all(lake, [source._replace(job_id=JobId(2))])
    assert derived.read(lake, PROJECT, "counts").num_rows, "what was there stays"


def test_boxes_of_a_deployment_over_its_nights(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    source = write_job(lake, 1, CAPTURES, DETECTIONS)
    with derived.sorted_results(lake, [source], {}) as results:
        found = [
            (one.deployment, one.frame[["night", "image_id"]].drop_duplicates().values.tolist(), one.photographs)
            for one in results.boxes()
        ]

    night = DUSK.date()
    assert found == [
        ("by the pond", [[night, 0], [night, 1], [night + timedelta(1), 3]], {night: 3, night + timedelta(1): 2}),
        ("hedge's [end]", [[night, 5], [night, 6]], {night: 2}),
    ]


def test_what_stays_over_three_nights_is_a_fixture(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    captures = [capture(number, DUSK + timedelta(days=number)) for number in range(3)]
    stays = [detection(number, 0, GAMMA) for number in range(3)]
    comes = detection(1, 30, PRONUBA)
    tables = derive_all(lake, [write_job(lake, 1, captures, [*stays, comes])])

    observations = tables["observations"].to_pylist()
    assert [("fixture" in row["flags"], row["counted"]) for row in observations] == [
        (True, False),
        (True, False),
        (False, True),
        (True, False),
    ]


@pytest.mark.parametrize("said", ["moth 12", "MOTH 12", "Noctua pronuba"])
def test_a_person_s_word_for_a_class_is_what_the_class_is(tmp_path: Path, said: str) -> None:
    lake = Lake(str(tmp_path))
    source = write_job(lake, 1, CAPTURES[:1], [detection(0, 0, "moth 12"), detection(0, 1, "other")])
    # As a worker registers it, with the name in its category map; the project has no names.
    labels, category = (
        ("moth 12", "other"),
        {"scientificName": "Noctua pronuba", "taxonRank": "species", "taxonID": "7"},
    )
    classes = {MOTHS: classes_of(MOTHS, labels, [category, {}])}
    seen_at = datetime(2026, 7, 1, tzinfo=UTC)
    known = Knowledge(project="pond", reviews=[Review(JobId(1), "0-1", said, "Ada", seen_at)])
    tables = derive_all(lake, [source], known, classes=classes)

    assert {(row["taxon"], row["taxon_id"]) for row in tables["observations"].to_pylist()} == {("Noctua pronuba", "7")}
    [row] = tables["counts"].to_pylist()
    assert (row["taxon"], row["rank"], row["max_n"]) == ("Noctua pronuba", "species", 2)


def test_reviews_of_results_that_a_later_job_replaced_are_told(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    first = write_job(lake, 1, CAPTURES[:2], [detection(0, 0, GAMMA), detection(1, 0, GAMMA)])
    again = write_job(lake, 2, CAPTURES[:1], [detection(0, 0, GAMMA)], finished_at=FINISHED + timedelta(1))
    said = [Review(JobId(1), one, PRONUBA, who, FINISHED) for one in ("0-0", "1-0") for who in ("Ada", "Ben")]
    known = Knowledge(project="pond", reviews=said)

    _, warnings = derive.write_tables(lake, PROJECT, [first, again], known, lambda _: CLASSES)
    assert [one[:42] for one in warnings] == ["1 reviewed detection not in the tables: a "]
    _, warnings = derive.write_tables(lake, PROJECT, [first], known, lambda _: CLASSES)
    assert not warnings
