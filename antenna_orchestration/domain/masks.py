"""Masks: which pixels of an image belong to a detection, run-length encoded as COCO does.

The runs of 0 and of 1 go down the columns from the upper left corner, in turn, beginning with 0. Their lengths, from
the fourth on as differences to the last but one, are written as digits to base 32 in ASCII: `pycocotools.mask` reads
and writes the same text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import MAX_COORDINATE, Mask, RotatedBox

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Point = tuple[float, float]
"""x and y in pixels; the centre of the upper left pixel is (0.5, 0.5)."""

MOST_PIXELS: Final = 10**9
"""More pixels than this no photograph has: five times what is decoded unless a setting says otherwise."""

LONGEST_COUNTS: Final = 2**20
"""Characters of a mask; what a model outlines in the largest photograph has a twentieth of it."""

_MOST_DIGITS: Final = 8
"""Digits of a number in them, which has forty bits then."""

_NOT_COCO: Final = "a mask's counts are not COCO's compressed run lengths"


def runs_of(counts: str) -> list[int]:
    """The lengths of the runs. Raises `InvalidInput` for a text that is none."""
    import numpy as np

    if len(counts) > LONGEST_COUNTS:
        raise errors.InvalidInput(f"a mask's counts have {len(counts):,} characters; the most are {LONGEST_COUNTS:,}")
    if not counts.isascii():
        raise errors.InvalidInput(_NOT_COCO)
    digits = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48
    if not ((digits >= 0) & (digits < 64)).all():
        raise errors.InvalidInput(_NOT_COCO)
    lasts = np.flatnonzero(digits < 32)
    if len(digits) and not (len(lasts) and lasts[-1] == len(digits) - 1):
        raise errors.InvalidInput("a mask's counts end in the middle of a number")
    lengths = np.diff(lasts, prepend=-1)
    if len(lengths) and lengths.max() > _MOST_DIGITS:
        raise errors.InvalidInput(_NOT_COCO)
    if not len(lasts):
        return []
    firsts = lasts - lengths + 1
    shifts = 5 * (np.arange(len(digits)) - np.repeat(firsts, lengths))
    values = np.add.reduceat((digits & 31) << shifts, firsts)
    values -= (digits[lasts] >> 4 & 1) << 5 * lengths
    # From the fourth number on, each is the difference to the last but one.
    runs = values.copy()
    runs[1::2] = values[1::2].cumsum()
    runs[2::2] = values[2::2].cumsum()
    if runs.min() < 0 or runs.max() > MOST_PIXELS:
        raise errors.InvalidInput("a mask's counts have a run of impossible length")
    found: list[int] = runs.tolist()
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
    """The runs of a mask. Raises `InvalidInput` if they are not those of an image of its size, or of none at all."""
    pixels = mask.height * mask.width
    if not (0 < mask.height <= MAX_COORDINATE and 0 < mask.width <= MAX_COORDINATE and pixels <= MOST_PIXELS):
        raise errors.InvalidInput(f"a mask of {mask.width} x {mask.height} pixels is of no photograph")
    runs = runs_of(mask.counts)
    if sum(runs) != pixels:
        raise errors.InvalidInput(
            f"a mask's runs have {sum(runs)} pixels, its image of {mask.width} x {mask.height} has {pixels}"
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


def columns_of(mask: Mask) -> tuple[int, npt.NDArray[np.bool_]]:
    """The first column that it has pixels in, and the pixels from there to the last one, over the whole height.

    For masks of small things in large images. Raises `InvalidInput` as `checked` does.
    """
    import numpy as np

    runs, height = checked(mask), mask.height
    ends = np.cumsum(runs)
    filled = np.flatnonzero(np.asarray(runs[1::2]) > 0)
    if not len(filled):
        return 0, np.zeros((height, 0), bool)
    first, last = 2 * int(filled[0]) + 1, 2 * int(filled[-1]) + 1
    left, right = int(ends[first - 1]) // height, (int(ends[last]) - 1) // height + 1
    lengths = [int(ends[first - 1]) - left * height, *runs[first : last + 1], right * height - int(ends[last])]
    values = np.zeros(len(lengths), bool)
    values[1:-1:2] = True
    return left, np.repeat(values, lengths).reshape((right - left, height)).T


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


def outline(mask: Mask, *, tolerance: float = 1.0) -> list[Point]:
    """The outer edge of its largest part, without corners that stand out by less than so many pixels; empty for none.

    A slanted edge is a stair of pixels, of which few corners are left.
    """
    found = outlines(mask)
    return _simplified(found[0], tolerance) if found else []


def _simplified(polygon: list[Point], tolerance: float) -> list[Point]:
    """By Douglas and Peucker, from the first corner to the one farthest from it, and back; at least three corners."""
    import numpy as np

    points = np.array([*polygon, polygon[0]], float)
    far = int(np.hypot(*(points - points[0]).T).argmax())
    kept = {0, far, len(polygon)}
    waiting = [(0, far), (far, len(polygon))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        (x, y), (dx, dy) = points[first], points[last] - points[first]
        between = points[first + 1 : last] - (x, y)
        away = np.abs(between[:, 0] * dy - between[:, 1] * dx) / np.hypot(dx, dy)
        if away.max() > tolerance:
            middle = first + 1 + int(away.argmax())
            kept.add(middle)
            waiting += [(first, middle), (middle, last)]
    found = [polygon[one] for one in sorted(kept) if one < len(polygon)]
    return found if len(found) > 2 else polygon


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

    # No other edge begins within one of these: the upright ones end where a run of either column does.
    def add(x1: int, y1: int, x2: int, y2: int) -> None:
        edges.setdefault((x1, y1), []).append((x2, y2))

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


def rotated_of(row: Mapping[str, Any]) -> RotatedBox | None:
    """The rotated box that the columns `rotated_cx` to `rotated_angle` of a row have, if they are there."""
    values = [row.get(f"rotated_{name}") for name in RotatedBox.__struct_fields__]
    return None if any(one is None for one in values) else RotatedBox(*map(float, values))  # type: ignore[arg-type]


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
