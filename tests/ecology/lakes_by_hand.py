"""Lakes with the tables of jobs that tests write down, and what is derived of them without any server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from antenna_orchestration.answers import derive
from antenna_orchestration.answers.knowledge import Knowledge
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import columns
from antenna_orchestration.ecology.model import Classes
from antenna_orchestration.lake import arrow, derived, paths, schemas
from antenna_orchestration.lake.derived import Source
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from tests.ecology.nights_by_hand import CLASSES

FINISHED = datetime(2026, 7, 1, tzinfo=UTC)
PROJECT = Scope(project="pond")


def write_job(
    lake: Lake,
    job: int,
    captures: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    *,
    finished_at: datetime = FINISHED,
    deployment: str | None = "by the pond",
    lacks: Iterable[str] = (),
) -> Source:
    """Write the final tables of a job from rows as `nights_by_hand` makes them; without the columns that it `lacks`."""
    images = {one["image_id"] for one in captures}
    found = [one for one in detections if one["image_id"] in images]
    rows = {
        "captures": [
            {
                **one,
                "deployment": one.get("deployment", deployment),
                # Of a photograph whose file says no offset, the digits as if they were UTC.
                "captured_at": one["stamp"] and one["stamp"].replace(tzinfo=UTC),
                "stamp_offset": None,
                "finished_at": finished_at,
                "detections": sum(other["image_id"] == one["image_id"] for other in found),
            }
            for one in captures
        ],
        "detections": [
            {
                **one,
                "score": one["detector_score"],
                "algorithm": one["detector"],
                "algorithm_version": one["detector_version"],
            }
            for one in found
        ],
        "classifications": [
            {
                **one,
                "score": one["label_score"],
                "algorithm": one["classifier"],
                "algorithm_version": one["classifier_version"],
                "terminal": True,
                "created_at": FINISHED,
            }
            for one in found
            if one["classifier"]
        ],
        "failed_images": [
            {**one, "attempts": 5, "failed_at": FINISHED} for one in captures if one["status"] == "failed"
        ],
    }
    for name, of_table in rows.items():
        schema = pa.schema([one for one in schemas.TABLES[name] if one.name not in set(lacks)])
        table = pa.Table.from_pylist(of_table, schema=schema)
        if set(lacks):
            path = f"{name}/job_id={job}/part-g1-00000.parquet"
            lake.write_file(path, lambda sink, table=table: pa.parquet.write_table(table, sink))
        else:
            lake.write_table(name, JobId(job), Generation(1), [arrow.fitted(table, schemas.TABLES[name])])
    for name, of_table in further_rows(captures, found).items():
        if of_table:
            table = pa.Table.from_pylist(of_table, schema=schemas.FURTHER[name])
            lake.write_table(name, JobId(job), Generation(1), [table])
    return Source(JobId(job), Generation(1), "moths", len(captures))


def further_rows(
    captures: Iterable[Mapping[str, Any]], detections: Iterable[Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """What is said beyond boxes: by detections in columns of their details, by captures as `said` and `attributes`."""
    details = schemas.OF_PARTS["detection_details"].names[2:]
    return {
        "detection_details": [dict(one) for one in detections if any(one.get(name) is not None for name in details)],
        "image_labels": [
            {"image_id": one["image_id"], "algorithm": "sorter", "algorithm_version": "2", "terminal": True, **said}
            for one in captures
            for said in one.get("said", ())
        ],
        "image_attributes": [dict(one) for one in captures if one.get("attributes")],
    }


def derive_all(
    lake: Lake,
    sources: Sequence[Source],
    known: Knowledge | None = None,
    *,
    scope: Scope = PROJECT,
    classes: Mapping[AlgorithmRef, Classes] = CLASSES,
) -> dict[str, pa.Table]:
    """Derive from these jobs, and read what was written."""
    derive.write_tables(lake, scope, sources, known or Knowledge(project="pond"), lambda _: classes)
    return {table: derived.read(lake, scope, table) for table in paths.DERIVED_TABLES}


def without_jobs(tables: Mapping[str, pa.Table]) -> dict[str, list[dict[str, Any]]]:
    """The rows without what names the job that a result is from."""
    own = {"job_id", "observation_id", "track", "best_observation"}
    return {
        name: tables[name].select([one for one in columns.SCHEMAS[name].names if one not in own]).to_pylist()
        for name in paths.DERIVED_TABLES
    }
