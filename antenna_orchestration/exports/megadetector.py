"""`megadetector`: results in MegaDetector's batch format 1.6, which Timelapse, AddaxAI and others read.

Each photograph is there once, also those on which nothing was found and those that failed. There is one category of
detections; which animal it is, its one classification says: the determination, or that a person saw no animal.
`megadetector_of_tables` makes the same format of a job's tables as they came, with all classes of each detection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from math import isnan
from pathlib import Path
from typing import Any, Final

from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.model import Taxon
from antenna_orchestration.ecology.reviews import REJECTED
from antenna_orchestration.ecology.tables import HUMAN
from antenna_orchestration.exports import boxes, pipelines, validators
from antenna_orchestration.exports.boxes import Boxes, Corners
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import BOXES, Material, Photograph, Row

FORMAT: Final = "1.6"

ANIMAL: Final = "1"
"""The one category of detections; what kind of animal it is, classifications say."""

NO_SCORE: Final = 1.0
"""What the format has for a score that was not given, as it must be a number; `info` says how many there are."""

_DIGITS: Final = 5

_COLUMNS: Final = (*boxes.COLUMNS, "detector_score", "taxon", "score", "source")

_TIME: Final = "%Y:%m:%d %H:%M:%S"

_BLOCK: Final = 500
"""Photographs whose text is written at once."""


# What a file is made of.


def head(info: Mapping[str, Any], labels: Sequence[str], taxa: Mapping[str, Taxon] | None = None) -> dict[str, Any]:
    """All but the photographs. A label's category is its place; `taxa` are those of the labels that are names."""
    made = {
        "info": {"format_version": FORMAT, **info},
        "detection_categories": {ANIMAL: boxes.UNIDENTIFIED},
        "classification_categories": {str(number): label for number, label in enumerate(labels)},
    }
    if taxa:
        made["classification_category_descriptions"] = {
            str(number): _description(number, taxa[label]) for number, label in enumerate(labels) if label in taxa
        }
    return made


def image(
    file: str,
    at: datetime | None,
    size: tuple[int | None, int | None],
    detections: list[dict[str, Any]],
    *,
    failure: str | None = None,
) -> dict[str, Any]:
    """A photograph. `at` is the camera's time, which programs that read this show."""
    made: dict[str, Any] = {"file": file}
    if at is not None:
        made["datetime"] = at.strftime(_TIME)
    if failure is not None:
        return {**made, "failure": failure, "detections": None}
    if size[0] and size[1]:
        made |= {"width": size[0], "height": size[1]}
    return {**made, "detections": detections}


def detection(
    box: Corners, size: tuple[int, int], score: float | None, classes: Sequence[tuple[int, float | None]]
) -> dict[str, Any]:
    """A detection whose box is clipped, with its classes by their places in the head, best first."""
    made: dict[str, Any] = {
        "category": ANIMAL,
        "conf": chance(score),
        "bbox": boxes.shares(box, *size, digits=_DIGITS),
    }
    if classes:
        made["classifications"] = [(str(number), chance(one)) for number, one in classes]
    return made


def chance(score: float | None) -> float:
    """The score as the format has it: a number from 0 to 1, whatever a worker calls a score."""
    return NO_SCORE if score is None or isnan(score) else round(min(max(float(score), 0.0), 1.0), _DIGITS)


