"""`yolo`: boxes as YOLO labels, split into training and validation by deployment and night.

Photographs of one night look alike, so that no night is in both parts; those without a time may be of any night of
their deployment. Only boxes that are counted, as in `coco`; an empty file of labels is a photograph without any.
Photographs are not copied: `photographs.csv` says where each belongs, or they are linked.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal
from urllib.parse import unquote

import yaml

from antenna_orchestration.domain import masks
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports import boxes, pipelines, training, validators
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import BOXES, Material, Photograph, Row

DATA: Final = "data.yaml"
PHOTOGRAPHS: Final = "photographs.csv"

_HEADER: Final = ("name", "split", "path", "image_id", "deployment", "night")

_SHARE: Final = 0.2
"""Of deployments' nights, those that are for validation."""

_SEED: Final = "antenna"
"""Part of what decides where a night goes: it is the same in every export."""

_DIGITS: Final = 6

_LONGEST: Final = 200
"""Bytes of a name: with its ending it is below what file systems take."""

_LONGEST_ENDING: Final = 10
"""Bytes of what still is an ending, such as `.jpeg`."""

Split = Literal["train", "val"]

Group = tuple[str | None, date | None]
"""A deployment and a night."""


# Writing


def write(material: Material, out: Path, *, images: str = "none", shapes: str = "boxes") -> Written:
    """Write a folder; with `images` = `link` with symbolic links to the photographs that are files of this machine.

    With `shapes` = `masks` labels are the outlines of masks, and with `rotated` the corners of rotated boxes; what has
    none of them has its box.

    Raises `InvalidInput` for several pipelines, `Incomplete` if the size of no photograph is known.
    """
    pipelines.require_one(material)
    names = [one.name for one in training.classes(material)]
    numbers = {name: number for number, name in enumerate(names)}
    query = "SELECT DISTINCT deployment, night FROM photographs WHERE status = 'done'"
    split_of = splits((row["deployment"], row["night"]) for row in material.rows(query))
    used = sorted(set(split_of.values()))
    for split in used:
        (out / "labels" / split).mkdir(parents=True)
        if images == "link":
            (out / "images" / split).mkdir(parents=True)
    further = material.further("observations") if shapes != "boxes" else ()
    samples = training.Samples()
    stems = _Stems()
    distant = 0
    written = dict.fromkeys(used, 0)
    timeless = 0
    with (out / PHOTOGRAPHS).open("w", encoding="utf-8", errors="replace", newline="") as file:
        table = csv.writer(file)
        table.writerow(_HEADER)
        for photograph, found in samples.of(material, *further, sized=False):
            row = photograph.row
            split = split_of[row["deployment"], row["night"]]
            written[split] += 1
            timeless += row["night"] is None
            stem, ending = stems.of(photograph)
            name = stem + ending
            lines = [
                _line(numbers[training.class_of(one)], boxes.shares(box, row["width"], row["height"], digits=_DIGITS))
                if shapes == "boxes"
                else _polygon(numbers[training.class_of(one)], one, box, (row["width"], row["height"]), shapes)
                for one, box in found
            ]
            (out / "labels" / split / f"{stem}.txt").write_text("".join(lines), encoding="utf-8")
            if images == "link":
                distant += not _link(out / "images" / split / name, row["url"])
            table.writerow((name, split, photograph.path, row["image_id"], row["deployment"], row["night"]))
    is_split = len(used) > 1 and all(written.values())
    (out / DATA).write_text(_data(names, material, is_split), encoding="utf-8")
    notes = ["determinations are a machine's, except where people reviewed them"]
    if not is_split:
        notes.append(
            f"none is for validation, as there are no two nights that surely differ: {DATA} names those for training "
            "in its place; export more nights, or say when photographs were taken"
        )
    if timeless:
        notes.append(
            f"{counted(timeless, 'photograph')} without a time: their deployment is in one part, or they are for "
            "training and may be of a night that is for validation; give their times, or leave them out"
        )
    if images != "link":
        notes.append(f"copy the photographs into images/, as {PHOTOGRAPHS} says, or link them with --images link")
    if distant:
        notes.append(f"{counted(distant, 'photograph')} not linked: not on this machine")
    return Written(
        counts={"photographs": samples.photographs, "boxes": samples.boxes.written, "classes": len(names)},
        left_out=samples.left_out("yolo"),
        notes=notes,
    )


