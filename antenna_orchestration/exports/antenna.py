"""`antenna`: results as processing services answer (`PipelineResultsResponse`), which the Antenna platform imports.

A file has at most 100 photographs of one pipeline. A photograph without detections is in `source_images`, which says
that it was processed. Those that failed are in files of their own, as `errors` only: in one file with others these
would be taken for failed, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from antenna_orchestration.domain import signatures
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.reviews import REJECTED
from antenna_orchestration.ecology.tables import HUMAN
from antenna_orchestration.exports import boxes, validators
from antenna_orchestration.exports.boxes import Corners
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import Material, Photograph, Row

MOST_IMAGES: Final = 100
"""Photographs in a file."""

_COLUMNS: Final = (
    *boxes.COLUMNS,
    *("job_id", "observation_id", "detector", "detector_version", "detector_score"),
    *("classifier", "classifier_version", "label", "label_score", "taxon", "score", "source", "reviewed_at"),
)

_STEPS: Final = "antenna_post_processing"
"""The key of the algorithm that stands for the steps of a recipe."""

_AS_IT_CAME: Final = ("classifier", "detector")
"""Sources of determinations that no step has changed."""

_SURE: Final = 1.0
"""A person's score, as each class must have one."""


# Writing


def write(material: Material, out: Path) -> Written:
    """Write a folder of files. Boxes are in pixels, and clipped where the size of the photograph is known."""
    out.mkdir()
    tally = _Tally()
    made: list[Path] = []
    finished: dict[int, datetime] = {job.job_id: job.finished_at or material.made_at for job in material.jobs}
    for batch in _batches(material):
        kind = "failed" if batch[0].row["status"] != "done" else "results"
        tally.files[kind] = tally.files.get(kind, 0) + 1
        made.append(out / f"{kind}-{tally.files[kind]:05}.json")
        answer = _failed(batch) if kind == "failed" else _answer(batch, finished, tally)
        made[-1].write_bytes(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
        tally.photographs += len(batch)
        tally.failed += len(batch) if kind == "failed" else 0
    outside = f"{counted(tally.outside, 'box', 'boxes')} outside of the photograph"
    return Written(
        counts={
            "photographs": tally.photographs, "boxes": tally.boxes, "failures": tally.failed, "files": len(made),
        },
        left_out=[*([outside] if tally.outside else []), *boxes.not_said(material)],
    )  # fmt: skip


@dataclass(slots=True)
class _Tally:
    files: dict[str, int] = field(default_factory=dict)
    photographs: int = 0
    failed: int = 0
    boxes: int = 0
    outside: int = 0


def _batches(material: Material) -> Iterator[list[Photograph]]:
    """Photographs of one pipeline and of one outcome, with one version of each algorithm: a file describes one only."""
    waiting: dict[bool, list[Photograph]] = {True: [], False: []}
    versions: dict[str, str | None] = {}
    pipeline = None
    for photograph in material.photographs(*_COLUMNS):
        if photograph.row["pipeline"] != pipeline:
            yield from filter(None, waiting.values())
            waiting, versions = {True: [], False: []}, {}
            pipeline = photograph.row["pipeline"]
        is_done = photograph.row["status"] == "done"
        own = _versions(photograph)
        is_other = any(versions.get(key, version) != version for key, version in own.items())
        if is_other or len(waiting[is_done]) == MOST_IMAGES:
            yield waiting[is_done]
            waiting[is_done] = []
            versions = {} if is_done else versions
        waiting[is_done].append(photograph)
        versions |= own
    yield from filter(None, waiting.values())


def _versions(photograph: Photograph) -> dict[str, str | None]:
    """Of each algorithm that said something of a photograph, its version."""
    found = photograph.observations
    kinds = ("detector", "classifier")
    return {one[kind]: one[f"{kind}_version"] for one in found for kind in kinds if one[kind] is not None}


def _failed(batch: Sequence[Photograph]) -> dict[str, Any]:
    reasons = [f"{one.path} (image {one.row['image_id']}): {one.row['reason'] or 'not processed'}" for one in batch]
    return {
        "pipeline": batch[0].row["pipeline"],
        "algorithms": {},
        # It is not kept; the schema demands a number.
        "total_time": 0.0,
        "source_images": [],
        "detections": [],
        "errors": reasons,
    }


def _answer(batch: Sequence[Photograph], finished: Mapping[int, datetime], tally: _Tally) -> dict[str, Any]:
    algorithms: dict[str, dict[str, Any]] = {}
    detections = []
    for photograph in batch:
        row = photograph.row
        for one in photograph.observations:
            box: Corners | None = Corners(*(one[corner] for corner in boxes.COLUMNS))
            if row["width"] and row["height"]:
                box = boxes.clipped(box, row["width"], row["height"])  # type: ignore[arg-type]
            if box is None:
                tally.outside += 1
                continue
            tally.boxes += 1
            detections.append(_detection(one, box, finished[one["job_id"]], algorithms))
    return {
        "pipeline": batch[0].row["pipeline"],
        "algorithms": algorithms,
        "total_time": 0.0,
        "source_images": [_source(one.row) for one in batch],
        "detections": detections,
        "errors": None,
    }


def _source(row: Row) -> dict[str, Any]:
    made = {"id": str(row["image_id"]), "url": signatures.without(row["url"])}
    return made | ({"width": row["width"], "height": row["height"]} if row["width"] and row["height"] else {})


def _detection(one: Row, box: Corners, finished: datetime, algorithms: dict[str, dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "source_image_id": str(one["image_id"]),
        "bbox": dict(zip(box._fields, (round(edge, 3) for edge in box), strict=True)),
        "algorithm": _algorithm(algorithms, one["detector"], one["detector_version"], "localization"),
        "timestamp": _moment(finished),
        "inference_time": None,
        "crop_image_url": None,
        "classifications": list(_classifications(one, finished, algorithms)),
        "observation_id": one["observation_id"],
    }
    if one["detector_score"] is not None:
        made["score"] = round(one["detector_score"], 5)
    return made


def _classifications(one: Row, finished: datetime, algorithms: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the classifier said, and then the determination, if it is another word; the last one is terminal."""
    is_decided = one["source"] not in _AS_IT_CAME
    if one["classifier"] is not None and one["label"] is not None:
        algorithm = _algorithm(algorithms, one["classifier"], one["classifier_version"], "classification")
        yield _classification(one["label"], one["label_score"], algorithm, finished, is_terminal=not is_decided)
    if not is_decided:
        return
    if one["source"] == HUMAN:
        algorithm = _algorithm(algorithms, HUMAN, None, "classification")
        at = one["reviewed_at"] or finished
        yield _classification(one["taxon"] or REJECTED, _SURE, algorithm, at, is_terminal=True)
    elif one["taxon"] is not None:
        algorithm = _algorithm(algorithms, _STEPS, None, "classification")
        yield _classification(one["taxon"], one["score"], algorithm, finished, is_terminal=True)


def _classification(
    label: str, score: float | None, algorithm: Mapping[str, str], at: datetime, *, is_terminal: bool
) -> dict[str, Any]:
    return {
        "classification": label,
        "labels": [label] if score is not None else None,
        "scores": [] if score is None else [round(min(max(score, 0.0), 1.0), 5)],
        "logits": None,
        "inference_time": None,
        "algorithm": algorithm,
        "terminal": is_terminal,
        "timestamp": _moment(at),
    }


def _algorithm(
    algorithms: dict[str, dict[str, Any]], key: str | None, version: str | None, task: str
) -> dict[str, str]:
    """A reference to an algorithm, which is described once in the file."""
    key = key or "unknown"
    algorithms.setdefault(
        key,
        {
            "name": key,
            "key": key,
            "description": None,
            "task_type": task,
            # The schema's own is a number.
            "version": 1,
            "version_name": version,
            "uri": None,
            "category_map": None,
        },
    )
    return {"name": key, "key": key}


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


# Checking: the schema as the platform and its usual service have it; where they differ, as whoever demands more has it.


class _Reference(msgspec.Struct):
    name: str
    key: str


class _Corners(msgspec.Struct):
    x1: float
    y1: float
    x2: float
    y2: float


class _Classified(msgspec.Struct):
    classification: str
    algorithm: _Reference
    timestamp: datetime
    labels: list[str] | None = None
    scores: list[float] = []
    logits: list[float] | None = None
    inference_time: float | None = None
    terminal: bool = True


class _Found(msgspec.Struct):
    source_image_id: str
    bbox: _Corners
    algorithm: _Reference
    timestamp: datetime
    inference_time: float | None = None
    crop_image_url: str | None = None
    classifications: list[_Classified] = []


class _Photographed(msgspec.Struct):
    id: str
    url: str


class _Described(msgspec.Struct):
    name: str
    key: str
    version: int = 1
    description: str | None = None
    task_type: str | None = None
    version_name: str | None = None
    uri: str | None = None


class _Answer(msgspec.Struct):
    pipeline: str
    total_time: float
    source_images: list[_Photographed]
    # Looked at one by one.
    detections: list[msgspec.Raw]
    algorithms: dict[str, _Described] = {}
    errors: list[str] | str | None = None


def check(path: Path) -> Checked:
    """Check a folder by own rules, which have the schema; no library of its own does."""
    return Checked(faults=validators.first_faults(lambda: _faults(path)), by=[validators.OWN])


def _faults(path: Path) -> Iterator[str]:
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    # What this project writes beside it.
    files = [file for file in files if file.name != "antenna-export.json"]
    if not files:
        yield f"{path.name} has no JSON files"
    seen: set[tuple[str, str]] = set()
    for file in files:
        try:
            answer = msgspec.json.decode(file.read_bytes(), type=_Answer)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            yield f"{file.name}: {error}"
            continue
        yield from (f"{file.name}: {fault}" for fault in _faults_of_answer(answer, seen))


def _faults_of_answer(answer: _Answer, seen: set[tuple[str, str]]) -> Iterator[str]:
    if not answer.pipeline:
        yield "`pipeline` is empty"
    if len(answer.source_images) > MOST_IMAGES:
        yield f"{len(answer.source_images)} photographs, more than {MOST_IMAGES}"
    for number, photograph in enumerate(answer.source_images, 1):
        if not photograph.id or not photograph.url:
            yield f"photograph {number} has no `id` or no `url`"
        if (answer.pipeline, photograph.id) in seen:
            yield f"photograph {photograph.id} is there twice"
        seen.add((answer.pipeline, photograph.id))
    for key, described in answer.algorithms.items():
        if described.key != key:
            yield f"algorithm {key!r} has the key {described.key!r}"
    ids = {one.id for one in answer.source_images}
    for number, raw in enumerate(answer.detections, 1):
        try:
            found = msgspec.json.decode(raw, type=_Found)
        except msgspec.MsgspecError as error:
            yield f"detection {number}: {error}"
            continue
        if found.source_image_id not in ids:
            yield f"detection {number}: photograph {found.source_image_id!r} is not in `source_images`"
        yield from (f"detection {number}: {fault}" for fault in _faults_of_detection(found, answer.algorithms))


def _faults_of_detection(found: _Found, algorithms: Mapping[str, _Described]) -> Iterator[str]:
    box = found.bbox
    if not (box.x2 > box.x1 and box.y2 > box.y1):
        yield "its box is empty"
    if min(box.x1, box.y1) < 0:
        yield "its box is not within the photograph"
    said = [(one.algorithm.key, one.timestamp) for one in found.classifications]
    for key, at in [(found.algorithm.key, found.timestamp), *said]:
        if key not in algorithms:
            yield f"the algorithm {key!r} is not in `algorithms`"
        if at.tzinfo is None:
            yield "a `timestamp` has no offset"
    for one in found.classifications:
        if not one.classification:
            yield "a classification is empty"
        if any(not 0 <= score <= 1 for score in one.scores):
            yield f"a score of {one.classification!r} is not from 0 to 1"
        if one.labels is not None and len(one.labels) != len(one.scores):
            yield f"{one.classification!r} has {len(one.labels)} labels, but {len(one.scores)} scores"
