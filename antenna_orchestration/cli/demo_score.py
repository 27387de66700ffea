"""How many of the drawn insects a job found: boxes compared with the truth that was written beside the photographs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from antenna_orchestration.domain.boxes import Box, overlap

if TYPE_CHECKING:
    from antenna_orchestration.domain.ids import JobId
    from antenna_orchestration.lake.store import Lake

MIN_OVERLAP: Final = 0.5
"""Intersection over union from which a box counts as that insect's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Insects drawn, those found, and detections that are none of them."""

    drawn: int
    found: int
    extra: int


def compare(lake: Lake, job: JobId, truth: Path) -> Score:
    """Compare a finished job's detections with the truth."""
    drawn: dict[str, Any] = json.loads(truth.read_text())
    captures = lake.read_table("captures", job, columns=["image_id", "url"]).to_pylist()
    names = {row["image_id"]: unquote(row["url"].rsplit("/", 1)[-1]) for row in captures}
    detected: dict[str, list[tuple[float, Box]]] = {}
    for row in lake.read_table("detections", job).to_pylist():
        box = (row["x1"], row["y1"], row["x2"], row["y2"])
        detected.setdefault(names[row["image_id"]], []).append((row["score"], box))
    total = found = boxes = 0
    for name, picture in drawn.items():
        true = [insect["box"] for insect in picture["insects"]]
        seen = [box for _, box in sorted(detected.get(name, []), key=lambda one: -one[0])]
        total += len(true)
        boxes += len(seen)
        found += matches(seen, true)
    return Score(drawn=total, found=found, extra=boxes - found)


def matches(boxes: Sequence[Box], true: Sequence[Box]) -> int:
    """How many true boxes are met, each box (best first) taking the one it overlaps most that is still free."""
    free = list(true)
    for box in boxes:
        best = max(free, key=lambda one: overlap(box, one), default=None)
        if best is not None and overlap(box, best) >= MIN_OVERLAP:
            free.remove(best)
    return len(true) - len(free)
