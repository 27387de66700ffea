"""The columns of every table of the lake. `job_id` is only in the path."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

TIME: Final = pa.timestamp("us", tz="UTC")

MANIFEST: Final = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        ("ordinal", pa.int64()),
        ("url", pa.string()),
        ("deployment", pa.string()),
        ("captured_at", TIME),
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
        # The whole softmax vector, little-endian float16 in the category map's order; null unless the job asked for it.
        ("scores", pa.binary()),
        ("inference_time", pa.float32()),
    ]
)

FAILED_IMAGES: Final = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        ("url", pa.string()),
        ("reason", pa.string()),
        ("attempts", pa.int32()),
        ("failed_at", TIME),
    ]
)

TABLES: Final = {
    "manifest": MANIFEST,
    "captures": CAPTURES,
    "detections": DETECTIONS,
    "classifications": CLASSIFICATIONS,
    "failed_images": FAILED_IMAGES,
}
