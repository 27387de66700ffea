"""What formats for training have in common: the classes of the boxes that are counted, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.model import Taxon
from antenna_orchestration.exports.boxes import COLUMNS, UNIDENTIFIED, Boxes, Corners, is_sizeless
from antenna_orchestration.exports.material import Material, Photograph, Row


class Class(NamedTuple):
    """A class of boxes: a determination, or `UNIDENTIFIED`."""

    name: str
    rank: str | None
    taxon_id: str | None
    # As the project imported it; None if it did not.
    taxon: Taxon | None


_CLASSES: Final = """
    SELECT taxon, any_value(rank) AS rank, any_value(taxon_id) AS taxon_id
    FROM observations WHERE counted GROUP BY taxon ORDER BY taxon NULLS LAST
"""


def classes(material: Material) -> list[Class]:
    """The classes by name; that of boxes without a determination is the last, if there are any."""
    found: list[Class] = []
    for row in material.rows(_CLASSES):
        name = row["taxon"]
        if name is None:
            # Unless a determination is called so.
            if UNIDENTIFIED not in {one.name for one in found}:
                found.append(Class(UNIDENTIFIED, None, None, None))
        else:
            found.append(Class(name, row["rank"], row["taxon_id"], material.names.match(name)))
    return found


def class_of(observation: Row) -> str:
    """The name of an observation's class."""
    name: str | None = observation["taxon"]
    return UNIDENTIFIED if name is None else name


@dataclass(slots=True)
class Samples:
    """The photographs that a model can be trained with, and a count of those that it cannot."""

    boxes: Boxes = field(default_factory=Boxes)
    photographs: int = 0
    _failed: int = 0
    _sizeless: int = 0

    def of(
        self, material: Material, *columns: str, sized: bool
    ) -> Iterator[tuple[Photograph, list[tuple[Row, Corners]]]]:
        """Each processed photograph with its counted boxes, which may be none; `sized`: only those with a size."""
        for photograph in material.photographs(*COLUMNS, "taxon", *columns, counted_only=True):
            found = self.boxes.of(photograph)
            if photograph.row["status"] != "done":
                self._failed += 1
            elif is_sizeless(photograph):
                # `boxes` says so.
                continue
            elif sized and not (photograph.row["width"] and photograph.row["height"]):
                self._sizeless += 1
            else:
                self.photographs += 1
                yield photograph, found

    def left_out(self, format: str) -> list[str]:
        """A line for each reason why something is left out. Raises `Incomplete` if no box is left."""
        lines = {"that failed": self._failed, "without boxes whose size is not known": self._sizeless}
        return [
            *self.boxes.left_out(format),
            *(f"{counted(number, 'photograph')} {why}" for why, number in lines.items() if number),
        ]
