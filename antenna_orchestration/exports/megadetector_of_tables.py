"""A job's results as they came in MegaDetector's batch format: all classes of each detection, and no determinations.

The images come in the job's order and are written one by one. Detections are held meanwhile as columns of numbers:
about 150 bytes for each that has ten classes, so a million take 150 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.job import ImageStatus, Job
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports import boxes, material, megadetector
from antenna_orchestration.lake import arrow
from antenna_orchestration.lake.store import Lake

_IMAGES: Final = 2_000
"""Images read at once."""

_SIDES: Final[tuple[Literal["left", "right"], ...]] = ("left", "right")

Size = tuple[int, int]
"""Width and height in pixels."""

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Images:
    """What is known of the job's images, besides their rows in `captures`."""

    # The folder that all are in, with its slash.
    base: str
    # Sizes that `captures` does not have.
    sizes: dict[int, Size]
    # Why images failed.
    reasons: dict[int, str]


@dataclass(slots=True)
class _Found:
    """All detections of a job, sorted by image and then as the worker gave them."""

    images: Numbers
    boxes: Numbers
    scores: Numbers
    """NaN where none was given."""
    algorithms: set[str]
    # Of each detection, the classes that its decisive classification names: `classes[starts[n] : ends[n]]`.
    starts: Numbers = field(default_factory=lambda: np.empty(0, np.int64))
    ends: Numbers = field(default_factory=lambda: np.empty(0, np.int64))
    classes: Numbers = field(default_factory=lambda: np.empty(0, np.int32))
    chances: Numbers = field(default_factory=lambda: np.empty(0, np.float32))
    labels: list[str] = field(default_factory=list)
    classifiers: set[str] = field(default_factory=set)

    def keys(self) -> Numbers:
        """A number for each detection: of its image, and its place there."""
        firsts = np.searchsorted(self.images, self.images)
        return _key(self.images, np.arange(len(self.images)) - firsts)


def pieces(
    lake: Lake,
    job: Job,
    *,
    threshold: float = 0.0,
    size_of: Callable[[str], Size | None] = lambda _: None,
    is_complete: bool = True,
) -> Iterator[bytes]:
    """The JSON text in pieces, without detections whose score is below `threshold`.

    The tables of a job that is not over have its rows so far, and are not complete.
    `size_of` is asked for the size of an image that the tables do not know, by its URL. Blocks on the lake: call it
    from a thread. Before the first piece it raises `Conflict` if boxes cannot be written because the size of their
    image is not known; `Unavailable` at any time.
    """
    found = _detections(lake, job)
    _classify(found, lake, job)
    images = _Images(
        base=_common_folder(lake, job), sizes=_missing_sizes(found, lake, job, size_of), reasons=_reasons(lake, job)
    )
    head = megadetector.head(_info(found, job, threshold, is_complete=is_complete), found.labels)
    rows = (row for some in _captures(lake, job) for row in some)
    yield from megadetector.document(head, (_image(row, found, images, threshold) for row in rows))


