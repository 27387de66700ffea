"""The formats that results are exported in. Each is a module of its own with `write` and `check`; this is their list.

`write` gets the material and a path that does not exist yet: a file's, or that of a folder which it makes. It needs no
validator. `check` says what is wrong with a file or folder of the format, wherever it came from: by rules of our own,
and by the format's usual validator where that is installed (extra `validators`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports.material import Material


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What a format wrote."""

    # How many of what, such as `{"photographs": 12, "boxes": 234}`, in the order in which people read it.
    counts: Mapping[str, int]
    # What is not in it although it was selected, and why, a line each.
    left_out: Sequence[str] = ()
    # What people should know of it, a line each.
    notes: Sequence[str] = ()


def in_words(counts: Mapping[str, int]) -> str:
    """Counts of things by their words for several, for people: `12 photographs, 1 box`."""
    return ", ".join(
        counted(number, what.removesuffix("es" if what.endswith(("xes", "sses")) else "s"), what)
        for what, number in counts.items()
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What a check found."""

    # The first faults, a line each; none: the export is valid.
    faults: Sequence[str]
    # What checked it, such as `own rules` and `pycocotools 2.0.11`.
    by: Sequence[str]
    # What could not be checked, and what to install for it.
    unchecked: Sequence[str] = ()


MOST_FAULTS: Final = 50
"""A check stops looking after so many."""


class Incomplete(errors.InvalidInput):
    """What a format demands is missing, and `--partial` was not given. Lists what, and how to give it."""

    def __init__(self, format: str, missing: Sequence[str]) -> None:
        self.format = format
        self.missing = list(missing)
        self.summary = (
            f"{format} needs {counted(len(self.missing), 'thing')} that nobody gave; --partial leaves out what it can"
        )
        super().__init__(f"{self.summary}: {'; '.join(self.missing)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A format, as the command, the assets and the pages show it."""

    name: str
    # In a few words, for lists.
    title: str
    # Of a format of one file, its usual name; None: a folder.
    file: str | None = None
    # The module in this package with `write` and `check`.
    module: str
    takes_threshold: bool = False
    # Further options that `write` takes by name, with their values; the first is the default.
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def write(self, material: Material, out: Path, **options: Any) -> Written:
        """Write to a path that does not exist yet. Raises `Incomplete`, `InvalidInput`, `Unavailable`."""
        write: Callable[..., Written] = self._module.write
        return write(material, out, **options)

    def check(self, path: Path) -> Checked:
        """Check a file or folder. Raises `NotFound` if there is none; what cannot be read is a fault."""
        if not path.exists():
            raise errors.NotFound(f"{path} does not exist")
        check: Callable[[Path], Checked] = self._module.check
        return check(path)

    @property
    def _module(self) -> Any:
        return import_module(f"antenna_orchestration.exports.{self.module}")


FORMATS: Final = {
    one.name: one
    for one in (
        Format(
            name="tables",
            title="observations, nights, counts, deployments and failures as CSV, Parquet or XLSX",
            module="flat_tables",
            choices={"as": ("csv", "parquet", "xlsx")},
        ),
        Format(
            name="megadetector",
            title="MegaDetector's JSON, for Timelapse and AddaxAI",
            file="megadetector.json",
            module="megadetector",
            takes_threshold=True,
        ),
        Format(
            name="camtrap-dp",
            title="a Camera Trap Data Package 1.0.2, which GBIF and camtrapdp read",
            module="camtrap_dp",
        ),
        Format(
            name="dwca",
            title="a Darwin Core archive for GBIF: a record for each taxon of a night",
            file="dwca.zip",
            module="dwca",
        ),
        Format(
            name="coco",
            title="COCO with the fields of COCO Camera Traps, to train detectors",
            file="coco.json",
            module="coco",
            takes_threshold=True,
        ),
        Format(
            name="yolo",
            title="YOLO labels, split by deployment and night",
            module="yolo",
            takes_threshold=True,
            choices={"images": ("none", "link"), "shapes": ("boxes", "masks", "rotated")},
        ),
        Format(
            name="label-studio",
            title="tasks for Label Studio, the least certain first; what people correct comes back",
            module="label_studio",
            takes_threshold=True,
            choices={"empty": ("no", "yes")},
        ),
        Format(
            name="antenna",
            title="results as the Antenna platform imports them",
            module="antenna",
            takes_threshold=True,
        ),
        Format(
            name="crops",
            title="what is in each box as JPEG, in a folder for each taxon",
            module="crops",
            takes_threshold=True,
        ),
        Format(
            name="pictures",
            title="photographs as JPEG with what was found drawn in",
            module="pictures",
            takes_threshold=True,
        ),
        Format(
            name="duckdb",
            title="all derived tables in one file of DuckDB",
            file="results.duckdb",
            module="duckdb_file",
        ),
    )
}
"""By name, in the order in which people are told of them."""


def named(name: str) -> Format:
    """The format of a name. Raises `InvalidInput`, which lists all."""
    try:
        return FORMATS[name]
    except KeyError:
        raise errors.InvalidInput(f"there is no format {name[:40]!r}; there are {', '.join(FORMATS)}") from None
