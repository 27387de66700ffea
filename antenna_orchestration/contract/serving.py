"""The other side of `contract/pushing.py`: reads a request of `POST /process`, and writes the answer to it.

The contract has one answer for all images of a request, and nothing for a single one that failed. Here such an image is
missing from `source_images`, and `errors` has an entry for it in the form in which workers behind the gateway report
theirs, `{"image_id", "error"}`. `pushing.read_answer` reads it so; other clients see that the image is not named.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.contract import results
from antenna_orchestration.domain import job_config, messages
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection, GivenBox

MOST_IMAGES: Final = 1_000
"""Images in one request; what a push worker sends at most."""

LONGEST_ID: Final = 200
"""Characters of an image's id."""

MOST_OBJECTS: Final = 200_000
"""Objects in a request; each takes more memory than it does on the wire."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One image of a request."""

    image_id: str
    url: str
    # Boxes to classify; None if the pipeline is to look for some.
    given: list[GivenBox] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request as the contract has it."""

    pipeline: str
    images: list[Wanted]
    config: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a pipeline found in an image. Sizes in pixels, seconds of inference."""

    width: int | None
    height: int | None
    detections: Sequence[Detection]
    seconds: float


@dataclass(frozen=True, slots=True)
class Known:
    """An algorithm of a pipeline as `/info` shows it: its name, and its labels in order."""

    name: str
    labels: Sequence[str]
    # Where each label stands; the first one of equal labels counts.
    places: Mapping[str, int]

    @classmethod
    def of(cls, name: str, labels: Sequence[str]) -> Known:
        """With the places of the labels."""
        return cls(name, labels, {label: place for place, label in reversed(list(enumerate(labels)))})


class _Image(msgspec.Struct):
    id: results.Id
    url: str


class _Named(msgspec.Struct):
    id: results.Id


class _Given(msgspec.Struct):
    source_image: _Named
    algorithm: results.Algorithm
    bbox: results.Box | None = None
    score: float | None = None


class _Request(msgspec.Struct):
    pipeline: str
    source_images: list[_Image]
    detections: list[_Given] | None = None
    config: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(_Request)


def read_request(body: bytes) -> Request:
    """Raises `InvalidInput` for what is not a request, with the field that is wrong."""
    if body.count(b"{") > MOST_OBJECTS:
        raise errors.TooLarge(f"the request has more than {MOST_OBJECTS:,} objects; split it")
    try:
        said = _decoder.decode(body)
        config = _config(said.config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidInput(f"not a request to process images: {error}") from None
    if not 1 <= len(said.source_images) <= MOST_IMAGES:
        raise errors.InvalidInput(f"{len(said.source_images)} source_images; send 1 to {MOST_IMAGES}")
    ids = [str(one.id) for one in said.source_images]
    if len(set(ids)) < len(ids):
        raise errors.InvalidInput("two of the source_images have the same id")
    if any(len(one) > LONGEST_ID for one in ids):
        raise errors.InvalidInput(f"an image's id has more than {LONGEST_ID} characters")
    given = _given(said.detections or [])
    images = [
        Wanted(image_id=name, url=one.url, given=given.get(name))
        for name, one in zip(ids, said.source_images, strict=True)
    ]
    return Request(pipeline=said.pipeline, images=images, config=config)


def _config(said: msgspec.Raw) -> dict[str, Any]:
    if len(memoryview(said)) > 2 * job_config.MAX_BYTES:
        raise errors.InvalidInput(f"the config is larger than {job_config.MAX_BYTES} bytes")
    config = msgspec.json.decode(said, type=dict[str, Any] | None) or {}
    job_config.check(config)
    return config


def _given(said: Sequence[_Given]) -> dict[str, list[GivenBox]]:
    """The boxes to classify by image. A detection without a box says that nothing was found, and is none."""
    given: dict[str, list[GivenBox]] = {}
    for one in said:
        if one.bbox is None:
            continue
        box = (one.bbox.x1, one.bbox.y1, one.bbox.x2, one.bbox.y2)
        algorithm = AlgorithmRef(results.plain(one.algorithm.key), results.UNKNOWN_VERSION)
        messages.check_detections([Detection(box=box, score=one.score, algorithm=algorithm)])
        boxes = given.setdefault(str(one.source_image.id), [])
        boxes.append(GivenBox(box, one.score, algorithm))
        if len(boxes) > messages.MAX_DETECTIONS:
            raise errors.InvalidInput(f"more than {messages.MAX_DETECTIONS} detections of one image")
    return given


def answer_body(
    request: Request,
    outcomes: Mapping[str, Found | str],
    *,
    seconds: float,
    known: Mapping[str, Known],
) -> bytes:
    """The JSON body of the answer. `outcomes` has what was found, or why an image failed, by its id.

    `known` has the pipeline's algorithms by key. Scores of all classes go out without labels, in
    the order in which `/info` has them; else those of the best classes, with their labels.
    """
    now = datetime.now(UTC).isoformat()
    done = [(one, said) for one in request.images if not isinstance(said := outcomes[one.image_id], str)]
    faults = [
        {"image_id": one.image_id, "error": said}
        for one in request.images
        if isinstance(said := outcomes[one.image_id], str)
    ]
    return msgspec.json.encode(
        {
            "pipeline": request.pipeline,
            "algorithms": {},
            "total_time": seconds,
            "source_images": [
                {"id": one.image_id, "url": _shown(one.url), "width": said.width, "height": said.height}
                for one, said in done
            ],
            "detections": [
                _detection(one.image_id, found, said.seconds, now, known)
                for one, said in done
                for found in said.detections
            ],
            "errors": faults or None,
        }
    )


def _shown(url: str) -> str:
    """A URL that holds the image itself is not sent back."""
    return url if len(url) <= messages.MAX_TEXT else f"{url[:32]}…"


def _detection(image_id: str, found: Detection, seconds: float, now: str, known: Mapping[str, Known]) -> dict[str, Any]:
    return {
        "source_image_id": image_id,
        "bbox": dict(zip(("x1", "y1", "x2", "y2"), found.box, strict=True)),
        "score": found.score,
        "inference_time": seconds,
        "algorithm": _algorithm(found.algorithm, known),
        "timestamp": now,
        "crop_image_url": None,
        "classifications": [_classification(one, seconds, now, known) for one in found.classifications],
    }


def _classification(said: Classification, seconds: float, now: str, known: Mapping[str, Known]) -> dict[str, Any]:
    every = _all_scores(said, known.get(said.algorithm.key))
    best = dict(zip(said.top_labels, said.top_scores, strict=True))
    if not best and said.score is not None:
        best = {said.label: said.score}
    return {
        "classification": said.label,
        "labels": None if every else list(best) or None,
        "scores": every or list(best.values()),
        "logits": None,
        "inference_time": seconds,
        "algorithm": _algorithm(said.algorithm, known),
        "terminal": said.terminal,
        "timestamp": now,
    }


def _all_scores(said: Classification, known: Known | None) -> list[float]:
    """The scores of all classes, if they are known and told of which; those of the best classes unrounded."""
    if known is None or not said.scores or len(said.scores) != 2 * len(known.labels):
        return []
    every = list(struct.unpack(f"<{len(known.labels)}e", said.scores))
    for label, score in ((said.label, said.score), *zip(said.top_labels, said.top_scores, strict=True)):
        if score is not None and label in known.places:
            every[known.places[label]] = score
    return every


def _algorithm(said: AlgorithmRef, known: Mapping[str, Known]) -> dict[str, str]:
    return {"name": known[said.key].name if said.key in known else said.key, "key": said.key}
