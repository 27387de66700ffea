"""A night at the pond of which a pipeline said more than boxes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from antenna_orchestration.domain import masks
from antenna_orchestration.domain.messages import Mask, RotatedBox
from tests.exports.materials import night_at_the_pond

WIDTH, HEIGHT = 400, 300
"""As `nights_by_hand.capture` has them."""

ROTATED = RotatedBox(100.0, 50.0, 60.0, 20.0, 30.0)


def ring() -> Mask:
    """A ring of a moth's size with a leg beside it: two parts, one of them with a hole."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    away = np.hypot(x - 60, y - 40)
    pixels = (away <= 20) & (away > 5)
    pixels[70:74, 58:62] = True
    return masks.of_array(pixels)


def as_column(mask: Mask) -> str:
    """As the lake has it."""
    return json.dumps({"size": [mask.height, mask.width], "counts": mask.counts})


def rotated_columns(rotated: RotatedBox) -> dict[str, float]:
    return {f"rotated_{name}": value for name, value in msgspec.structs.asdict(rotated).items()}


def more_at_the_pond() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same night: a mask and attributes, a rotated box, and a plain box; and labels of two photographs.

    The third photograph, on which nothing was found, is said to show rain.
    """
    captures, detections = night_at_the_pond()
    mask = ring()
    box = {"x1": 40.0, "y1": 20.0, "x2": 80.0, "y2": 74.0}
    detections[0] |= {**box, "mask": as_column(mask), "attributes": '{"sex":"f","=wing":17.5}'}
    corners = np.array(masks.corners_of(ROTATED), np.float32)
    around = dict(zip(("x1", "y1", "x2", "y2"), [*corners.min(0).tolist(), *corners.max(0).tolist()], strict=True))
    detections[2] |= {**around, **rotated_columns(ROTATED)}
    captures[0]["said"] = [
        {"label": "empty", "score": 0.125, "terminal": False},
        {"label": "rain", "score": 0.5},
        {"label": "Noctua pronuba", "score": 0.75},
    ]
    captures[0]["attributes"] = '{"blur":0.25}'
    captures[2]["said"] = [{"label": "rain", "score": None}]
    return captures, detections