def splits(groups: Iterable[Group]) -> dict[Group, Split]:
    """Which part each night at a deployment is in: about a fifth is for validation.

    A night stays where it is when others come, unless it had to stand in: of two or more, at least one is in each part.
    Photographs without a time are for training where their deployment has nights that are known, or is not known
    itself: they may be of any of these. Else their deployment is like one night.
    """
    places = {group: _place(group) for group in groups}
    known = {deployment for deployment, night in places if night is not None}
    free = [group for group in places if group[1] is not None or (group[0] is not None and group[0] not in known)]
    found: dict[Group, Split] = dict.fromkeys(places, "train")
    found |= {group: "val" for group in free if places[group] < _SHARE}
    if len(free) > 1:
        found[min(free, key=places.__getitem__)] = "val"
        found[max(free, key=places.__getitem__)] = "train"
    elif free:
        found[free[0]] = "train"
    return found


def _place(group: Group) -> float:
    """A number from 0 to 1."""
    # Null is another deployment than one of this name.
    said = "/".join(repr(one) if one is None else str(one) for one in group)
    return int.from_bytes(hashlib.sha256(f"{_SEED}/{said}".encode("utf-8", "replace")).digest()[:6]) / 2**48


class _Stems:
    """Names of photographs without ending: those of their folders, joined, each once."""

    def __init__(self) -> None:
        # As file systems that ignore case have them.
        self._used: set[str] = set()

    def of(self, photograph: Photograph) -> tuple[str, str]:
        """The name, and its ending; only an ending begins with the last dot."""
        path = PurePosixPath(photograph.path)
        ending = path.suffix if len(_bytes(path.suffix)) <= _LONGEST_ENDING else ""
        stem = "__".join((*path.parent.parts, path.stem if ending else path.name))
        stem, ending = _UNFIT.sub("_", stem), _UNFIT.sub("_", ending)
        if not ending:
            stem = stem.replace(".", "_")
        if not stem or stem.casefold() in self._used or len(_bytes(stem)) > _LONGEST:
            short = _bytes(stem)[:_LONGEST].decode("utf-8", "ignore")
            stem = f"{short}__{photograph.row['image_id']}"
        while stem.casefold() in self._used:
            stem += "_"
        self._used.add(stem.casefold())
        return stem, ending


_UNFIT: Final = re.compile(r"[\x00-\x1f\\:*?\"<>|]")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _line(number: int, box: boxes.Extent) -> str:
    """A class and a box by its middle."""
    shares = box.x + box.width / 2, box.y + box.height / 2, box.width, box.height
    return " ".join([str(number), *(f"{share:.{_DIGITS + 1}f}" for share in shares)]) + "\n"


def _polygon(number: int, one: Row, box: boxes.Corners, size: tuple[int, int], shapes: str) -> str:
    """A class and the corners of its mask or box, each within the photograph, as what trains demands it."""
    shape = boxes.shape_of(one, size)
    corners = masks.outline(shape["mask"]) if shapes == "masks" and shape["mask"] else []
    if not corners and shape["rotated"]:
        corners = masks.corners_of(shape["rotated"])
    corners = corners or [(box.x1, box.y1), (box.x2, box.y1), (box.x2, box.y2), (box.x1, box.y2)]
    shares = [min(max(value / side, 0.0), 1.0) for each in corners for value, side in zip(each, size, strict=True)]
    return " ".join([str(number), *(f"{share:.{_DIGITS + 1}f}" for share in shares)]) + "\n"


def _link(link: Path, url: str) -> bool:
    """Link a photograph that is a file of this machine; False if it is none."""
    if "://" in url and not url.startswith("file:"):
        return False
    link.symlink_to(unquote(url.removeprefix("file://")) if url.startswith("file:") else url)
    return True


def _data(names: list[str], material: Material, is_split: bool) -> str:
    said = {
        "train": "images/train",
        # What trains wants one.
        "val": "images/val" if is_split else "images/train",
        "names": dict(enumerate(names)),
    }
    about = [
        f"{material.selection.name}; threshold of the detector's score: {material.selection.threshold}",
        f"split by deployment and night. {BOXES}",
    ]
    lines = "".join(f"# {' '.join(line.split())}\n" for line in about)
    return lines + yaml.safe_dump(said, allow_unicode=True, sort_keys=False)