def document(head: Mapping[str, Any], images: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The file in pieces, with a photograph in each line."""
    yield _text(head)[:-1] + b', "images": ['
    separator = b"\n"
    waiting: list[bytes] = []
    for one in images:
        waiting.append(_text(one))
        if len(waiting) == _BLOCK:
            yield separator + b",\n".join(waiting)
            separator, waiting = b",\n", []
    if waiting:
        yield separator + b",\n".join(waiting)
    yield b"\n]}\n"


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _description(number: int, taxon: Taxon) -> str:
    """As SpeciesNet has it: number; class; order; family; genus; epithet; common name."""
    lineage = taxon.lineage
    epithet = lineage.get("species", "").partition(" ")[2]
    names = [*(lineage.get(rank, "") for rank in ("class", "order", "family", "genus")), epithet]
    fields = [str(number), *map(str.lower, names), taxon.vernacular or ""]
    return ";".join(" ".join(one.replace(";", ",").split()) for one in fields)


# Writing


def write(material: Material, out: Path) -> Written:
    """Write a file. Raises `InvalidInput` for several pipelines, `Incomplete` if the size of no photograph is known."""
    pipelines.require_one(material)
    known = next(material.rows(_KNOWN))
    labels = sorted({label for label in known["taxa"] if label is not None})
    if known["rejected"]:
        labels.append(REJECTED)
    places = {label: number for number, label in enumerate(labels)}
    taxa = {label: taxon for label in labels if (taxon := material.names.match(label))}
    found = Boxes()
    tally = {"photographs": 0, "failed": 0}

    def images() -> Iterator[dict[str, Any]]:
        for photograph in material.photographs(*_COLUMNS):
            tally["photographs"] += 1
            tally["failed"] += photograph.row["status"] != "done"
            yield _image(photograph, found, places)

    with out.open("wb") as file:
        for piece in document(head(_info(material, known), labels, taxa), images()):
            file.write(piece)
    notes = [
        f"{counted(known[what], 'box', 'boxes')} {why}: {NO_SCORE} stands for it"
        for what, why in (
            ("scoreless", "whose detector gave no score"),
            ("human", "named by people, who give no score"),
        )
        if known[what]
    ]
    return Written(
        counts={"photographs": tally["photographs"], "boxes": found.written, "failures": tally["failed"]},
        left_out=[*found.left_out("megadetector"), *boxes.not_said(material)],
        notes=notes,
    )


_KNOWN: Final = f"""
    SELECT
        coalesce(list(DISTINCT taxon), []) AS taxa,
        coalesce(list(DISTINCT concat_ws(' ', detector, detector_version)), []) AS detectors,
        coalesce(list(DISTINCT concat_ws(' ', classifier, classifier_version)) FILTER (classifier IS NOT NULL), [])
            AS classifiers,
        count(*) FILTER (detector_score IS NULL) AS scoreless,
        count(*) FILTER (source = '{HUMAN}') AS human,
        count(*) FILTER (source = '{HUMAN}' AND taxon IS NULL) AS rejected
    FROM observations
"""  # noqa: S608  # a constant


def _info(material: Material, known: Row) -> dict[str, Any]:
    chosen = material.selection
    of_selection = {job.pipeline for job in material.jobs if chosen.pipeline in (None, job.pipeline)}
    info: dict[str, Any] = {"detector": ", ".join(sorted(known["detectors"])) or ", ".join(sorted(of_selection))}
    if known["classifiers"]:
        info["classifier"] = ", ".join(sorted(known["classifiers"]))
    finished = [job.finished_at for job in material.jobs if job.finished_at is not None]
    if material.is_complete and finished:
        info["detection_completion_time"] = max(finished).strftime("%Y-%m-%d %H:%M:%S")
    info["antenna"] = {
        "selection": chosen.name,
        "project": chosen.project,
        "jobs": [job.job_id for job in material.jobs],
        "complete": material.is_complete,
        "threshold": chosen.threshold,
        "detections_without_score": known["scoreless"],
        "named_by_people": known["human"],
        "boxes": BOXES,
    }
    return info


def _image(photograph: Photograph, found: Boxes, places: Mapping[str, int]) -> dict[str, Any]:
    row = photograph.row
    size = row["width"], row["height"]
    detections = [
        detection(box, size, one["detector_score"], _classes(one, places)) for one, box in found.of(photograph)
    ]
    failure = None
    if row["status"] != "done":
        failure = row["reason"] or "not processed"
    elif boxes.is_sizeless(photograph):
        # Without boxes it would read as empty.
        failure = "its boxes cannot be written, as its size is not known"
    return image(photograph.path, row["stamp"] or row["local_time"], size, detections, failure=failure)


def _classes(observation: Row, places: Mapping[str, int]) -> list[tuple[int, float | None]]:
    taxon = observation["taxon"]
    if taxon is not None:
        return [(places[taxon], observation["score"])]
    return [(places[REJECTED], None)] if observation["source"] == HUMAN else []


# Checking


ADVICE: Final = "pip install jsonpickle tqdm pytest, then pip install --no-deps megadetector"
"""What the package's function needs, pytest too; the requirements of the whole package bring PyTorch and more."""


def check(path: Path) -> Checked:
    """Check a file, by own rules and by the function of the package `megadetector`."""

    def run() -> Iterable[str]:
        function = validators.imported("megadetector.postprocessing.validate_batch_results").validate_batch_results
        found = function(json.loads(path.read_bytes()))["validation_results"]
        return [*found["errors"], *found["warnings"]]

    return validators.checked(
        validators.first_faults(lambda: _faults(path)),
        "megadetector",
        run,
        size=path.stat().st_size,
        advice=ADVICE,
    )


def _faults(path: Path) -> Iterator[str]:
    found = validators.json_object(path)
    info = validators.value(found, "info")
    if not isinstance(info, dict):
        yield "`info` is missing"
    elif not isinstance(info.get("format_version"), str) or not re.fullmatch(r"1\.\d+", info["format_version"]):
        yield f"info: `format_version` is {info.get('format_version')!r}, not a text such as {FORMAT!r}"
    for fault in (_faults_of_categories(found, "detection_categories"), _faults_of_classes(found)):
        yield from fault
    categories = _keys(validators.value(found, "detection_categories"))
    classes = _keys(validators.value(found, "classification_categories"))
    files: set[str] = set()
    for number, one in enumerate(validators.values(found, "images"), 1):
        place = f"image {number}"
        if not isinstance(one, dict) or not isinstance(one.get("file"), str):
            yield f"{place}: no `file`"
            continue
        place = f"{place} ({one['file'][:80]})"
        yield from (f"{place}: {fault}" for fault in _faults_of_file(one["file"], files))
        yield from (f"{place}: {fault}" for fault in _faults_of_image(one, categories, classes))


def _faults_of_classes(found: Mapping[str, Any]) -> Iterator[str]:
    if "classification_categories" in found:
        yield from _faults_of_categories(found, "classification_categories")


def _faults_of_categories(found: Mapping[str, Any], name: str) -> Iterator[str]:
    categories = validators.value(found, name)
    if not isinstance(categories, dict):
        yield f"`{name}` is missing"
        return
    for key, label in categories.items():
        if not re.fullmatch(r"\d+", key):
            yield f"{name}: the key {key[:40]!r} is not a number"
        if not isinstance(label, str) or not label.strip():
            yield f"{name}: {key[:40]} has no name"


def _keys(categories: Any) -> frozenset[str]:
    return frozenset(categories) if isinstance(categories, dict) else frozenset()


def _faults_of_file(file: str, files: set[str]) -> Iterator[str]:
    if not file or file.startswith("/") or "\\" in file or re.match("[A-Za-z]+:", file) or ".." in file.split("/"):
        yield "`file` is not a path relative to the folder of the photographs, with `/`"
    if file in files:
        yield "is there twice"
    files.add(file)


def _faults_of_image(one: Mapping[str, Any], categories: frozenset[str], classes: frozenset[str]) -> Iterator[str]:
    at = one.get("datetime")
    if at is not None and not _is_time(at):
        yield f"`datetime` is {at!r}, not such as 2026:06:12 20:10:00"
    failure, detections = one.get("failure"), one.get("detections")
    if failure is not None:
        if not isinstance(failure, str) or not failure:
            yield "`failure` is not text"
        if detections is not None or "detections" not in one:
            yield "failed, so that `detections` must be null"
        return
    if not isinstance(detections, list):
        yield "`detections` is not a list, though the image did not fail"
        return
    for number, each in enumerate(detections, 1):
        if not isinstance(each, dict):
            yield f"detection {number} is not an object"
            continue
        yield from (f"detection {number}: {fault}" for fault in _faults_of_detection(each, categories, classes))


def _faults_of_detection(each: Mapping[str, Any], categories: frozenset[str], classes: frozenset[str]) -> Iterator[str]:
    if each.get("category") not in categories:
        yield f"`category` is {each.get('category')!r}, which is none of the file"
    conf = each.get("conf")
    if not isinstance(conf, float) or not 0 <= conf <= 1:
        yield f"`conf` is {conf!r}, not a number from 0.0 to 1.0 with a decimal point"
    bbox = each.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(validators.is_number, bbox)):
        yield "`bbox` is not four numbers"
    else:
        x, y, width, height = bbox
        if width <= 0 or height <= 0:
            yield f"`bbox` {bbox} is empty"
        elif min(x, y) < 0 or max(x + width, y + height) > 1 + 10.0**-_DIGITS:
            yield f"`bbox` {bbox} is not within the photograph"
    said = each.get("classifications", [])
    if not isinstance(said, list) or not all(
        isinstance(one, list) and len(one) == 2 and validators.is_number(one[1]) for one in said
    ):
        yield "`classifications` is not a list of classes with their scores"
        return
    for key, _ in said:
        if key not in classes:
            yield f"the class {key!r} is none of the file"
    scores = [score for _, score in said]
    if scores != sorted(scores, reverse=True):
        yield "`classifications` are not in order, best first"
    if any(not 0 <= score <= 1 for score in scores):
        yield "a score of `classifications` is not from 0 to 1"


def _is_time(text: Any) -> bool:
    try:
        # Only its form is asked for.
        return isinstance(text, str) and bool(datetime.strptime(text, _TIME))  # noqa: DTZ007
    except ValueError:
        return False
