"""`coco`: boxes and their determinations in COCO, with the fields of COCO Camera Traps; to train and test detectors.

Only boxes that are counted: no fixtures, and none that a person rejected. Processed photographs without any are there,
too; those that failed are not.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import masks
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports import boxes, pipelines, training, validators
from antenna_orchestration.exports.boxes import Corners, Extent
from antenna_orchestration.exports.dataset import LICENCES
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import BOXES, Material, Photograph, Row

_DIGITS: Final = 2
"""Of a pixel."""

_COLUMNS: Final = ("observation_id", "detector_score", "score", "source", "track")

_TIME: Final = "%Y-%m-%d %H:%M:%S"

_LICENCE: Final = 1


# Writing


def write(material: Material, out: Path) -> Written:
    """Write a file. Raises `InvalidInput` for several pipelines, `Incomplete` if the size of no photograph is known."""
    pipelines.require_one(material)
    classes = training.classes(material)
    numbers = {one.name: number for number, one in enumerate(classes, 1)}
    samples = training.Samples()
    frames = _Frames(material)
    licence = material.dataset.media_licence
    head = {
        "info": _info(material),
        "licenses": [{"id": _LICENCE, "name": licence, "url": LICENCES.get(licence, "")}] if licence else [],
        "categories": [_category(numbers[one.name], one) for one in classes],
    }
    # Annotations come after all photographs, and are written meanwhile.
    with out.open("wb") as file, tempfile.TemporaryFile() as annotations:
        file.write(_text(head)[:-1] + b', "images": [')
        written = 0
        for photograph, found in samples.of(material, *_COLUMNS, *material.further("observations"), sized=True):
            file.write(b",\n" if samples.photographs > 1 else b"\n")
            file.write(_text(_image(photograph, frames, licence)))
            size = photograph.row["width"], photograph.row["height"]
            for one, box in found:
                written += 1
                annotations.write(b",\n" if written > 1 else b"\n")
                annotations.write(_text(_annotation(written, one, box, size, numbers)))
        file.write(b'\n], "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        file.write(b"\n]}\n")
    return Written(
        counts={"photographs": samples.photographs, "boxes": samples.boxes.written, "classes": len(classes)},
        left_out=samples.left_out("coco"),
        notes=["determinations are a machine's, except where people reviewed them: see `source`"],
    )


def _info(material: Material) -> dict[str, Any]:
    given = material.dataset
    info: dict[str, Any] = {
        "description": given.title or material.selection.name,
        "version": "1.0",
        "year": material.made_at.year,
        "date_created": material.made_at.isoformat(timespec="seconds"),
        "antenna": {
            "selection": material.selection.name,
            "jobs": [job.job_id for job in material.jobs],
            "complete": material.is_complete,
            "threshold": material.selection.threshold,
            "boxes": BOXES,
        },
    }
    if given.contributors:
        info["contributor"] = ", ".join(filter(None, (one.name for one in given.contributors)))
    return info


def _category(number: int, one: training.Class) -> dict[str, Any]:
    lineage = one.taxon.lineage if one.taxon else {}
    made: dict[str, Any] = {"id": number, "name": one.name, "supercategory": lineage.get("order", boxes.UNIDENTIFIED)}
    further = {"rank": one.rank, "taxon_id": one.taxon_id, "lineage": dict(lineage)}
    return made | {name: value for name, value in further.items() if value}


class _Frames:
    """The place of photographs in their night, as COCO Camera Traps has sequences."""

    def __init__(self, material: Material) -> None:
        query = "SELECT deployment, night, count(*) AS n FROM photographs GROUP BY ALL"
        self._lengths = {(row["deployment"], row["night"]): row["n"] for row in material.rows(query)}
        places = "SELECT image_id, row_number() OVER (PARTITION BY deployment, night ORDER BY local_time, url) AS n "
        self._places = {row["image_id"]: row["n"] for row in material.rows(f"{places} FROM photographs")}

    def of(self, row: Row) -> dict[str, Any]:
        """Nothing for a photograph of which no time is known."""
        if row["night"] is None:
            return {}
        deployment, night = row["deployment"], row["night"]
        return {
            "seq_id": f"{deployment}_{night}" if deployment is not None else str(night),
            "seq_num_frames": self._lengths[deployment, night],
            "frame_num": self._places[row["image_id"]],
        }


def _image(photograph: Photograph, frames: _Frames, licence: str | None) -> dict[str, Any]:
    row = photograph.row
    made = {
        "id": row["image_id"],
        "file_name": photograph.path,
        "width": row["width"],
        "height": row["height"],
    }
    if licence:
        made["license"] = _LICENCE
    if row["local_time"] is not None:
        made["date_captured"] = made["datetime"] = row["local_time"].strftime(_TIME)
    if row["deployment"] is not None:
        made["location"] = row["deployment"]
    return made | frames.of(row) | _said(row)


def _annotation(
    number: int, one: Row, box: Corners, size: tuple[int, int], numbers: Mapping[str, int]
) -> dict[str, Any]:
    extent: Extent = boxes.pixels(box, *size, digits=_DIGITS)
    made: dict[str, Any] = {
        "id": number,
        "image_id": one["image_id"],
        "category_id": numbers[training.class_of(one)],
        "bbox": extent,
        "area": round(extent.width * extent.height, 2 * _DIGITS),
        "iscrowd": 0,
        "observation_id": one["observation_id"],
        "source": one["source"],
    }
    further = {"score": one["detector_score"], "determination_score": one["score"], "track": one["track"]}
    for name, value in further.items():
        if value is not None:
            made[name] = round(value, 5) if isinstance(value, float) else value
    return made | _shape(one, size)


def _shape(one: Row, size: tuple[int, int]) -> dict[str, Any]:
    """The mask of an observation as it came, or the corners of its rotated box, and its attributes; what is there."""
    made: dict[str, Any] = {}
    shape = boxes.shape_of(one, size)
    mask, rotated = shape["mask"], shape["rotated"]
    if mask and (area := masks.area(mask)):
        made |= {"segmentation": {"size": [mask.height, mask.width], "counts": mask.counts}, "area": area}
    elif rotated:
        corners = [round(value, _DIGITS) for corner in masks.corners_of(rotated) for value in corner]
        made |= {"segmentation": [corners], "area": round(rotated.width * rotated.height, 2 * _DIGITS)}
    if rotated:
        made["rotated"] = [round(value, _DIGITS) for value in msgspec.structs.astuple(rotated)]
    if one.get("attributes"):
        made["attributes"] = json.loads(one["attributes"])
    return made


def _said(row: Row) -> dict[str, Any]:
    """What is said of a photograph as a whole, if anything is."""
    made: dict[str, Any] = {}
    if row.get("labels"):
        keys = ("name", "score", "algorithm")
        values = zip(row["labels"], row["label_scores"], row["label_algorithms"], strict=True)
        made["labels"] = [dict(zip(keys, one, strict=True)) for one in values]
    if row.get("attributes"):
        made["attributes"] = json.loads(row["attributes"])
    return made


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


# Checking


def check(path: Path) -> Checked:
    """Check a file, by own rules and by pycocotools, as models are trained and judged with it."""

    def run() -> Iterable[str]:
        found = validators.imported("pycocotools.coco").COCO(str(path))
        annotations = found.dataset["annotations"]
        if annotations:
            keys = ("image_id", "category_id", "bbox")
            found.loadRes([{key: one[key] for key in keys} | {"score": 1.0} for one in annotations])
        lost = len(annotations) - len(found.anns)
        return [f"{counted(lost, 'annotation')} not read"] if lost else []

    return validators.checked(
        validators.first_faults(lambda: _faults(path)), "pycocotools", run, size=path.stat().st_size
    )


def _faults(path: Path) -> Iterator[str]:
    found = validators.json_object(path)
    if not isinstance(validators.value(found, "info"), dict):
        yield "`info` is missing"
    licences = {one.get("id") for one in validators.values(found, "licenses") if isinstance(one, dict)}
    categories: set[int] = set()
    names: set[str] = set()
    for number, one in enumerate(validators.values(found, "categories"), 1):
        yield from (f"category {number}: {fault}" for fault in _faults_of_id(one, categories))
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or not name.strip():
            yield f"category {number}: no `name`"
        elif name in names:
            yield f"category {number}: its name {name[:80]!r} is there twice"
        else:
            names.add(name)
    sizes: dict[int, tuple[int, int]] = {}
    images: set[int] = set()
    for number, one in enumerate(validators.values(found, "images"), 1):
        yield from (f"image {number}: {fault}" for fault in _faults_of_id(one, images))
        yield from (f"image {number}: {fault}" for fault in _faults_of_image(one, sizes, licences))
    ids: set[int] = set()
    for number, one in enumerate(validators.values(found, "annotations"), 1):
        yield from (f"annotation {number}: {fault}" for fault in _faults_of_id(one, ids))
        if isinstance(one, dict):
            yield from (f"annotation {number}: {fault}" for fault in _faults_of_annotation(one, sizes, categories))


def _faults_of_id(one: Any, ids: set[int]) -> Iterator[str]:
    number = one.get("id") if isinstance(one, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        yield f"`id` is {number!r}, not a whole number"
    elif number in ids:
        yield f"its id {number} is there twice"
    else:
        ids.add(number)


def _faults_of_image(one: Any, sizes: dict[int, tuple[int, int]], licences: set[Any]) -> Iterator[str]:
    if not isinstance(one, dict):
        return
    file = one.get("file_name")
    if not isinstance(file, str) or not file or file.startswith("/") or ".." in file.split("/") or "\\" in file:
        yield f"`file_name` is {file!r}, not a path relative to the folder of the photographs, with `/`"
    width: Any = one.get("width")
    height: Any = one.get("height")
    if not _is_size(width) or not _is_size(height):
        yield f"`width` and `height` are {width!r} and {height!r}, not pixels"
    elif isinstance(one.get("id"), int):
        sizes[one["id"]] = width, height
    for name in ("date_captured", "datetime"):
        if name in one and not _is_time(one[name]):
            yield f"`{name}` is {one[name]!r}, not such as 2026-06-12 20:10:00"
    if "license" in one and one["license"] not in licences:
        yield f"`license` is {one['license']!r}, which is none of the file"
    place: Any = one.get("frame_num")
    length: Any = one.get("seq_num_frames")
    if "seq_id" in one and not (_is_size(place) and _is_size(length) and place <= length):
        yield f"`frame_num` is {place!r} of `seq_num_frames` {length!r}"


def _faults_of_annotation(
    one: Mapping[str, Any], sizes: Mapping[int, tuple[int, int]], categories: set[int]
) -> Iterator[str]:
    if one.get("category_id") not in categories:
        yield f"`category_id` is {one.get('category_id')!r}, which is none of the file"
    size = sizes.get(one.get("image_id"))  # type: ignore[arg-type]
    if size is None:
        yield f"`image_id` is {one.get('image_id')!r}, which is not an image of the file"
    if one.get("iscrowd") not in (0, 1):
        yield f"`iscrowd` is {one.get('iscrowd')!r}, not 0 or 1"
    bbox = one.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(validators.is_number, bbox)):
        yield "`bbox` is not four numbers"
        return
    x, y, width, height = bbox
    least = 10.0**-_DIGITS
    if width <= 0 or height <= 0:
        yield f"`bbox` {bbox} is empty"
    elif size and (min(x, y) < 0 or x + width > size[0] + least or y + height > size[1] + least):
        yield f"`bbox` {bbox} is not within the photograph of {size[0]} x {size[1]}"
    if "segmentation" in one:
        yield from _faults_of_segmentation(one, size)
        return
    area = one.get("area")
    # Of a mask it may be smaller.
    if not validators.is_number(area) or not 0 < area <= width * height * 1.01 + least:  # type: ignore[operator]
        yield f"`area` is {area!r}, not that of its box"


def _faults_of_segmentation(one: Mapping[str, Any], size: tuple[int, int] | None) -> Iterator[str]:
    """A mask is of the photograph's size and has the `area`; corners are points."""
    given, area = one["segmentation"], one.get("area")
    if not validators.is_number(area) or area <= 0:  # type: ignore[operator]
        yield f"`area` is {area!r}, not that of its `segmentation`"
    if isinstance(given, list):
        if not given or not all(
            isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 and all(map(validators.is_number, part))
            for part in given
        ):
            yield "`segmentation` has a part that is not the points of a polygon"
        return
    try:
        mask = masks.of_json(json.dumps(given))
        pixels = sum(masks.checked(mask)[1::2])
    except (errors.InvalidInput, KeyError, TypeError, ValueError):
        yield "`segmentation` is not a mask in COCO's compressed run lengths"
        return
    if size and (mask.width, mask.height) != size:
        yield f"`segmentation` is of a photograph of {mask.width} x {mask.height}, which has {size[0]} x {size[1]}"
    if area != pixels:
        yield f"`area` is {area!r}, and its `segmentation` has {pixels} pixels"


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_time(text: Any) -> bool:
    return isinstance(text, str) and bool(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text)) and _exists(text)


def _exists(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
