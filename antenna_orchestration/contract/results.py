"""Reads posts of results as workers write them: validates each item, and reduces its scores while reading.

It runs outside the event loop, and for large bodies in a separate process; it uses no store. A body is read once, from
memory or from a memory-mapped file, and the scores of only one classification are decoded at a time. So memory stays
small even with 29,176 scores per classification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from antenna_orchestration import errors
from antenna_orchestration.domain import messages

MOST_ITEMS: Final = 10_000
"""Most results in one post; existing workers post 8 to 64 at a time."""

MOST_BYTES: Final = 64 * 2**20
"""Largest result of one image in bytes; the largest seen is 17 MB, with 29,176 classes."""

MOST_CLASSIFICATIONS: Final = 100
"""Most classifications of one detection."""

MOST_SCORES: Final = 4 * 2**20
"""Largest list of scores of one classification, in bytes of JSON: about 200,000 classes."""

UNKNOWN_VERSION: Final = "unknown"
"""Version of an algorithm that is not in a registered pipeline."""

Id = str | int


class Reduction(msgspec.Struct, frozen=True, kw_only=True):
    """Which scores of a job are kept, and the labels to name them by."""

    top_k: int
    """How many of the best classes are kept."""
    full_scores: bool
    """Whether the whole score vector is kept too, as little-endian float16."""
    algorithms: dict[str, tuple[str, list[str]]]
    """Version and labels of the pipeline's registered algorithms, by key."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a post."""

    kind: Literal["done", "failed", "invalid"]
    """The outcome by the worker's report; `invalid` if the item cannot be read."""
    reply_subject: str | None = None
    image_id: str | None = None
    reason: str | None = None
    detections: list[messages.Detection] = []
    seconds: float = 0.0
    """Processing time as the worker reports it; 0 if it does not."""
    width: int | None = None
    height: int | None = None
    """Pixels of the image, as the worker reports them; None if it does not."""


class _Envelope(msgspec.Struct):
    results: list[msgspec.Raw]


class _Pair(msgspec.Struct):
    result: msgspec.Raw
    reply_subject: str | None = None


class _Source(msgspec.Struct):
    id: Id
    width: Any = None
    height: Any = None


class _Box(msgspec.Struct):
    x1: float
    y1: float
    x2: float
    y2: float


class _Algorithm(msgspec.Struct):
    key: str
    name: str = ""


class _Classification(msgspec.Struct):
    algorithm: _Algorithm
    classification: str
    scores: msgspec.Raw = msgspec.Raw()
    labels: list[str] | None = None
    terminal: bool = True
    inference_time: Any = None


class _Detection(msgspec.Struct):
    algorithm: _Algorithm
    source_image_id: Id | None = None
    bbox: _Box | None = None
    score: float | None = None
    classifications: list[msgspec.Raw] | None = None
    inference_time: Any = None


class _Result(msgspec.Struct):
    """A success or a failure; a failure has `error`."""

    error: str | msgspec.UnsetType | None = msgspec.UNSET
    image_id: Id | None = None
    source_images: list[_Source] | None = None
    detections: list[msgspec.Raw] | None = None
    total_time: float | None = None


