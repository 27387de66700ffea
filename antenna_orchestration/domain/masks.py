"""Masks: which pixels of an image belong to a detection, run-length encoded as COCO does.

The runs of 0 and of 1 go down the columns from the upper left corner, in turn, beginning with 0. Their lengths, from
the fourth on as differences to the last but one, are written as digits to base 32 in ASCII: `pycocotools.mask` reads
and writes the same text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import Mask, RotatedBox

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Point = tuple[float, float]
"""x and y in pixels; the centre of the upper left pixel is (0.5, 0.5)."""

MOST_PIXELS: Final = 2**31
"""More pixels than this no image has."""


def runs_of(counts: str) -> list[int]:
    """The lengths of the runs. Raises `InvalidInput` for a text that is none."""
    found: list[int] = []
    value = shift = 0
    for letter in counts:
        digit = ord(letter) - 48
        if not 0 <= digit < 64 or shift > 35:
            raise errors.InvalidInput("a mask's counts are not COCO's compressed run lengths")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        found.append(value + found[-2] if len(found) > 2 else value)
        if not 0 <= found[-1] < MOST_PIXELS:
            raise errors.InvalidInput("a mask's counts have a run of impossible length")
        value = shift = 0
    if shift:
        raise errors.InvalidInput("a mask's counts end in the middle of a number")
    return found


def counts_of(runs: Sequence[int]) -> str:
    """The text of runs, as `runs_of` reads it."""
    letters = []
    for number, run in enumerate(runs):
        value = run - runs[number - 2] if number > 2 else run
        more = True
        while more:
            digit = value & 31
            value >>= 5
            more = value != (-1 if digit & 16 else 0)
            letters.append(chr(48 + (digit | 32 if more else digit)))
    return "".join(letters)


def checked(mask: Mask) -> list[int]:
    """The runs of a mask. Raises `InvalidInput` if they are not those of an image of its size."""
    runs = runs_of(mask.counts)
    if mask.height <= 0 or mask.width <= 0 or sum(runs) != mask.height * mask.width:
        raise errors.InvalidInput(
            f"a mask's runs have {sum(runs)} pixels, its image of {mask.width} x {mask.height} has "
            f"{mask.height * mask.width}"
        )
    return runs


def area(mask: Mask) -> int:
    """How many pixels it has."""
    return sum(runs_of(mask.counts)[1::2])


def of_array(pixels: npt.NDArray[np.bool_]) -> Mask:
    """The mask of an array of height x width; what is not 0 belongs to it."""
    import numpy as np

    height, width = pixels.shape
    flat = np.concatenate([[False], np.asarray(pixels, bool).ravel(order="F"), [False]])
    # Where a run begins or ends.
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    ends = [0, *turns.tolist()] if len(turns) and turns[-1] == height * width else [0, *turns.tolist(), height * width]
    return Mask(height, width, counts_of([end - start for start, end in pairwise(ends)]))


def to_array(mask: Mask) -> npt.NDArray[np.bool_]:
    """The pixels, height x width. Raises `InvalidInput` as `checked` does."""
    import numpy as np

    runs = checked(mask)
    values = np.zeros(len(runs), bool)
    values[1::2] = True
    return np.repeat(values, runs).reshape((mask.width, mask.height)).T


def of_json(text: str) -> Mask:
    """The mask that a column `mask` has, which is what pycocotools takes: {"size": [height, width], "counts": "…"}."""
    data = json.loads(text)
    height, width = data["size"]
    return Mask(height, width, data["counts"])


def outlines(mask: Mask) -> list[list[Point]]:
    """The outer edges of its parts as polygons, the largest part first; holes are left out.

    Pixels that meet at a corner only are different parts. Points are corners of pixels. Raises as `checked` does.
    """
    edges = _edges(mask)
    found = []
    while edges:
        start = min(edges)
        loop = [start]
        here, towards = start, edges[start][0]
        while True:
            after = edges[here]
            # Where two parts touch at a corner only, each keeps to itself: turn right.
            step = _rightmost(here, after, towards) if len(after) > 1 else after[0]
            after.remove(step)
            if not after:
                del edges[here]
            here, towards = step, (2 * step[0] - here[0], 2 * step[1] - here[1])
            if here == start:
                break
            loop.append(here)
        if _signed(loop) > 0:
            found.append(_corners(loop))
    return sorted(found, key=lambda one: -_signed(one))


_Vertex = tuple[int, int]


def _edges(mask: Mask) -> dict[_Vertex, list[_Vertex]]:
    """The edges between the pixels of a mask and the others, clockwise as seen, by where they begin."""
    height = mask.height
    ends = list(accumulate(checked(mask)))
    # Down each column: from which row to which, the runs cut at the columns' ends.
    columns: dict[int, list[tuple[int, int]]] = {}
    for first, end in zip(ends[0::2], ends[1::2], strict=False):
        start = first
        while start < end:
            column, top = divmod(start, height)
            bottom = min(height, top + end - start)
            own = columns.setdefault(column, [])
            # A run of length 0 between two others.
            if own and own[-1][1] == top:
                top = own.pop()[0]
            own.append((top, bottom))
            start = column * height + bottom
    edges: dict[_Vertex, list[_Vertex]] = {}

    def add(x1: int, y1: int, x2: int, y2: int) -> None:
        step = 1 if y2 > y1 else -1
        if x1 != x2:
            edges.setdefault((x1, y1), []).append((x2, y2))
            return
        for y in range(y1, y2, step):
            edges.setdefault((x1, y), []).append((x1, y + step))

    for column, own in columns.items():
        for top, bottom in own:
            add(column, top, column + 1, top)
            add(column + 1, bottom, column, bottom)
            for start, end in _without((top, bottom), columns.get(column + 1, ())):
                add(column + 1, start, column + 1, end)
            for start, end in _without((top, bottom), columns.get(column - 1, ())):
                add(column, end, column, start)
    return edges


def _without(span: tuple[int, int], others: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of a span without others, which are in order."""
    left = []
    start, end = span
    for first, last in others:
        if last <= start or first >= end:
            continue
        if first > start:
            left.append((start, first))
        start = last
    if start < end:
        left.append((start, end))
    return left


