"""Results into columns: the rows of a part."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from antenna_orchestration.domain.messages import Result
from antenna_orchestration.lake import schemas


def tables_of(results: Sequence[Result]) -> dict[str, pa.Table]:
    """The detections and classifications of results, in their order.

    `detection_id` is `<image>-<n>`, n counting from 0 in the worker's order: the same result gives the same ids again.
    Columns are built flat, list by list; a dict a row would cost ten times as much.
    """
    now = datetime.now(UTC)
    images: list[int] = []
    ids: list[str] = []
    boxes: list[tuple[float, float, float, float]] = []
    scores: list[float] = []
    keys: list[str] = []
    versions: list[str] = []
    workers: list[str] = []
    times: list[datetime] = []
    c_images: list[int] = []
    c_ids: list[str] = []
    c_keys: list[str] = []
    c_versions: list[str] = []
    c_labels: list[str] = []
    c_scores: list[float] = []
    c_top_labels: list[list[str]] = []
    c_top_scores: list[list[float]] = []
    c_terminal: list[bool] = []
    c_times: list[datetime] = []
    c_vectors: list[bytes | None] = []
    for result in results:
        at = result.created_at or now
        for number, detection in enumerate(result.detections):
            name = f"{result.image}-{number}"
            images.append(result.image)
            ids.append(name)
            boxes.append(detection.box)
            scores.append(detection.score)
            keys.append(detection.algorithm.key)
            versions.append(detection.algorithm.version)
            workers.append(result.worker)
            times.append(at)
            for classification in detection.classifications:
                c_images.append(result.image)
                c_ids.append(name)
                c_keys.append(classification.algorithm.key)
                c_versions.append(classification.algorithm.version)
                c_labels.append(classification.label)
                c_scores.append(classification.score)
                c_top_labels.append(classification.top_labels)
                c_top_scores.append(classification.top_scores)
                c_terminal.append(classification.terminal)
                c_times.append(at)
                c_vectors.append(classification.scores)
    corners = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    detections = pa.table(
        [
            images,
            ids,
            *(pa.array(np.ascontiguousarray(corners[:, corner])) for corner in range(4)),
            pa.array(scores, pa.float32()),
            keys,
            versions,
            workers,
            pa.array(times, schemas.DETECTIONS.field("created_at").type),
        ],
        schema=schemas.DETECTIONS,
    )
    columns = [c_images, c_ids, c_keys, c_versions, c_labels, c_scores, c_top_labels, c_top_scores, c_terminal, c_times,
               c_vectors]  # fmt: skip
    classifications = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schemas.CLASSIFICATIONS, strict=True)],
        schema=schemas.CLASSIFICATIONS,
    )
    return {"detections": detections, "classifications": classifications}