def read_post(body: Any, reduction: Reduction) -> Iterator[Item]:
    """The results of a post, one at a time. `body` is bytes or any object with the buffer interface.

    Raises `InvalidInput` if the body is not a post, and `TooLarge` if it has more than `MOST_ITEMS` results; both
    before the first item. An item that cannot be read is returned with the kind `invalid`.
    """
    try:
        first = bytes(memoryview(body)[:64]).lstrip()[:1]
        # Workers from before April 2026 post the list without an object around it.
        raws = (
            msgspec.json.decode(body, type=list[msgspec.Raw])
            if first == b"["
            else msgspec.json.decode(body, type=_Envelope).results
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidInput(f"not a post of results: {error}") from None
    if len(raws) > MOST_ITEMS:
        raise errors.TooLarge(f"{len(raws)} results in one post; the limit is {MOST_ITEMS}")
    for raw in raws:
        yield _item(raw, reduction)


def _item(raw: msgspec.Raw, reduction: Reduction) -> Item:
    reply_subject: str | None = None
    image_id: str | None = None
    try:
        if len(memoryview(raw)) > MOST_BYTES:
            raise errors.InvalidInput(f"larger than {MOST_BYTES} bytes")
        pair = msgspec.json.decode(raw, type=_Pair)
        reply_subject = pair.reply_subject
        result = msgspec.json.decode(pair.result, type=_Result)
        image_id = _image_id(result)
        if result.error is not msgspec.UNSET and (result.error is not None or result.detections is None):
            reason = plain(str(result.error or "no reason given"))
            return Item(kind="failed", reply_subject=reply_subject, image_id=image_id, reason=reason)
        if result.detections is None:
            raise errors.InvalidInput("neither detections nor an error")
        detections = _detections(result.detections, image_id, reduction)
        messages.check_detections(detections)
        size = result.source_images[0] if result.source_images else _Source("")
        return Item(
            kind="done",
            reply_subject=reply_subject,
            image_id=image_id,
            detections=detections,
            seconds=_seconds(result.total_time) or 0.0,
            width=_pixels(size.width),
            height=_pixels(size.height),
        )
    except (
        msgspec.DecodeError,
        errors.InvalidInput,
        UnicodeDecodeError,
        OverflowError,
        ValueError,
        RecursionError,
    ) as error:
        return Item(kind="invalid", reply_subject=reply_subject, image_id=image_id, reason=plain(str(error)))


def _image_id(result: _Result) -> str | None:
    if result.image_id is not None:
        return str(result.image_id)
    named = {str(source.id) for source in result.source_images or []}
    if len(named) > 1:
        raise errors.InvalidInput(f"one result names {len(named)} images; there must be one result per image")
    return next(iter(named), None)


def _seconds(said: Any) -> float | None:
    """A time that can be; None for any other value, which is no reason to refuse a result."""
    return float(said) if isinstance(said, (int, float)) and 0 <= said < 1e9 else None


def _pixels(said: Any) -> int | None:
    """A size that an image can have; None for any other value."""
    return said if type(said) is int and 0 < said <= messages.MAX_NUMBER else None


def _detections(raws: Sequence[msgspec.Raw], image_id: str | None, reduction: Reduction) -> list[messages.Detection]:
    if len(raws) > messages.MAX_DETECTIONS:
        raise errors.InvalidInput(f"{len(raws)} detections in one image; the limit is {messages.MAX_DETECTIONS}")
    made: list[messages.Detection] = []
    for raw in raws:
        found = msgspec.json.decode(raw, type=_Detection)
        if found.source_image_id is not None and image_id is not None and str(found.source_image_id) != image_id:
            raise errors.InvalidInput(f"a detection of image {found.source_image_id} in the result of {image_id}")
        if found.bbox is None:
            # By the contract, a detection without a box means that the image was processed and nothing was found.
            continue
        raw_classifications = found.classifications or []
        if len(raw_classifications) > MOST_CLASSIFICATIONS:
            raise errors.InvalidInput(f"{len(raw_classifications)} classifications of one detection")
        made.append(
            messages.Detection(
                box=(found.bbox.x1, found.bbox.y1, found.bbox.x2, found.bbox.y2),
                score=found.score,
                algorithm=_reference(found.algorithm, reduction),
                classifications=[_classification(each, reduction) for each in raw_classifications],
                inference_time=_seconds(found.inference_time),
            )
        )
    return made


def _classification(raw: msgspec.Raw, reduction: Reduction) -> messages.Classification:
    said = msgspec.json.decode(raw, type=_Classification)
    algorithm = _reference(said.algorithm, reduction)
    label = plain(said.classification)
    seconds = _seconds(said.inference_time)
    scores = _scores(said.scores)
    if not len(scores):
        return messages.Classification(
            algorithm=algorithm, label=label, score=None, terminal=said.terminal, inference_time=seconds
        )
    labels = said.labels or reduction.algorithms.get(said.algorithm.key, ("", []))[1]
    vector = scores.astype("<f2").tobytes() if reduction.full_scores else None
    if len(labels) != len(scores):
        # The names of the other classes are not known.
        return messages.Classification(
            algorithm=algorithm,
            label=label,
            score=float(scores.max()),
            terminal=said.terminal,
            scores=vector,
            inference_time=seconds,
        )
    best = _best(scores, reduction.top_k)
    return messages.Classification(
        algorithm=algorithm,
        label=label,
        score=float(scores[labels.index(label)] if label in labels else scores.max()),
        top_labels=[labels[index] for index in best],
        top_scores=[float(scores[index]) for index in best],
        terminal=said.terminal,
        scores=vector,
        inference_time=seconds,
    )


def _scores(raw: msgspec.Raw) -> npt.NDArray[np.float64]:
    size = len(memoryview(raw))
    if not size:
        return np.empty(0)
    if size > MOST_SCORES:
        raise errors.InvalidInput("more scores than any classifier has classes")
    scores = np.asarray(msgspec.json.decode(raw, type=list[float] | None) or [], dtype=np.float64)
    if not np.isfinite(scores).all():
        raise errors.InvalidInput("a score is not a finite number")
    return scores


def _best(scores: npt.NDArray[np.float64], wanted: int) -> list[int]:
    """Indices of the `wanted` best scores, best first; among equal scores the first index comes first."""
    candidates = np.arange(len(scores))
    if wanted < len(scores):
        candidates = np.flatnonzero(scores >= np.partition(scores, -wanted)[-wanted])
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    return [int(index) for index in order[:wanted]]


def _reference(algorithm: _Algorithm, reduction: Reduction) -> messages.AlgorithmRef:
    version, _ = reduction.algorithms.get(algorithm.key, (UNKNOWN_VERSION, []))
    return messages.AlgorithmRef(plain(algorithm.key), version)


def plain(text: str) -> str:
    """The text as lake and terminals accept it: without unprintable characters, cut to `MAX_TEXT` characters."""
    return "".join(character if character.isprintable() else " " for character in text[: messages.MAX_TEXT])


def reduction_of(
    config: Mapping[str, Any], *, top_k: int, algorithms: Mapping[str, tuple[str, list[str]]]
) -> Reduction:
    """The reduction for a job: `top_k` and `full_scores` of its configuration, else the given default.

    `algorithms` gives version and labels of the pipeline's registered algorithms, by key.
    """
    wanted = config.get("top_k")
    return Reduction(
        top_k=wanted if isinstance(wanted, int) and 1 <= wanted <= 1000 else top_k,
        full_scores=bool(config.get("full_scores")),
        algorithms=dict(algorithms),
    )
