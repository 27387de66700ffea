"""Results into columns: the rows of a part."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from datetime import UTC, datetime
from itertools import chain

import numpy as np
import pyarrow as pa

from antenna_orchestration.domain.messages import Classification, Detection, Result
from antenna_orchestration.domain.times import with_zone
from antenna_orchestration.lake import arrow, schemas

Tables = dict[str, pa.Table]
"""Tables by their names."""


def tables_of(results: Sequence[Result]) -> Tables:
    """The detections and classifications of results, in their order.

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
    return {
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
            [
                images.take(c_owners),
                ids.take(c_owners),
                *_algorithms(classifications),
                [one.label for one in classifications],
                [one.score for one in classifications],
                [one.top_labels for one in classifications],
                [one.top_scores for one in classifications],
                [one.terminal for one in classifications],
                times.take(c_owners),
                [one.scores for one in classifications],
                [one.inference_time for one in classifications],
            ],
            nulls=["score", "scores", "inference_time"],
        ),
    }


def of_job(project: str, name: str, pipeline: str, version: str | None) -> dict[str, str | None]:
    """What each row of a job's final tables says of the job: the columns `schemas.OF_JOB`."""
    return {"project": project, "job_name": name, "pipeline": pipeline, "pipeline_version": version}


def _owners(owned: Sequence[Sized]) -> pa.Array:
    """For each owned thing, the index of its owner."""
    return arrow.column(np.repeat(np.arange(len(owned)), [len(things) for things in owned]), pa.int64())


def _algorithms(rows: Sequence[Detection] | Sequence[Classification]) -> tuple[list[str], list[str]]:
    return [row.algorithm.key for row in rows], [row.algorithm.version for row in rows]
