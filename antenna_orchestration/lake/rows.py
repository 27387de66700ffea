"""Results into columns: the rows of a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from antenna_orchestration.domain.messages import Attribute, Classification, Detection, Mask, Result
from antenna_orchestration.domain.times import with_zone
from antenna_orchestration.lake import arrow, schemas

Tables = dict[str, pa.Table]
"""Tables by their names."""


def tables_of(results: Sequence[Result]) -> Tables:
    """The detections and classifications of results, in their order, and those of the further tables that have rows.

    `detection_id` is `<image>-<n>`, where n counts from 0 in the worker's order: the same result always gives the same
    ids. Built column by column; one dict per row would cost ten times as much.
    """
    now = datetime.now(UTC)
    detections = [detection for result in results for detection in result.detections]
    classifications = [one for detection in detections for one in detection.classifications]
    # The index of each detection's result, and of each classification's detection.
    owners = _owners([result.detections for result in results])
    c_owners = _owners([detection.classifications for detection in detections])
    images = arrow.column([result.image for result in results], pa.int64()).take(owners)
    times = arrow.column([with_zone(result.created_at or now) for result in results], schemas.TIME).take(owners)
    names = [f"{result.image}-{number}" for result in results for number in range(len(result.detections))]
    ids = arrow.column(names, pa.string())
    corners = np.fromiter(chain.from_iterable(one.box for one in detections), np.float32, 4 * len(detections))
    tables = {
        "detections": arrow.table(
            schemas.OF_PARTS["detections"],
            [
                images,
                ids,
                *corners.reshape(-1, 4).T,
                [one.score for one in detections],
                *_algorithms(detections),
                arrow.column([result.worker for result in results], pa.string()).take(owners),
                times,
                [one.inference_time for one in detections],
            ],
            nulls=["score", "inference_time"],
        ),
        "classifications": arrow.table(
            schemas.OF_PARTS["classifications"],
            [images.take(c_owners), ids.take(c_owners), *_said(classifications, times.take(c_owners))],
            nulls=_MAY_BE_NULL,
        ),
        "detection_details": _details(detections, images, ids),
        "image_labels": _labels(results, now),
        "image_attributes": _attributes(results),
    }
    return {name: table for name, table in tables.items() if table.num_rows or name not in schemas.FURTHER}


def has_rows(result: Result) -> bool:
    """Whether any table has rows of it."""
    return bool(result.detections or result.labels or result.attributes)


def of_job(project: str, name: str, pipeline: str, version: str | None) -> dict[str, str | None]:
    """What each row of a job's final tables says of the job: the columns `schemas.OF_JOB`."""
    return {"project": project, "job_name": name, "pipeline": pipeline, "pipeline_version": version}


_MAY_BE_NULL = ("score", "scores", "inference_time")
"""Columns of a statement that it need not have."""


def _said(statements: Sequence[Classification], times: pa.Array) -> list[Any]:
    """The columns of statements about detections or images."""
    return [
        *_algorithms(statements),
        [one.label for one in statements],
        [one.score for one in statements],
        [one.top_labels for one in statements],
        [one.top_scores for one in statements],
        [one.terminal for one in statements],
        times,
        [one.scores for one in statements],
        [one.inference_time for one in statements],
    ]


def _details(detections: Sequence[Detection], images: pa.Array, ids: pa.Array) -> pa.Table:
    """What detections have beyond their boxes, of those that have any."""
    rows = [row for row, one in enumerate(detections) if one.mask or one.rotated or one.attributes]
    found = [detections[row] for row in rows]
    at = arrow.column(rows, pa.int64())
    rotated = [msgspec.structs.astuple(one.rotated) if one.rotated else (None,) * 5 for one in found]
    return arrow.table(
        schemas.OF_PARTS["detection_details"],
        [
            images.take(at),
            ids.take(at),
            [_as_json(one.mask) for one in found],
            *([one[number] for one in rotated] for number in range(5)),
            [_as_json(one.attributes) for one in found],
        ],
        nulls=schemas.FURTHER["detection_details"].names,
    )


def _labels(results: Sequence[Result], now: datetime) -> pa.Table:
    """What images as a whole show."""
    given = [result.labels or [] for result in results]
    owners = _owners(given)
    times = arrow.column([with_zone(result.created_at or now) for result in results], schemas.TIME)
    labels = list(chain.from_iterable(given))
    images = arrow.column([result.image for result in results], pa.int64())
    return arrow.table(
        schemas.OF_PARTS["image_labels"],
        [images.take(owners), *_said(labels, times.take(owners))],
        nulls=_MAY_BE_NULL,
    )


def _attributes(results: Sequence[Result]) -> pa.Table:
    found = [result for result in results if result.attributes]
    return arrow.table(
        schemas.OF_PARTS["image_attributes"],
        [[result.image for result in found], [_as_json(result.attributes) for result in found]],
        nulls=["attributes"],
    )


def _as_json(value: Mapping[str, Attribute] | Mask | msgspec.UnsetType) -> str | None:
    """As the tables have it; NaN and infinities, which JSON lacks, are null."""
    if not value:
        return None
    data = {"size": (value.height, value.width), "counts": value.counts} if isinstance(value, Mask) else value
    return msgspec.json.encode(data).decode()


def _owners(owned: Sequence[Sized]) -> pa.Array:
    """For each owned thing, the index of its owner."""
    return arrow.column(np.repeat(np.arange(len(owned)), [len(things) for things in owned]), pa.int64())


def _algorithms(rows: Sequence[Detection] | Sequence[Classification]) -> tuple[list[str], list[str]]:
    return [row.algorithm.key for row in rows], [row.algorithm.version for row in rows]
