"""Writes the pixels of a detection as the messages carry them: run-length encoded, as in COCO."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antenna_orchestration.domain.masks import counts_of
from antenna_orchestration.domain.messages import Mask


def encoded(part: NDArray[np.bool_], *, left: int, top: int, width: int, height: int) -> Mask:
    """The mask of a photograph of `width` x `height` pixels in which only the pixels of `part` are set.

    `part` is a rectangle (height x width) whose top left corner is at `left`, `top`; it lies in the photograph.
    """
    down, across = part.shape
    # Column by column, as COCO has it. Only where the value changes is looked at, never the whole photograph.
    rows, columns = np.nonzero(np.diff(np.pad(part, ((1, 1), (0, 0))).astype(np.int8), axis=0))
    order = np.lexsort((rows, columns))
    # Runs end and begin at these places, by number of the pixel; those that meet at the edge of a column are one.
    places = (columns[order].astype(np.int64) + left) * height + rows[order] + top
    again, counts = np.unique(places, return_counts=True)
    edges = again[counts % 2 == 1]
    runs = np.diff(np.concatenate([[0], edges, [width * height]]))
    if len(edges) and edges[-1] == width * height:
        runs = runs[:-1]
    assert down + top <= height
    assert across + left <= width
    return Mask(height, width, counts_of(runs.tolist()))
