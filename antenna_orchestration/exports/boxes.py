"""Boxes as files can have them: within the photograph, in pixels or as shares of it; and what they cannot have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypedDict

from antenna_orchestration.domain import masks
from antenna_orchestration.domain.messages import Mask, RotatedBox
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports.formats import Incomplete
from antenna_orchestration.exports.material import Material, Photograph, Row

COLUMNS: Final = ("x1", "y1", "x2", "y2")
"""The columns of `observations` that a box is made from."""

SHAPES: Final = ("mask", *(f"rotated_{name}" for name in RotatedBox.__struct_fields__))
"""Those that `shape_of` reads, where they are there."""

UNIDENTIFIED: Final = "animal"
"""What stands for the determination of a box that has none, in formats in which every box has a class."""


class Corners(NamedTuple):
    """A box by its upper left and its lower right corner."""

    x1: float
    y1: float
    x2: float
    y2: float


class Extent(NamedTuple):
    """A box by its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


def clipped(box: Corners, width: int, height: int) -> Corners | None:
    """The part of a box that is on the photograph, in pixels; None if there is none. Detectors overshoot by a pixel."""
    found = Corners(max(box.x1, 0.0), max(box.y1, 0.0), min(box.x2, float(width)), min(box.y2, float(height)))
    return found if found.x2 > found.x1 and found.y2 > found.y1 else None


def shares(box: Corners, width: int, height: int, *, digits: int, whole: int = 1) -> Extent:
    """A clipped box as shares of the photograph, `whole` for all of it.

    They are rounded so that the box is never empty, and never ends beyond the edge.
    """
    left, across = _rounded(box.x1 / width * whole, box.x2 / width * whole, digits, whole)
    top, down = _rounded(box.y1 / height * whole, box.y2 / height * whole, digits, whole)
    return Extent(left, top, across, down)


def pixels(box: Corners, width: int, height: int, *, digits: int) -> Extent:
    """A clipped box in pixels, rounded likewise."""
    left, across = _rounded(box.x1, box.x2, digits, width)
    top, down = _rounded(box.y1, box.y2, digits, height)
    return Extent(left, top, across, down)


def _rounded(start: float, end: float, digits: int, whole: int) -> tuple[float, float]:
    """Where a side starts, and how long it is."""
    start, end = round(start, digits), round(end, digits)
    if end <= start:
        least = 10.0**-digits
        start = round(min(start, whole - least), digits)
        end = start + least
    return start, round(end - start, digits)


@dataclass(slots=True)
class Boxes:
    """The boxes of photographs as a file gets them, one photograph after the other, and a count of what it does not."""

    written: int = 0
    _outside: int = 0
    _sizeless: int = 0
    _sizeless_photographs: int = 0

    def of(self, photograph: Photograph) -> list[tuple[Row, Corners]]:
        """The observations of a photograph with their boxes in pixels; none if its size is not known."""
        if not photograph.observations:
            return []
        width, height = photograph.row["width"], photograph.row["height"]
        if not width or not height:
            self._sizeless += len(photograph.observations)
            self._sizeless_photographs += 1
            return []
        found = []
        for one in photograph.observations:
            box = clipped(Corners(one["x1"], one["y1"], one["x2"], one["y2"]), width, height)
            if box is None:
                self._outside += 1
            else:
                found.append((one, box))
        self.written += len(found)
        return found

    def left_out(self, format: str) -> list[str]:
        """A line for each reason why boxes are not in the file. Raises `Incomplete` if that is so of all of them."""
        sizeless = (
            f"{counted(self._sizeless, 'box', 'boxes')} of {counted(self._sizeless_photographs, 'photograph')} whose "
            "size is not known, because no worker reported it"
        )
        if self._sizeless and not self.written:
            raise Incomplete(format, [f"the size of the photographs ({sizeless}): export tables, which have pixels"])
        outside = f"{counted(self._outside, 'box', 'boxes')} outside of the photograph"
        return [line for number, line in ((self._sizeless, sizeless), (self._outside, outside)) if number]


class Shape(TypedDict):
    """What a box has beyond its corners."""

    mask: Mask | None
    rotated: RotatedBox | None


def shape_of(row: Row, size: tuple[int, int] | None = None) -> Shape:
    """The mask and the rotated box of an observation, if its columns are there.

    A mask of an image of another `size`, width and height, is none of the photograph.
    """
    mask = masks.of_json(row["mask"]) if row.get("mask") else None
    fits = mask is not None and (size is None or (mask.width, mask.height) == size)
    return {"mask": mask if fits else None, "rotated": masks.rotated_of(row)}


def not_said(material: Material) -> list[str]:
    """A line for what a format of plain boxes has no room for, if there is any."""
    lines = {
        "photographs": "labels and attributes of photographs as a whole: `tables` has them",
        "observations": "masks, rotated boxes and attributes of detections: `coco` and `tables` have them",
    }
    return [line for table, line in lines.items() if material.further(table)]


def is_sizeless(photograph: Photograph) -> bool:
    """Whether it has boxes of which no shares are known."""
    return bool(photograph.observations) and not (photograph.row["width"] and photograph.row["height"])
