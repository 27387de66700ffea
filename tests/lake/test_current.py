"""B4: what a person counts does not depend on how often an image was processed, nor on whether its trap has a name."""

from __future__ import annotations

import glob
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.lake import merged, rows, schemas
from antenna_orchestration.lake.store import Lake

NIGHT = datetime(2026, 6, 12, 22, tzinfo=UTC)

OLD = ("finished_at", "night", *(name for name, _ in schemas.OF_JOB))
"""Columns that earlier versions did not write."""

Images = dict[int, tuple[str, int]]
"""Of each image, its status and how many detections it has."""


def write_job(
    lake: Lake,
    job: int,
    pipeline: str | None,
    images: Images,
    *,
    hour: int | None = None,
    unnamed: int = 0,
    unscored: int = 0,
    project: str = "traps",
) -> None:
    """The final tables of a job that ended in that hour; one without a pipeline is of an earlier version.

    The detections of the image `unnamed` have no classification, those of `unscored` no score.
    """
    of_job: dict[str, Any] = dict(rows.of_job(project, f"job {job}", pipeline or "", "1"))
    captures = [
        {
            "image_id": image, "url": f"file:///{image}.jpg", "deployment": "pond" if image % 2 else None,
            "captured_at": NIGHT, "status": status, "detections": count, "night": NIGHT.date(),
            "finished_at": NIGHT + timedelta(hours=job if hour is None else hour), **of_job,
        }
        for image, (status, count) in images.items()
    ]  # fmt: skip
    detections = [
        {"image_id": image, "detection_id": f"{image}-{n}", "score": None if image == unscored else 0.5, **of_job}
        for image, (_, count) in images.items()
        for n in range(count)
    ]
    steps = [
        {"image_id": one["image_id"], "detection_id": one["detection_id"], "label": label, "terminal": label == "comes"}
        | {"created_at": NIGHT}
        | of_job
        for one in detections
        if one["image_id"] != unnamed
        for label in ("moth", "comes")
    ]
    for name, made in (("captures", captures), ("detections", detections), ("classifications", steps)):
        table = pa.Table.from_pylist(made, schema=schemas.TABLES[name])
        lake.write_table(name, JobId(job), Generation(1), [table])
        if pipeline is None:
            [path] = (Path(lake.uri) / name / f"job_id={job}").iterdir()
            kept = [column for column in table.column_names if column not in OLD]
            pq.write_table(table.select(kept), path)


def views(lake: Lake) -> duckdb.DuckDBPyConnection:
    lake.write_current()
    connection = duckdb.connect()
    connection.execute((Path(lake.uri) / "current.sql").read_text())
    return connection


def current(lake: Lake) -> list[tuple[Any, ...]]:
    """The image, pipeline, job and status of each row, after a check that the other views fit to them."""
    connection = views(lake)
    [counts] = connection.sql(
        "SELECT (SELECT sum(detections) FROM current_captures), (SELECT count(*) FROM current_detections), "
        "(SELECT count(*) FROM current_found), (SELECT count(*) FROM current_found WHERE label = 'comes'), "
        "(SELECT count(*) // 2 FROM current_classifications)"
    ).fetchall()
    assert len({int(count or 0) for count in counts}) == 1
    query = "SELECT image_id, pipeline, job_id, status FROM current_captures ORDER BY ALL"
    return connection.sql(query).fetchall()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    # A path that is neither text of SQL nor a pattern as it is.
    return Lake(str(tmp_path / "it's [my] lake"))


def test_the_newest_finished_result_of_each_pipeline_counts(lake: Lake) -> None:
    """B4: an image that was processed three times counts once for each pipeline; a failure hides no result."""
    write_job(lake, 1, "a", {1: ("done", 3), 2: ("done", 1), 3: ("failed", 0), 4: ("failed", 0)})
    write_job(lake, 2, "a", {1: ("done", 2), 2: ("failed", 0), 3: ("done", 5), 4: ("failed", 0)})
    write_job(lake, 3, "b", {1: ("done", 4)})
    # Submitted later, and done earlier.
    write_job(lake, 4, "a", {1: ("done", 9)}, hour=0)
    assert current(lake) == [
        (1, "a", 2, "done"),
        (1, "b", 3, "done"),
        (2, "a", 1, "done"),
        (3, "a", 2, "done"),
        (4, "a", 2, "failed"),
    ]
    per_place = "SELECT deployment, count(*) FROM current_found GROUP BY deployment ORDER BY ALL"
    assert views(lake).sql(per_place).fetchall() == [("pond", 2 + 4 + 5), (None, 1)]


def test_jobs_of_an_earlier_version_are_counted_until_redone(lake: Lake) -> None:
    """B4: files without the columns for job and pipeline are read with the others, whichever comes first."""
    write_job(lake, 1, None, {1: ("done", 3), 2: ("done", 1), 3: ("failed", 0), 5: ("done", 1)})
    write_job(lake, 2, None, {1: ("done", 2)})
    assert current(lake) == [(1, None, 2, "done"), (2, None, 1, "done"), (3, None, 1, "failed"), (5, None, 1, "done")]
    write_job(lake, 10, "a", {1: ("done", 1), 2: ("failed", 0), 3: ("failed", 0)})
    assert current(lake) == [
        (1, "a", 10, "done"),
        (2, "a", 10, "failed"),
        (2, None, 1, "done"),
        (3, "a", 10, "failed"),
        (5, None, 1, "done"),
    ]


@pytest.mark.parametrize("unscored", [1, 2])
def test_a_score_that_was_not_given_is_null_for_every_reader(lake: Lake, unscored: int) -> None:
    """Also where a whole file has none, and in the merged tables."""
    write_job(lake, 1, "a", {1: ("done", 1)}, unscored=unscored)
    write_job(lake, 2, "a", {2: ("done", 2)}, unscored=unscored)
    jobs = {JobId(job): Generation(1) for job in (1, 2)}
    of_job = {job: rows.of_job("traps", f"job {job}", "a", "1") for job in jobs}
    for name in merged.TABLES:
        if name != "failed_images":
            merged.MergedTables(lake).bring_up_to_date(name, merged.MergedFile("jobs-000000000.parquet", jobs, of_job))
    connection = views(lake)
    expected = sorted([(1, None if unscored == 1 else 0.5), *[(2, None if unscored == 2 else 0.5)] * 2])
    for folder in (lake.uri, f"{lake.uri}/merged"):
        connection.execute(f"SET VARIABLE lake = '{glob.escape(folder).replace(chr(39), chr(39) * 2)}'")
        for view in ("all_detections", "current_detections", "current_found"):
            assert sorted(connection.sql(f"SELECT image_id, score FROM {view}").fetchall()) == expected, (folder, view)


def test_a_lake_that_was_moved_is_named_first(lake: Lake, tmp_path: Path) -> None:
    """B4"""
    write_job(lake, 1, "a", {1: ("done", 3)})
    lake.write_current()
    moved = Path(lake.uri).rename(tmp_path / "moved")
    connection = duckdb.connect()
    connection.execute(f"SET VARIABLE lake = '{moved}'")
    connection.execute((moved / "current.sql").read_text())
    assert connection.sql("SELECT count(*) FROM current_found").fetchall() == [(3,)]
