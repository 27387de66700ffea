"""Nights as tests write them down: photographs with what was found on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

import numpy as np
import pyarrow as pa

from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import nights
from antenna_orchestration.ecology.model import Classes, Night, Place, Taxon

MOTHS = AlgorithmRef("moths", "1")
LABELS = ("Autographa gamma", "Noctua pronuba", "unlike any")
GAMMA = Taxon(
    name="Autographa gamma",
    rank="species",
    lineage={"family": "Noctuidae", "genus": "Autographa", "species": "Autographa gamma"},
    taxon_id="1773434",
)
PRONUBA = Taxon(
    name="Noctua pronuba",
    rank="species",
    lineage={"family": "Noctuidae", "genus": "Noctua", "species": "Noctua pronuba"},
    taxon_id="1776155",
)
CLASSES = {MOTHS: Classes(algorithm=MOTHS, labels=LABELS, taxa=(GAMMA, PRONUBA, None))}


def capture(number: int, time: datetime | None, *, zone: tzinfo | None = UTC, **changed: Any) -> dict[str, Any]:
    """A photograph at a local time."""
    return {
        "job_id": 1,
        "image_id": number,
        "url": f"file:///card/{number:03d}.jpg",
        "stamp": time,
        "captured_at": time.replace(tzinfo=zone).astimezone(UTC) if time and zone else None,
        "local_time": time,
        "width": 400,
        "height": 300,
        "status": "done",
        "detections": 0,
        "reason": None,
        **changed,
    }


def detection(image: int, number: int, label: str | None, score: float | None = 0.9, **changed: Any) -> dict[str, Any]:
    """A detection with its label; the rest of the probability is spread over the other classes."""
    rest = (1 - (score or 0)) / (len(LABELS) - 1)
    scores = np.array([score or 0 if one == label else rest for one in LABELS], "<f2")
    left = 10.0 * number
    return {
        "job_id": 1,
        "image_id": image,
        "detection_id": f"{image}-{number}",
        **{"x1": left, "y1": 10.0, "x2": left + 8, "y2": 16.0},
        "detector": "boxes",
        "detector_version": "1",
        "detector_score": 0.75,
        "classifier": MOTHS.key if label else None,
        "classifier_version": MOTHS.version if label else None,
        "label": label,
        "label_score": score if label else None,
        "scores": scores.tobytes() if label else None,
        "top_labels": [label] if label else None,
        "top_scores": [score] if label else None,
        **changed,
    }


def night_of(
    captures: Iterable[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]] = (),
    *,
    classifications: Sequence[Mapping[str, Any]] = (),
    night: date | None = date(2026, 6, 1),
    place: Place | None = None,
    classes: Mapping[AlgorithmRef, Classes] = CLASSES,
    **changed: Any,
) -> Night:
    """A night of these rows."""
    on = {image: sum(one["image_id"] == image for one in detections) for image in {d["image_id"] for d in detections}}
    photographs = [{**one, "detections": on.get(one["image_id"], 0)} for one in captures]
    said = [{"terminal": True, **one} for one in detections if one["classifier"]]
    return nights.of_rows(
        pa.Table.from_pylist(photographs, schema=nights.CAPTURES),
        pa.Table.from_pylist([dict(one) for one in detections], schema=nights.DETECTIONS),
        pa.Table.from_pylist([*said, *classifications], schema=nights.CLASSIFICATIONS),
        deployment="by the pond",
        night=night,
        place=place,
        classes=classes,
        **changed,
    )


def times(start: datetime, seconds: Sequence[float]) -> list[datetime]:
    """Times at these seconds after the start."""
    return [start + timedelta(seconds=one) for one in seconds]
