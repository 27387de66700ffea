"""The results as notebooks and scripts read them: from the lake alone, with real types, and nothing left out."""

import secrets
import subprocess
import sys
import warnings
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest

from antenna_orchestration import errors, results
from antenna_orchestration.answers.knowledge import Knowledge
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.ecology import columns
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.lake import derived, paths, schemas
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from tests.ecology.lakes_by_hand import FINISHED, derive_all, write_job
from tests.ecology.nights_by_hand import capture, detection, times

DUSK = datetime(2026, 6, 1, 22)
GAMMA, PRONUBA = "Autographa gamma", "Noctua pronuba"
OF_JOB = {"project": "pond", "pipeline": "moths"}

CAPTURES = [
    *(
        capture(number, one, deployment="by the pond", **OF_JOB)
        for number, one in enumerate(times(DUSK, [0, 60, 86_400, 172_800]))
    ),
    capture(4, DUSK, deployment="hedge's [end]", **OF_JOB),
    capture(5, None, deployment=None, **OF_JOB),
    capture(6, DUSK, deployment="hedge's [end]", **OF_JOB, status="failed", width=None, height=None),
]
DETECTIONS = [
    *(detection(0, 0, GAMMA), detection(0, 1, PRONUBA), detection(2, 0, GAMMA)),
    *(detection(3, 5, GAMMA), detection(4, 0, None), detection(5, 0, GAMMA)),
]
KNOWN = Knowledge(
    project="pond",
    places={
        "by the pond": Place(
            deployment="by the pond", time_zone="Europe/Paris", zone=ZoneInfo("Europe/Paris"), clock="local"
        )
    },
)
FIRST = date(2026, 6, 1)


