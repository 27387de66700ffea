"""`crops`: what is in each box, as JPEG, in a folder for each taxon; named for the score, so that they sort by it.

    crops.csv
    Noctua pronuba/0.934_42-1017-3.jpg

Crops are cut from the pixels of the file and then turned as its EXIF data say, so that people see them upright.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.model import RANKS
from antenna_orchestration.ecology.tables import HUMAN
from antenna_orchestration.exports import file_names, keywords, picture_folders
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import Box, Material, Photograph

LIST: Final = "crops.csv"

_OF_OBSERVATION: Final = ("pipeline", "deployment", "night", "observation_id", "taxon", "rank", "taxon_id", "score")

COLUMNS: Final = {
    "file": "the crop, below this folder",
    "pipeline": "slug of the pipeline",
    "deployment": "name of the deployment",
    "night": "from noon to noon in local time",
    "observation_id": "the observation: the key of the table `observations`",
    "taxon": "the determination; empty: nothing is known of it",
    "rank": "its rank",
    "taxon_id": "its GBIF key or URL",
    "score": "how sure; empty for a person's",
    "source": "how the determination came about, or `human`",
    "photograph": "the photograph's path below the folder that all of them are in",
    "x1": "left edge in pixels of the photograph, EXIF rotation not applied",
    "y1": "upper edge",
    "x2": "right edge",
    "y2": "lower edge",
}
"""The columns of `crops.csv`, with their meanings."""

UNKNOWN: Final = "unknown"
"""The folder of what nothing is known of."""


class _Cut(NamedTuple):
    """What became of a photograph."""

    path: str
    # Of `crops.csv`.
    rows: Sequence[Mapping[str, Any]] = ()
    # Boxes that have nothing of the photograph in them.
    outside: int = 0
    error: errors.ImageError | None = None


def write(material: Material, out: Path) -> Written:
    """Write the crops into a new folder.

    Raises `InvalidSource` if no photograph can be read; those that cannot are left out and reported.
    """
    taxa = {row["taxon"] for row in material.rows("SELECT DISTINCT taxon FROM observations WHERE counted")}
    folders = file_names.parts_of({one or UNKNOWN for one in taxa})
    out.mkdir()
    for folder in folders.values():
        (out / folder).mkdir()
    cutter = _Cutter(material, out, folders)
    counts = {"crops": 0, "photographs": 0}
    unread = picture_folders.Unread()
    outside = 0

    def rows() -> Iterator[Mapping[str, Any]]:
        nonlocal outside
        with_boxes = (one for one in _photographs(material) if one.observations)
        for cut in picture_folders.each(cutter.cut, with_boxes):
            if cut.error is not None:
                unread.add(cut.path, cut.error)
                continue
            unread.one_was_read()
            outside += cut.outside
            counts["crops"] += len(cut.rows)
            counts["photographs"] += 1
            yield from cut.rows

    picture_folders.write_list(out / LIST, list(COLUMNS), rows())
    unread.require_some()
    left_out = unread.lines
    if outside:
        left_out.append(f"{counted(outside, 'box', 'boxes')} outside of their photographs")
    return Written(counts=counts, left_out=left_out)


def check(path: Path) -> Checked:
    """Check a folder of crops: each is whole, in its list, and has its taxon among its keywords."""
    return picture_folders.check(path, LIST, list(COLUMNS), file="file", key=("observation_id",), rule=_fault)


def _photographs(material: Material) -> Iterator[Photograph]:
    return material.photographs(*_OF_OBSERVATION, "source", "x1", "y1", "x2", "y2", counted_only=True)


class _Cutter:
    """Cuts a photograph; for threads."""

    def __init__(self, material: Material, out: Path, folders: Mapping[str, str]) -> None:
        self._material = material
        self._out = out
        self._folders = folders

    def cut(self, photograph: Photograph) -> _Cut:
        boxes = [Box(one["x1"], one["y1"], one["x2"], one["y2"]) for one in photograph.observations]
        try:
            pictures = self._material.pictures.crops(photograph.row["url"], boxes)
        except errors.ImageError as error:
            return _Cut(photograph.path, error=error)
        rows = []
        for observation, jpeg in zip(photograph.observations, pictures, strict=True):
            if not jpeg:
                continue
            found = {name: _short(value) for name, value in observation.items()}
            file = f"{self._folders[found['taxon'] or UNKNOWN]}/{_name(found)}"
            marked = keywords.written(jpeg, self._keywords(found["taxon"]), identifier=found["observation_id"])
            (self._out / file).write_bytes(marked)
            rows.append({**found, "file": file, "photograph": photograph.path})
        return _Cut(photograph.path, rows, outside=len(pictures) - len(rows))

    def _keywords(self, taxon: str | None) -> list[str]:
        """The names from the coarsest rank to the taxon."""
        if not taxon:
            return [UNKNOWN]
        known = self._material.names.match(taxon)
        lineage = [known.lineage[rank] for rank in RANKS if rank in known.lineage] if known else []
        return [*(one for one in lineage if one != taxon), taxon]


def _short(value: Any) -> Any:
    """Numbers with the digits that a float32 has."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _name(found: Mapping[str, Any]) -> str:
    """The file's name; scores that are not shares are shown as if they were."""
    score = found["score"]
    shown = "human" if found["source"] == HUMAN else "none" if score is None else f"{min(max(score, 0), 1):.3f}"
    return f"{shown}_{found['observation_id']}.jpg"


def _fault(row: Mapping[str, str], path: Path) -> str:
    """What is wrong with a row and its crop, which is a whole JPEG."""
    from PIL import Image

    if not row["file"]:
        return "it names no file"
    score, _, rest = Path(row["file"]).name.partition("_")
    if rest != f"{row['observation_id']}.jpg":
        return f"{row['file']} is not named for its observation"
    wanted = (
        "human" if row["source"] == HUMAN else f"{min(max(float(row['score']), 0), 1):.3f}" if row["score"] else "none"
    )
    if score != wanted:
        return f"{row['file']} is not named for its score"
    with Image.open(path / row["file"]) as image:
        # The list has an apostrophe before what looks like a formula.
        names = {row["taxon"] or UNKNOWN, row["taxon"].removeprefix("'") or UNKNOWN}
        if not any(keywords.says(image.info.get("xmp", b""), one) for one in names):
            return f"{row['file']} does not have {row['taxon'] or UNKNOWN} among its keywords"
    return ""