# Checking


def check(path: Path) -> Checked:
    """Check a folder by own rules; the usual checks are part of what trains."""
    return Checked(faults=validators.first_faults(lambda: _faults(path)), by=[validators.OWN])


def _faults(path: Path) -> Iterator[str]:
    said = _read(path / DATA)
    names = said.get("names")
    yield from _faults_of_names(names)
    classes = len(names) if isinstance(names, list | dict) else 0
    parts = {}
    for split in ("train", "val"):
        folder = said.get(split)
        if not isinstance(folder, str) or not re.fullmatch(r"(\./)?images/[^/]+/?", folder):
            yield f"{DATA}: `{split}` is {folder!r}, not a folder such as images/{split}"
        else:
            parts[split] = folder.rstrip("/").rpartition("/")[2]
    labelled: dict[str, str] = {}
    for part in sorted(set(parts.values())):
        folder = path / "labels" / part
        if not folder.is_dir():
            yield f"labels/{part} is missing"
            continue
        for file in sorted(folder.iterdir()):
            where = f"labels/{part}/{file.name}"
            if file.suffix != ".txt":
                yield f"{where} is not a file of labels"
                continue
            if file.stem in labelled:
                yield f"{where} is also in labels/{labelled[file.stem]}"
            labelled[file.stem] = part
            yield from (f"{where}, {fault}" for fault in _faults_of_labels(file, classes))
    if (path / PHOTOGRAPHS).exists():
        yield from (f"{PHOTOGRAPHS}, {fault}" for fault in _faults_of_photographs(path / PHOTOGRAPHS, labelled))


def _read(file: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise validators.Unreadable(f"{file.name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict):
        raise validators.Unreadable(f"{file.name} has no lines such as `train: images/train`")
    return said


def _faults_of_names(names: Any) -> Iterator[str]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(len(names))):
        yield f"{DATA}: `names` are not numbered from 0"
        return
    for number, name in names.items():
        if not isinstance(name, str) or not name.strip():
            yield f"{DATA}: class {number} has no name"


def _faults_of_labels(file: Path, classes: int) -> Iterator[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        yield f"cannot be read: {error}"
        return
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if len(parts) < 5 or len(parts) % 2 == 0:
            yield f"line {number}: {len(parts)} values, not a class and four shares, or a class and corners"
            continue
        if not re.fullmatch(r"\d{1,9}", parts[0]) or int(parts[0]) >= classes:
            yield f"line {number}: the class {parts[0]!r} is not in {DATA}"
        try:
            shares = [float(one) for one in parts[1:]]
        except ValueError:
            yield f"line {number}: {' '.join(parts[1:])} are not four numbers"
            continue
        if len(shares) > 4:
            if not all(0 <= one <= 1 for one in shares):
                yield f"line {number}: its corners are not within the photograph"
            continue
        x, y, width, height = shares
        edge = 0.5 + 2 * 10.0**-_DIGITS
        if not (width > 0 and height > 0):
            yield f"line {number}: its box is empty"
        elif not (abs(x - 0.5) + width / 2 <= edge and abs(y - 0.5) + height / 2 <= edge):
            yield f"line {number}: its box is not within the photograph"


def _faults_of_photographs(file: Path, labelled: dict[str, str]) -> Iterator[str]:
    waiting = dict(labelled)
    nights: dict[tuple[str, str], str] = {}
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = csv.DictReader(lines)
        if tuple(rows.fieldnames or ()) != _HEADER:
            yield f"line 1: the columns are not {', '.join(_HEADER)}"
            return
        for row in rows:
            place, stem = f"line {rows.line_num}", PurePosixPath(row["name"] or "").stem
            if waiting.pop(stem, None) != row["split"]:
                yield f"{place}: {row['name'][:80]!r} has no labels in labels/{row['split']}"
            night = row["deployment"], row["night"]
            if nights.setdefault(night, row["split"]) != row["split"]:
                yield f"{place}: night {row['night']} at {row['deployment']!r} is in two parts"
    for stem, part in waiting.items():
        yield f"labels/{part}/{stem}.txt is of no photograph"