@pytest.fixture(scope="module", params=["local", "memory"])
def pond(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake with one finished job, of which tables are derived; only read."""
    name = f"a [b] *c? {secrets.token_hex(4)}"
    root = str(tmp_path_factory.mktemp("pond") / name) if request.param == "local" else f"memory://{name}"
    lake = Lake(root)
    source = write_job(lake, 1, CAPTURES, DETECTIONS)
    # As an earlier version wrote them.
    write_job(lake, 2, CAPTURES, DETECTIONS, lacks=["stamp", "seconds", "finished_at", "project"])
    failed = [{"image_id": 6, "url": "file:///card/006.jpg", "reason": "not an image", "attempts": 3}]
    table = pa.Table.from_pylist(failed, schema=schemas.FAILED_IMAGES)
    lake.write_table("failed_images", JobId(1), Generation(1), [table])
    derive_all(lake, [source], KNOWN)
    return root


def test_derived_tables_have_real_types(pond: str) -> None:
    found = results.observations(project="pond", lake=pond)
    assert list(found.columns) == columns.SCHEMAS["observations"].names
    types = {name: str(kind) for name, kind in found.dtypes.items()}
    assert types["captured_at"] == types["reviewed_at"] == "datetime64[us, UTC]"
    assert types["local_time"] == types["stamp"] == "datetime64[us]"
    assert (types["job_id"], types["width"], types["counted"]) == ("Int64", "Int64", "boolean")
    assert {types[name] for name in ("project", "deployment", "label", "reviewer")} == {"string"}
    assert (types["score"], types["night"]) == ("float32", "object")
    assert found["night"].tolist() == [FIRST, FIRST, date(2026, 6, 2), date(2026, 6, 3), FIRST, None]
    # 22 h in the summer of Paris; without a zone, nobody knows.
    assert found["captured_at"][0] == pd.Timestamp("2026-06-01T20:00Z") and pd.isna(found["captured_at"][4])
    assert found["label"][4] is pd.NA
    assert results.counts(project="pond", lake=pond)["median_time"][0] == time(22)


@pytest.mark.parametrize("table", paths.DERIVED_TABLES)
def test_arrow_and_duckdb_have_the_rows_that_pandas_has(pond: str, table: str) -> None:
    read = getattr(results, table)
    arrow = read(project="pond", lake=pond, as_="arrow")
    assert arrow.equals(derived.read(Lake(pond), Scope(project="pond"), table))
    relation = read(project="pond", lake=pond, as_="duckdb")
    assert relation.aggregate("count(*)").fetchall() == [(len(read(project="pond", lake=pond)),)]
    assert relation.columns == arrow.schema.names


@pytest.mark.parametrize(
    ("filters", "images"),
    [
        ({}, [0, 0, 2, 3, 4, 5]),
        ({"nights": FIRST}, [0, 0, 4]),
        ({"nights": datetime(2026, 6, 1, 23)}, [0, 0, 4]),
        ({"nights": "2026-06-01"}, [0, 0, 4]),
        ({"nights": ["2026-06-01", date(2026, 6, 3)]}, [0, 0, 3, 4]),
        ({"nights": ("2026-06-01", "2026-06-02")}, [0, 0, 2, 4]),
        ({"nights": [None]}, [5]),
        ({"nights": []}, []),
        ({"deployment": "hedge's [end]"}, [4]),
        ({"deployment": ["hedge's [end]", None]}, [4, 5]),
        ({"deployment": "by the pond", "nights": FIRST}, [0, 0]),
        ({"pipeline": "moths", "nights": FIRST}, [0, 0, 4]),
        ({"pipeline": "others"}, []),
    ],
)
def test_filters_choose_rows(pond: str, filters: dict[str, Any], images: list[int]) -> None:
    for as_ in ("arrow", "duckdb"):
        found = results.observations(project="pond", lake=pond, as_=as_, **filters)
        rows = found if as_ == "arrow" else found.to_arrow_table()
        assert rows["image_id"].to_pylist() == images


def test_the_tables_of_a_job_are_as_they_came(pond: str) -> None:
    found = results.captures(job=1, lake=pond)
    assert list(found.columns) == ["job_id", *schemas.CAPTURES.names]
    assert found["job_id"].tolist() == [1] * 7 and found["image_id"].tolist() == list(range(7))
    assert results.captures(job=1, deployment=[None], lake=pond)["image_id"].tolist() == [5]
    assert results.detections(job=1, lake=pond)["detection_id"].tolist() == [one["detection_id"] for one in DETECTIONS]
    said = results.classifications(job=1, lake=pond, as_="arrow")
    assert said["label"].to_pylist() == [one["label"] for one in DETECTIONS if one["label"]]
    assert results.captures(job=2, lake=pond)["stamp"].isna().all()


def test_an_image_has_a_row_whatever_became_of_it(pond: str) -> None:
    def rows(image: int) -> list[tuple[Any, ...]]:
        found = results.image(image, lake=pond, as_="arrow").to_pylist()
        return [tuple(row[name] for name in ("pipeline", "label", "status", "reason")) for row in found]

    assert rows(0) == [("moths", GAMMA, "done", None), ("moths", PRONUBA, "done", None)]
    assert rows(1) == [("moths", None, "done", None)]
    assert rows(6) == [("moths", None, "failed", "not an image")]
    empty = results.image(1, lake=pond)
    assert (empty["url"][0], empty["stamp"][0], empty["deployment"][0]) == (
        "file:///card/001.jpg",
        pd.Timestamp("2026-06-01T22:01"),
        "by the pond",
    )
    with pytest.raises(errors.NotFound, match="no finished job has an image 99"):
        results.image(99, lake=pond)


def test_an_image_has_the_rows_of_each_pipeline(lake: Lake, root: str) -> None:
    other = [{**one, "pipeline": "others"} for one in CAPTURES[:2]]
    sources = [
        write_job(lake, 1, CAPTURES, DETECTIONS),
        write_job(lake, 2, other, [detection(1, 0, PRONUBA)])._replace(pipeline="others"),
    ]
    derive_all(lake, sources, KNOWN)
    both = {image: results.image(image, lake=root)[["pipeline", "label", "job_id"]] for image in (0, 1)}
    assert [[None if one is pd.NA else one for one in row] for row in both[0].to_numpy().tolist()] == [
        ["moths", GAMMA, 1],
        ["moths", PRONUBA, 1],
        ["others", None, 2],
    ]
    assert both[1]["label"].isna().tolist() == [True, False]


@pytest.mark.long
def test_results_since_the_tables_were_derived_are_told(lake: Lake, root: str) -> None:
    sources = [write_job(lake, 1, CAPTURES, DETECTIONS)]
    derive_all(lake, sources, KNOWN)
    derive_all(lake, sources, KNOWN, scope=Scope(job=JobId(1)))
    other = [{**one, "project": "elsewhere"} for one in CAPTURES]
    write_job(lake, 7, other, DETECTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.counts(project="pond", lake=root)
        results.counts(job=1, lake=root)

    sources.append(write_job(lake, 8, CAPTURES, DETECTIONS, finished_at=FINISHED + timedelta(1)))
    with pytest.warns(UserWarning, match=r"project pond lack .* job 8; `antenna tables --project pond`") as told:
        assert len(results.counts(project="pond", lake=root)) == 6
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="job 8") as told:
        results.image(0, lake=root)
    assert told[0].filename == __file__
    # A retry.
    lake.write_table("captures", JobId(1), Generation(2), [lake.read_table("captures", JobId(1))])
    with pytest.warns(UserWarning, match="project pond lack .* jobs 1, 8;"):
        results.nights(project="pond", lake=root)
    with pytest.warns(UserWarning, match=r"job 1 lack .*; `antenna derive --job 1` makes"):
        results.nights(job=1, lake=root)


def test_what_is_missing_is_told_with_its_command(lake: Lake, root: str) -> None:
    with pytest.raises(errors.NotFound, match="there are no results; name another lake"):
        results.counts(project="pond", lake=root)
    with pytest.raises(errors.NotFound, match="there are no results; name another lake"):
        results.image(1, lake=root)
    source = write_job(lake, 1, CAPTURES, DETECTIONS)
    with pytest.raises(
        errors.NotFound, match="project pond has no derived tables yet; `antenna tables --project pond`"
    ):
        results.counts(project="pond", lake=root)
    with pytest.raises(errors.NotFound, match="antenna tables --project pond"):
        results.image(0, lake=root)
    with pytest.raises(errors.NotFound, match="job 1 has no derived tables yet; `antenna derive --job 1`"):
        results.tracks(job=1, lake=root)
    with pytest.raises(errors.NotFound, match="job 5 has no table detections: it is not over"):
        results.detections(job=5, lake=root)
    derive_all(lake, [source], KNOWN)
    with pytest.raises(errors.NotFound, match="there are tables of pond"):
        results.counts(project="ponds", lake=root)
    lake.write_file(Scope(project="pond").path("counts"), lambda sink: sink.write(b"PAR1 no more"))
    with pytest.raises(errors.Unavailable, match=r"^lake [^\n]+$"):
        results.counts(project="pond", lake=root)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "name either a project or a job"),
        ({"project": "pond", "job": 1}, "name either a project or a job"),
        ({"job": "pond"}, "job='pond': must be a number"),
        ({"job": 1.5}, "job=1.5: must be a number"),
        ({"project": "pond", "as_": "polars"}, "as_='polars': must be"),
        ({"project": "pond", "nights": "June"}, "'June' is not a date"),
        ({"project": "pond", "nights": ("2026-06-01",)}, "a tuple is"),
        ({"project": "pond", "nights": 7}, "7 is not a date"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidInput, match=says):
        results.counts(lake=tmp_path, **arguments)


HEAVY = {"torch", "dagster", "psycopg", "nats", "sqlalchemy", "redis", "fastapi", "typer"}
SLOW = {"pandas", "pyarrow", "duckdb", "numpy", "pydantic", "fsspec"}

NEW_PROCESS = f"""
import sys
from antenna_orchestration import results
print(sorted({HEAVY | SLOW} & set(sys.modules)))
counts = results.counts(project="pond")
print(len(counts), len(results.image(0)))
print(sorted({HEAVY} & set(sys.modules)))
"""


@pytest.mark.long
def test_a_new_process_reads_without_anything_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(str(tmp_path / ".antenna/lake"))
    derive_all(lake, [write_job(lake, 1, CAPTURES, DETECTIONS)], KNOWN)
    monkeypatch.delenv("ANTENNA_HOME", raising=False)
    below = tmp_path / "notebooks"
    below.mkdir()
    ran = subprocess.run([sys.executable, "-c", NEW_PROCESS], cwd=below, capture_output=True, text=True, check=False)
    assert (ran.stdout.splitlines(), ran.stderr) == (["[]", "6 2", "[]"], "")
