"""`pictures`: the photographs as JPEG with what was found drawn in, in the folders in which they were.

    pictures.csv
    night 1/001.jpg

Photographs with nothing on them have no picture, and neither have those that failed; the list has all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports import boxes as boxes_module
from antenna_orchestration.exports import file_names, picture_folders
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import Box, Material, Photograph

LIST: Final = "pictures.csv"

COLUMNS: Final = {
    "file": "the picture, below this folder; empty: nothing was found on the photograph, or it failed",
    "pipeline": "slug of the pipeline",
    "deployment": "name of the deployment",
    "night": "from noon to noon in local time",
    "image_id": "the photograph",
    "photograph": "its path below the folder that all of them are in",
    "status": "`done`, `failed`, or `unread`: it cannot be read any more",
    "reason": "why it failed or is unread",
    "boxes": "boxes that are drawn in; 0: nothing was found that is counted",
}
"""The columns of `pictures.csv`, with their meanings."""

UNREAD: Final = "unread"


class _Job(NamedTuple):
    """A photograph, and where its picture goes."""

    photograph: Photograph
    file: str


class _Drawn(NamedTuple):
    """What became of a photograph."""

    row: Mapping[str, Any]
    error: errors.ImageError | None = None


def write(material: Material, out: Path) -> Written:
    """Write the pictures into a new folder.

    Raises `InvalidSource` if no photograph can be read; those that cannot are left out and reported.
    """
    out.mkdir()
    counts = {"pictures": 0, "boxes": 0}
    unread = picture_folders.Unread()
    empty = 0

    def draw(job: _Job) -> _Drawn:
        return _drawn(material, out, job)

    def rows() -> Iterator[Mapping[str, Any]]:
        nonlocal empty
        for one in picture_folders.each(draw, _jobs(material)):
            if one.error is not None:
                unread.add(one.row["photograph"], one.error)
            elif one.row["file"]:
                unread.one_was_read()
                counts["pictures"] += 1
                counts["boxes"] += one.row["boxes"]
            else:
                empty += 1
            yield one.row

    picture_folders.write_list(out / LIST, list(COLUMNS), rows())
    unread.require_some()
    notes = (
        [f"{LIST} also has {counted(empty, 'photograph')} without a picture: failed, or nothing found on it"]
        if empty
        else []
    )
    return Written(counts=counts, left_out=unread.lines, notes=notes)


def check(path: Path) -> Checked:
    """Check a folder of pictures: each is whole, and in its list."""
    key = ("pipeline", "image_id")
    return picture_folders.check(path, LIST, list(COLUMNS), file="file", key=key, rule=_fault)


def _jobs(material: Material) -> Iterator[_Job]:
    """The photographs, each with a name of its own."""
    several = len({one.pipeline for one in material.jobs}) > 1 and material.selection.pipeline is None
    taken: set[str] = set()
    wanted = ("x1", "y1", "x2", "y2", "taxon", "score", "detector_score", *material.further("observations"))
    for one in material.photographs(*wanted, counted_only=True):
        path = "/".join(map(file_names.part, one.path.split("/")))
        if several:
            path = f"{file_names.part(one.row['pipeline'])}/{path}"
        stem, dot, suffix = path.rpartition(".")
        if not dot or suffix.lower() not in ("jpg", "jpeg"):
            stem, suffix = path, "jpg"
        file = f"{stem}.{suffix}"
        if file.casefold() in taken:
            # Addresses may differ in what is not part of a path.
            file = f"{stem}~{one.row['image_id']}.{suffix}"
        taken.add(file.casefold())
        yield _Job(one, file)


def _drawn(material: Material, out: Path, job: _Job) -> _Drawn:
    photograph = job.photograph
    row = {**photograph.row, "photograph": photograph.path, "file": "", "boxes": len(photograph.observations)}
    if photograph.row["status"] != "done":
        return _Drawn({**row, "boxes": None})
    if not photograph.observations:
        return _Drawn(row)
    boxes = [
        Box(one["x1"], one["y1"], one["x2"], one["y2"], one["taxon"] or "",
            one["detector_score"] if one["score"] is None else one["score"], **boxes_module.shape_of(one))
        for one in photograph.observations
    ]  # fmt: skip
    try:
        jpeg = material.pictures.drawn(photograph.row["url"], boxes)
    except errors.ImageError as error:
        return _Drawn({**row, "status": UNREAD, "reason": str(error), "boxes": None}, error)
    file = out / job.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(jpeg)
    return _Drawn({**row, "file": job.file})


def _fault(row: Mapping[str, str], path: Path) -> str:
    """What is wrong with a row; its picture, if it names one, is a whole JPEG."""
    if row["status"] not in ("done", "failed", UNREAD):
        return f"{row['status']!r} is not a status"
    if row["status"] == "done":
        if not row["boxes"].isdecimal():
            return f"{row['boxes']!r} is not a number of boxes"
        if (row["boxes"] != "0") != bool(row["file"]):
            return f"{row['photograph']} has a picture exactly if it has boxes"
    elif row["file"] or row["boxes"]:
        return f"{row['photograph']} is {row['status']}, and has no picture and no boxes"
    return (
        "" if row["status"] == "done" or row["reason"] else f"{row['photograph']} is {row['status']}, without a reason"
    )