def _rightmost(here: _Vertex, ways: Sequence[_Vertex], ahead: _Vertex) -> _Vertex:
    dx, dy = ahead[0] - here[0], ahead[1] - here[1]
    # As images are seen, y grows downwards: a turn to the right has a positive product.
    return max(ways, key=lambda one: dx * (one[1] - here[1]) - dy * (one[0] - here[0]))


def _corners(loop: Sequence[_Vertex]) -> list[Point]:
    """The loop without the points on its straight lines."""
    found: list[Point] = []
    for before, here, after in zip([loop[-1], *loop[:-1]], loop, [*loop[1:], loop[0]], strict=True):
        if (here[0] - before[0]) * (after[1] - here[1]) != (here[1] - before[1]) * (after[0] - here[0]):
            found.append((float(here[0]), float(here[1])))
    return found


def _signed(loop: Sequence[Point]) -> float:
    """The area within it, negative if it goes against the clock, as the edge of a hole does."""
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(loop, [*loop[1:], loop[0]], strict=True)) / 2


def corners_of(rotated: RotatedBox) -> list[Point]:
    """The corners of a rotated box, clockwise as seen, from the one that is upper left before it is turned."""
    angle = math.radians(rotated.angle)
    cos, sin = math.cos(angle), math.sin(angle)
    half_width, half_height = rotated.width / 2, rotated.height / 2
    return [
        (rotated.cx + x * cos - y * sin, rotated.cy + x * sin + y * cos)
        for x, y in (
            (-half_width, -half_height),
            (half_width, -half_height),
            (half_width, half_height),
            (-half_width, half_height),
        )
    ]