def _detections(lake: Lake, job: Job) -> _Found:
    images, boxes, scores = [np.empty(0, np.int64)], [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
    algorithms: set[str] = set()
    columns = ["image_id", "x1", "y1", "x2", "y2", "score", "algorithm", "algorithm_version"]
    for batch in lake.batches("detections", job.job_id, columns):
        images.append(_numbers(batch["image_id"]))
        boxes.append(np.stack([_numbers(batch[corner]) for corner in columns[1:5]], axis=1))
        scores.append(_numbers(batch["score"]))
        algorithms |= _algorithms(batch)
    found = _Found(
        images=np.concatenate(images), boxes=np.concatenate(boxes), scores=np.concatenate(scores), algorithms=algorithms
    )
    # An image's rows are together and in the worker's order, and a stable sort keeps them so.
    order = np.argsort(found.images, kind="stable")
    found.images, found.boxes, found.scores = found.images[order], found.boxes[order], found.scores[order]
    return found


def _classify(found: _Found, lake: Lake, job: Job) -> None:
    """Read the classifications. The last terminal one of a detection decides; without one, the last of the others."""
    known = found.keys()
    starts, ends = np.zeros(len(known), np.int64), np.zeros(len(known), np.int64)
    is_decided = np.zeros(len(known), bool)
    classes: list[Numbers] = []
    chances: list[Numbers] = []
    numbers: dict[str, int] = {}
    written = 0
    columns = ["image_id", "detection_id", "algorithm", "algorithm_version", "label", "score", "top_labels"]
    for batch in lake.batches("classifications", job.job_id, [*columns, "top_scores", "terminal"]):
        found.classifiers |= _algorithms(batch)
        places = np.fromiter(
            (int(text.rpartition("-")[2]) for text in batch["detection_id"].to_pylist()), np.int64, batch.num_rows
        )
        keys = _key(_numbers(batch["image_id"]), places)
        owners = np.searchsorted(known, keys)
        of_batch: list[int] = []
        chances_of_batch: list[float] = []
        for owner, key, terminal, label, score, top_labels, top_scores in zip(
            owners.tolist(), keys.tolist(), *(batch[name].to_pylist() for name in
            ("terminal", "label", "score", "top_labels", "top_scores")), strict=True,
        ):  # fmt: skip
            if owner == len(known) or known[owner] != key or (is_decided[owner] and not terminal):
                continue
            is_decided[owner] = bool(terminal)
            best = dict(zip(top_labels or (), top_scores or (), strict=False)) or {label: score}
            starts[owner] = written + len(of_batch)
            for name, chance in best.items():
                of_batch.append(numbers.setdefault(name, len(numbers)))
                chances_of_batch.append(np.nan if chance is None else chance)
            ends[owner] = written + len(of_batch)
        classes.append(np.array(of_batch, np.int32))
        chances.append(np.array(chances_of_batch, np.float32))
        written += len(of_batch)
    found.starts, found.ends = starts, ends
    if classes:
        found.classes, found.chances = np.concatenate(classes), np.concatenate(chances)
    found.labels = list(numbers)


def _captures(lake: Lake, job: Job) -> Iterator[list[dict[str, Any]]]:
    columns = ["image_id", "url", "captured_at", "stamp", "width", "height", "status"]
    times = ("captured_at", "stamp")
    for batch in lake.batches("captures", job.job_id, columns):
        for start in range(0, batch.num_rows, _IMAGES):
            some = batch.slice(start, _IMAGES)
            rows: list[dict[str, Any]] = some.select([name for name in columns if name not in times]).to_pylist()
            for name in times:
                for row, at in zip(rows, arrow.moments(some[name]), strict=True):
                    row[name] = at
            yield rows


def _image(row: dict[str, Any], found: _Found, images: _Images, threshold: float) -> dict[str, Any]:
    file = material.path_below(images.base, row["url"])
    # Tables of earlier versions have no stamps.
    at: datetime | None = row["stamp"] or row["captured_at"]
    size = images.sizes.get(row["image_id"]) or (row["width"], row["height"])
    if row["status"] != ImageStatus.DONE:
        return megadetector.image(file, at, size, [], failure=images.reasons.get(row["image_id"], "not processed"))
    first, last = (int(np.searchsorted(found.images, row["image_id"], side)) for side in _SIDES)
    detections = []
    for number in range(first, last):
        # A score that was not given is below no threshold.
        if found.scores[number] < threshold:
            continue
        box = boxes.clipped(boxes.Corners(*found.boxes[number].tolist()), *size)
        if box is not None:
            chosen = range(int(found.starts[number]), int(found.ends[number]))
            classes = [(int(found.classes[one]), float(found.chances[one])) for one in chosen]
            detections.append(megadetector.detection(box, size, float(found.scores[number]), classes))
    return megadetector.image(file, at, size, detections)


def _info(found: _Found, job: Job, threshold: float, *, is_complete: bool) -> dict[str, Any]:
    info = {
        "detector": ", ".join(sorted(found.algorithms)) or job.pipeline,
        "antenna": {
            "job": job.job_id,
            "name": job.name,
            "project": job.project,
            "pipeline": job.pipeline,
            "complete": is_complete,
            "threshold": threshold,
            "detections_without_score": int(np.isnan(found.scores).sum()),
            "boxes": material.BOXES,
        },
    }
    if found.classifiers:
        info["classifier"] = ", ".join(sorted(found.classifiers))
    if is_complete and job.finished_at is not None:
        info["detection_completion_time"] = job.finished_at.strftime("%Y-%m-%d %H:%M:%S")
    return info


def _missing_sizes(found: _Found, lake: Lake, job: Job, size_of: Callable[[str], Size | None]) -> dict[int, Size]:
    """The sizes of the images with boxes that the tables do not know. Raises `Conflict` if there are more."""
    sizes: dict[int, Size] = {}
    unknown = 0
    for rows in _captures(lake, job):
        for row in rows:
            if row["width"] and row["height"]:
                continue
            place = int(np.searchsorted(found.images, row["image_id"]))
            if place == len(found.images) or found.images[place] != row["image_id"]:
                continue
            size = size_of(row["url"])
            if size is None:
                unknown += 1
            else:
                sizes[row["image_id"]] = size
    if unknown:
        raise errors.Conflict(
            f"the size of {counted(unknown, 'image')} is not known, because no worker reported it, and this format has "
            "boxes as shares of it: use the tables, whose boxes are in pixels"
        )
    return sizes


def _reasons(lake: Lake, job: Job) -> dict[int, str]:
    """Why images failed."""
    found: dict[int, str] = {}
    for batch in lake.batches("failed_images", job.job_id, ["image_id", "reason"]):
        found.update(zip(batch["image_id"].to_pylist(), batch["reason"].to_pylist(), strict=True))
    return found


def _common_folder(lake: Lake, job: Job) -> str:
    """The folder that all images are in: paths in the format are relative to where its file will lie."""
    first = last = None
    for batch in lake.batches("captures", job.job_id, ["url"]):
        urls = batch["url"].to_pylist()
        if urls:
            first, last = min(urls) if first is None else min(first, *urls), max(last or "", *urls)
    return "" if first is None or last is None else material.common_folder(first, last)


def _key(images: Numbers, places: Numbers) -> Numbers:
    return images * messages.MAX_DETECTIONS + places


def _numbers(column: pa.Array) -> Numbers:
    """The column as numbers; null is NaN."""
    numbers: Numbers = column.to_numpy(zero_copy_only=False)
    return numbers


def _algorithms(batch: pa.RecordBatch) -> set[str]:
    return {
        f"{key} {version}"
        for key, version in set(
            zip(batch["algorithm"].to_pylist(), batch["algorithm_version"].to_pylist(), strict=True)
        )
    }
