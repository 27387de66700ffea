"""Turns photographs as their EXIF data say, and what was found in them back.

A turn is a number of EXIF, 1 to 8; 1 is none. Boxes are n x 4: x1, y1, x2, y2 in pixels.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SWAPPED: Final = frozenset({5, 6, 7, 8})
"""Turns that swap width and height."""

_BACK: Final = {6: 8, 8: 6}
"""The turn that undoes a turn; all others undo themselves."""


def turned(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """The picture (height x width, or with channels behind) as people see it; a view."""
    swapped = pixels.swapaxes(0, 1) if turn in _SWAPPED else pixels
    flip_rows, flip_columns = _flips(turn)
    return swapped[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def turned_back(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """The reverse of `turned`."""
    return turned(pixels, _BACK.get(turn, turn))


def boxes_turned(boxes: NDArray[Any], turn: int, width: int, height: int) -> NDArray[Any]:
    """Boxes of a photograph of `width` x `height` pixels, in pixels of the turned one."""
    if turn in _SWAPPED:
        boxes, width, height = boxes[:, [1, 0, 3, 2]], height, width
    flip_rows, flip_columns = _flips(turn)
    if flip_columns:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    if flip_rows:
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)
    return boxes


def boxes_back(boxes: NDArray[Any], turn: int, width: int, height: int) -> NDArray[Any]:
    """The reverse: boxes of the turned photograph in pixels of the stored one, which is `width` x `height`."""
    across, down = (height, width) if turn in _SWAPPED else (width, height)
    return boxes_turned(boxes, _BACK.get(turn, turn), across, down)


def angles_back(degrees: NDArray[Any], turn: int) -> NDArray[Any]:
    """Angles, clockwise, of the turned photograph's rectangles, as they are in the stored one, in [-180, 180]."""
    if turn == 1:
        return degrees
    radians = np.radians(degrees)
    x, y = np.cos(radians), np.sin(radians)
    back = _BACK.get(turn, turn)
    if back in _SWAPPED:
        x, y = y, x
    flip_rows, flip_columns = _flips(back)
    angles: NDArray[Any] = np.degrees(np.arctan2(-y if flip_rows else y, -x if flip_columns else x))
    return angles


def _flips(turn: int) -> tuple[bool, bool]:
    """Whether rows, and whether columns, run the other way, after the swap."""
    return turn in (3, 4, 7, 8), turn in (2, 3, 6, 7)
