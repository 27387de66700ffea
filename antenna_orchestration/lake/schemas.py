"""The columns of every table of the lake. `job_id` is only in the path.

New columns come last in their group; a file of an earlier version lacks them, and `arrow.fitted` reads it with nulls.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

TIME: Final = pa.timestamp("us", tz="UTC")

STAMP: Final = pa.timestamp("us")
"""The digits of a clock, without a zone."""

OF_JOB: Final = (
    ("project", pa.string()),
    ("job_name", pa.string()),
    ("pipeline", pa.string()),
    # Of the generation in which the image was processed; null for jobs from before this was recorded.
    ("pipeline_version", pa.string()),
)
"""What each row of a final table says of the job that it is from. They are constant in a file, but for the
version in a job that was retried with another one, and take no space."""

MANIFEST: Final = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        ("ordinal", pa.int64()),
        ("url", pa.string()),
        ("deployment", pa.string()),
        ("captured_at", TIME),
        # See `ecology/places.py`. The offset is in minutes east of UTC.
        ("stamp", STAMP),
        ("stamp_offset", pa.int16()),
        *OF_JOB,
    ]
)

CAPTURES: Final = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        ("url", pa.string()),
        ("deployment", pa.string()),
        ("captured_at", TIME),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("status", pa.string()),
        ("detections", pa.int32()),
        ("seconds", pa.float32()),
        # When the collector committed the outcome: of several jobs' results of an image, the latest is the newest.
        ("finished_at", TIME),
        # From noon to noon in the deployment's time zone, or the job's, see `domain/nights.py`.
        ("night", pa.date32()),
        ("stamp", STAMP),
        ("stamp_offset", pa.int16()),
        *OF_JOB,
    ]
)

DETECTIONS: Final = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("detection_id", pa.string(), nullable=False),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("score", pa.float32()),
        ("algorithm", pa.string()),
        ("algorithm_version", pa.string()),
        ("worker", pa.string()),
        ("created_at", TIME),
        ("inference_time", pa.float32()),
        *OF_JOB,
    ]
)

CLASSIFICATIONS: Final = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("detection_id", pa.string(), nullable=False),
        ("algorithm", pa.string()),
        ("algorithm_version", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("top_labels", pa.list_(pa.string())),
        ("top_scores", pa.list_(pa.float32())),
        ("terminal", pa.bool_()),
        ("created_at", TIME),
        # The whole softmax vector, little-endian float16 in the category map's order; null where it is not kept.
        ("scores", pa.binary()),
        ("inference_time", pa.float32()),
        *OF_JOB,
    ]
)

FAILED_IMAGES: Final = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        ("url", pa.string()),
        ("reason", pa.string()),
        ("attempts", pa.int32()),
        ("failed_at", TIME),
        *OF_JOB,
    ]
)

TABLES: Final = {
    "manifest": MANIFEST,
    "captures": CAPTURES,
    "detections": DETECTIONS,
    "classifications": CLASSIFICATIONS,
    "failed_images": FAILED_IMAGES,
}

DETECTION_DETAILS: Final = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("detection_id", pa.string(), nullable=False),
        # COCO's run-length encoding as JSON: {"size": [height, width], "counts": "…"}.
        ("mask", pa.string()),
        # See `domain/messages.py:RotatedBox`.
        ("rotated_cx", pa.float32()),
        ("rotated_cy", pa.float32()),
        ("rotated_width", pa.float32()),
        ("rotated_height", pa.float32()),
        ("rotated_angle", pa.float32()),
        # A JSON object.
        ("attributes", pa.string()),
        *OF_JOB,
    ]
)

IMAGE_LABELS: Final = pa.schema([field for field in CLASSIFICATIONS if field.name != "detection_id"])

IMAGE_ATTRIBUTES: Final = pa.schema(
    [pa.field("image_id", pa.int64(), nullable=False), ("attributes", pa.string()), *OF_JOB]
)

FURTHER: Final = {
    "detection_details": DETECTION_DETAILS,
    "image_labels": IMAGE_LABELS,
    "image_attributes": IMAGE_ATTRIBUTES,
}
"""Tables that a job has only if its pipeline says more than boxes and what is in them. They are tables of their own
because Polars, and DuckDB for many queries, refuse a folder whose files have different columns: so a lake with
jobs of both kinds is read as before."""

ALL: Final = {**TABLES, **FURTHER}

OF_PARTS: Final = {
    name: pa.schema(list(ALL[name])[: -len(OF_JOB)]) for name in ("detections", "classifications", *FURTHER)
}
"""The tables of a part: it belongs to one job, which the final tables name. It has the `FURTHER` ones only if it has
rows of them."""
