"""The pictures of a report: of each taxon a few crops, and the photographs that these were cut from.

Pictures take most of the time of a report, so they have a limit of time and of size. A photograph that cannot be read
costs its own pictures only, and the report says why.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.exports.boxes import shape_of
from antenna_orchestration.exports.material import Box, Pictures
from antenna_orchestration.exports.report.facts import Pick

MOST_TAXA: Final = 12
"""Taxa with pictures: those with the most detections."""

CROP: Final = 220
"""Pixels of a crop's longer side."""

MARGIN: Final = 0.15
WIDTH: Final = 1_000
"""Pixels of a photograph."""

MOST_BYTES: Final = 12_000_000
"""Of all pictures together: what a browser opens at once, and people can mail."""

MOST_BOXES: Final = 400
"""Boxes that are drawn on one photograph."""

_THREADS: Final = 4
"""Photographs at a time; what decodes them has a limit of its own."""

TOO_LATE: Final = "the pictures took longer than they may"
TOO_LARGE: Final = "the report has as many pictures as one file should"


class Shot(NamedTuple):
    """A crop, or why there is none; `image` is its photograph."""

    pick: Pick
    image: int
    jpeg: bytes | None
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """What could be shown."""

    shots: Sequence[Shot]
    # Photographs with their boxes, by id.
    photographs: Mapping[int, bytes]
    # Of each, what is on it.
    boxes: Mapping[int, Sequence[Mapping[str, Any]]]


class _Made(NamedTuple):
    crops: Sequence[bytes]
    photograph: bytes | None
    why: str


def made(
    pictures: Pictures,
    picks: Sequence[Pick],
    boxes: Mapping[int, Sequence[Mapping[str, Any]]],
    *,
    patience: float,
) -> Gallery:
    """The crops, and the photographs with all boxes. No picture is begun after `patience` seconds. Blocks."""
    until = time.monotonic() + patience
    by_image: dict[int, list[Pick]] = {}
    for pick in picks:
        by_image.setdefault(pick.row["image_id"], []).append(pick)

    def make(image: int) -> _Made:
        own = by_image[image]
        url = own[0].row["url"]
        try:
            if time.monotonic() > until:
                return _Made((), None, TOO_LATE)
            crops = pictures.crops(url, [_box(one.row, "") for one in own], margin=MARGIN, longest=CROP)
            if time.monotonic() > until:
                return _Made(crops, None, TOO_LATE)
            on_it = [_box(one, one["taxon"] or "") for one in boxes.get(image, ())[:MOST_BOXES]]
            return _Made(crops, pictures.drawn(url, on_it, width=WIDTH), "")
        except errors.ImageError as error:
            return _Made((), None, str(error))

    with ThreadPoolExecutor(_THREADS, "report-picture") as threads:
        by_id = dict(zip(by_image, threads.map(make, by_image), strict=True))
    left = MOST_BYTES
    shots: list[Shot] = []
    photographs: dict[int, bytes] = {}
    for pick in picks:
        image = pick.row["image_id"]
        found = by_id[image]
        at = by_image[image].index(pick)
        jpeg = found.crops[at] if at < len(found.crops) else None
        needed = len(jpeg or b"") + (len(found.photograph or b"") if image not in photographs else 0)
        if needed > left:
            shots.append(Shot(pick, image, None, TOO_LARGE))
            continue
        left -= needed
        if jpeg is not None and found.photograph is not None:
            photographs[image] = found.photograph
        shots.append(Shot(pick, image, jpeg, found.why))
    return Gallery(shots=shots, photographs=photographs, boxes=boxes)


def _box(row: Mapping[str, Any], label: str) -> Box:
    score = row["score"]
    return Box(row["x1"], row["y1"], row["x2"], row["y2"], label, score, **shape_of(row))
