"""Boxes in an image, compared."""

from __future__ import annotations

from collections.abc import Sequence

Box = Sequence[float]
"""x1, y1, x2, y2 in pixels of one image, from its upper left corner."""


def overlap(one: Box, other: Box) -> float:
    """Intersection over union (IoU), 0 to 1; 0 for boxes that touch or have no area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(shared / (areas - shared))
