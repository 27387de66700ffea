"""The columns of the derived tables, and what each means for people: the UI, the pages and the exports show it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import pyarrow as pa

MOMENT: Final = pa.timestamp("us", tz="UTC")
LOCAL: Final = pa.timestamp("us")
"""A local time: the digits of a clock, without a zone."""

_KEYS: Final = {
    "project": (pa.string(), "project of the photograph"),
    "pipeline": (pa.string(), "slug of the pipeline; results of different pipelines are never added up"),
    "deployment": (pa.string(), "name of the deployment; null for photographs without one"),
    "night": (
        pa.date32(),
        "from noon to noon in local time, named for the day on which it begins; null: the time is not known",
    ),
}

_RECIPE: Final = {
    "recipe": (pa.string(), "hash of the post-processing recipe that made the row"),
}

OBSERVATIONS: Final = {
    **_KEYS,
    "observation_id": (pa.string(), "`<job>-<detection>`: the same for ever, and unique across jobs"),
    "job_id": (pa.int64(), "the job whose result it is"),
    "image_id": (pa.int64(), "the photograph"),
    "detection_id": (pa.string(), "the detection within the job"),
    "url": (pa.string(), "the photograph's location"),
    "stamp": (LOCAL, "the digits that the file's name or EXIF data have, as the camera wrote them"),
    "captured_at": (MOMENT, "when the photograph was taken; null where neither the file nor the deployment has a zone"),
    "local_time": (LOCAL, "the same in the deployment's zone; without a known zone the stamp, corrected by its shift"),
    "x1": (pa.float32(), "left edge in pixels of the image as decoded: origin top left, EXIF rotation not applied"),
    "y1": (pa.float32(), "upper edge"),
    "x2": (pa.float32(), "right edge"),
    "y2": (pa.float32(), "lower edge"),
    "width": (pa.int32(), "pixels of the photograph; null if not known"),
    "height": (pa.int32(), "likewise"),
    "length_mm": (pa.float32(), "longer side of the box; null without `pixels_per_mm` of the deployment"),
    "detector": (pa.string(), "key of the detector"),
    "detector_version": (pa.string(), "its version"),
    "detector_score": (pa.float32(), "its score; null if it gives none"),
    "classifier": (pa.string(), "key of the classifier that decided; null if none did"),
    "classifier_version": (pa.string(), "its version"),
    "label": (pa.string(), "the classifier's best class, as it came"),
    "label_score": (pa.float32(), "its probability, as it came"),
    "taxon": (pa.string(), "the determination: a scientific name, or the label where it matches none"),
    "rank": (pa.string(), "rank of the determination; null where the label matches no name"),
    "taxon_id": (pa.string(), "its GBIF key or URL; null if none is known"),
    "score": (pa.float32(), "how sure: the probability of the determination after all steps; null for a person's"),
    "source": (pa.string(), "how the determination came about, such as `classifier+mask+rollup_to_genus`, or `human`"),
    "kept_mass": (pa.float32(), "share of the scores that the species list kept; null without a list"),
    "flags": (pa.list_(pa.string()), "what is to be known of it, such as `too_small`, `at_edge`, `fixture`"),
    "counted": (pa.bool_(), "whether the counts include it; the recipe says which flags keep it out"),
    "track": (pa.string(), "the track that it belongs to; null without tracking"),
    "best_picture": (pa.bool_(), "whether it is the best picture of its taxon in this night"),
    "reviewer": (pa.string(), "who made the newest human determination; null if nobody did"),
    "reviewed_at": (MOMENT, "when"),
    **_RECIPE,
}

PHOTOGRAPHS: Final = {
    **_KEYS,
    "job_id": (pa.int64(), "the job whose result counts, the newest"),
    "image_id": (pa.int64(), "the photograph"),
    "url": (pa.string(), "the photograph's location"),
    "stamp": (LOCAL, "the digits that the file's name or EXIF data have, as the camera wrote them"),
    "captured_at": (MOMENT, "when it was taken; null where neither the file nor the deployment has a zone"),
    "local_time": (LOCAL, "the same in the deployment's zone; without a known zone the stamp, corrected by its shift"),
    "width": (pa.int32(), "pixels as decoded, EXIF rotation not applied; null if not known"),
    "height": (pa.int32(), "likewise"),
    "status": (pa.string(), "`done` or `failed`"),
    "reason": (pa.string(), "why it failed; null if it did not"),
    "detections": (pa.int32(), "detections on it, all of them; 0: processed, and nothing found; null: it failed"),
}

TRACKS: Final = {
    **_KEYS,
    "track": (pa.string(), "its id: the detection that it begins with"),
    "taxon": (pa.string(), "the determination of its detections; the commonest, if they differ"),
    "rank": (pa.string(), "rank of it"),
    "score": (pa.float32(), "the best score of its detections with that determination"),
    "detections": (pa.int32(), "how many detections it has"),
    "first": (LOCAL, "local time of the first"),
    "last": (LOCAL, "local time of the last"),
    "seconds": (pa.float64(), "from the first to the last"),
    "best_observation": (pa.string(), "the observation with the best score"),
    **_RECIPE,
}

NIGHTS: Final = {
    **_KEYS,
    "expected": (
        pa.int32(),
        "photographs from the first to the last at the median interval; null for fewer than 3 photographs",
    ),
    "found": (pa.int32(), "photographs that there are"),
    "done": (pa.int32(), "processed"),
    "failed": (pa.int32(), "failed"),
    "empty": (pa.int32(), "processed, and nothing found"),
    "detections": (pa.int32(), "detections, all of them"),
    "first": (LOCAL, "local time of the first photograph"),
    "last": (LOCAL, "local time of the last photograph"),
    "interval_seconds": (pa.float64(), "median time between photographs; null for fewer than 3"),
    "gaps": (pa.int32(), "pauses longer than 2.5 times the interval"),
    "longest_gap_seconds": (pa.float64(), "the longest pause; null for fewer than 2"),
    "sunset": (LOCAL, "local time of sunset; null without a place and a zone, or where the sun does not set"),
    "sunrise": (LOCAL, "local time of the sunrise after it"),
    "zone": (pa.string(), "the zone of the local times; null: none is known, they are the camera's stamps"),
    "sizes": (pa.int32(), "different sizes of photographs"),
    "same_time": (pa.int32(), "photographs that have the time of another one"),
    "tracked": (pa.bool_(), "whether tracks were made; not if the interval is too long for it"),
    **_RECIPE,
}

COUNTS: Final = {
    **_KEYS,
    "taxon": (pa.string(), "the determination; null: nothing is known of the detection"),
    "rank": (pa.string(), "its rank"),
    "taxon_id": (pa.string(), "its GBIF key or URL"),
    "detections": (pa.int32(), "detections: an animal that sits through ten photographs counts ten times"),
    "photographs": (pa.int32(), "photographs with at least one"),
    "max_n": (pa.int32(), "the most on one photograph: at least so many individuals were there"),
    "tracks": (pa.int32(), "tracks; null where none were made"),
    "first": (LOCAL, "local time of the first"),
    "last": (LOCAL, "local time of the last"),
    "median_time": (pa.time64("us"), "median local time of night of the detections, noon to noon"),
    "best_score": (pa.float32(), "the best score of the determination"),
    **_RECIPE,
}

SEASON: Final = {
    "taxa": (pa.int32(), "different determinations that the counts have, without detections of which nothing is known"),
    "dark": (pa.int32(), "photographs between sunset and sunrise; null where these are not known"),
    "work_seconds": (
        pa.float64(),
        "seconds of work on the photographs, as workers report them: decoding, inference and what follows; null if "
        "none reports any",
    ),
    "measured": (pa.int32(), "photographs whose seconds of work are known"),
    "result_seconds": (
        pa.float64(),
        "seconds in which results of the night came, without pauses of more than a minute; null if they came at once",
    ),
    "arrived_at": (MOMENT, "when the first result of the night was there"),
    "made_of": (pa.string(), "digest of all that the row was made of: another one where anything of it changed"),
}
"""What the nights of a season have beside the columns of `NIGHTS`."""

MEANINGS: Final = {
    table: {name: meaning for name, (_, meaning) in columns.items()}
    for table, columns in (
        ("observations", OBSERVATIONS),
        ("tracks", TRACKS),
        ("nights", NIGHTS),
        ("counts", COUNTS),
        ("photographs", PHOTOGRAPHS),
    )
}
"""Of each table, its columns in order with their meanings."""

SCHEMAS: Final = {
    table: pa.schema([pa.field(name, kind) for name, (kind, _) in columns.items()])
    for table, columns in (
        ("observations", OBSERVATIONS),
        ("tracks", TRACKS),
        ("nights", NIGHTS),
        ("counts", COUNTS),
        ("photographs", PHOTOGRAPHS),
    )
}
"""Of each table, its schema."""

SEASON_NIGHTS: Final = pa.schema(
    [pa.field(name, kind) for name, (kind, _) in (NIGHTS | SEASON).items()],
)
"""The schema of the nights of a season."""

FURTHER: Final = {
    "observations": {
        "mask": (
            pa.string(),
            'which pixels belong to it: COCO\'s run-length encoding as JSON, `{"size": [height, width], "counts": …}`, '
            "which `pycocotools.mask.decode` takes",
        ),
        "rotated_cx": (pa.float32(), "the box as the model turned it: its centre, from the left edge in pixels"),
        "rotated_cy": (pa.float32(), "likewise, from the upper edge"),
        "rotated_width": (pa.float32(), "its sides before it is turned about the centre"),
        "rotated_height": (pa.float32(), "likewise"),
        "rotated_angle": (pa.float32(), "degrees clockwise, as the image is seen"),
        "attributes": (pa.string(), 'what else the pipeline says of it, as JSON, such as `{"wing_length_mm": 17.5}`'),
    },
    "photographs": {
        "labels": (
            pa.list_(pa.string()),
            "what the photograph as a whole shows, by the last step of the pipeline, best first; these are not "
            "detections, and nothing counts them",
        ),
        "label_scores": (pa.list_(pa.float32()), "their scores, in the same order"),
        "label_algorithms": (pa.list_(pa.string()), "key and version of what said each"),
        "attributes": (pa.string(), "what else the pipeline says of the photograph as a whole, as JSON"),
    },
}
"""Columns that a table has, after all others, only if any of its rows has a value there."""


def schema(table: str, there: Collection[str]) -> pa.Schema:
    """The schema of a table that has those of its further columns that are there."""
    further = {name: kind for name, (kind, _) in FURTHER.get(table, {}).items() if name in there}
    return pa.schema([*SCHEMAS[table], *(pa.field(name, kind) for name, kind in further.items())])


DETECTION: Final = (
    # As the results have it.
    *("job_id", "image_id", "detection_id", "captured_at", "local_time", "width", "height"),
    *("x1", "y1", "x2", "y2", "detector", "detector_version", "detector_score"),
    *("classifier", "classifier_version", "label", "label_score"),
    # What steps change: `flags` is a tuple of texts in each row, the others are None where they are not known.
    *("taxon", "rank", "score", "source", "kept_mass", "flags", "track", "best_picture"),
)
"""The columns of `Night.detections`, beside those of `FURTHER` that are there. At first `taxon`, `rank` and `score` are
those of the label, `flags` is empty, and `source` is `classifier`, or `detector` where there is no classification."""
