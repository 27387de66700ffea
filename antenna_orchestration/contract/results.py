"""Reads posts of results as workers write them: validates each item, and reduces its scores while reading.

It runs outside the event loop, and for large bodies in a separate process; it uses no store. A body is read from memory
or from a memory-mapped file: the outlines of its items first, and then the scores, those of one classification at a
time. So memory stays small even with 29,176 scores per classification. What is not kept is skipped.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from antenna_orchestration import errors
from antenna_orchestration.domain import messages, plain_text, redaction, score_vectors

MOST_ITEMS: Final = 10_000
"""Most results in one post; existing workers post 8 to 64 at a time."""

MOST_BYTES: Final = 64 * 2**20
"""Largest result of one image in bytes; the largest seen is 17 MB, with 29,176 classes."""

MOST_CLASSIFICATIONS: Final = 100
"""Most classifications of one detection."""

MOST_SCORES: Final = 4 * 2**20
"""Largest list of scores of one classification, in bytes of JSON: about 200,000 classes."""

MOST_LABELS: Final = 16 * 2**20
"""Characters of the labels kept of one result: a short post can name long registered labels again and again."""

FEW: Final = 64
"""Scores that Python sorts faster than NumPy finds the best of them."""

FULL_SCORES: Final = "full_scores"
"""How jobs of earlier versions say `scores: full` or, where it is false, `scores: top`."""

UNKNOWN_VERSION: Final = "unknown"
"""Version of an algorithm that is not in a registered pipeline."""

Id = str | int


class Reduction(msgspec.Struct, frozen=True, kw_only=True):
    """Which scores of a job are kept, and the labels to name them by."""

    top_k: int
    """How many of the best classes are kept."""
    scores: str
    """Whether the scores of all classes are kept too: `auto`, `top` or `full`, as `domain/score_vectors.py` has it."""
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


# `gc=False`: they hold no cycles, and the collector would walk them again and again.
class _Envelope(msgspec.Struct, gc=False):
    results: list[msgspec.Raw]


class _Source(msgspec.Struct, gc=False):
    id: Id
    width: Any = None
    height: Any = None


class Box(msgspec.Struct, gc=False):
    """A box as the contract has it, in pixels."""

    x1: float
    y1: float
    x2: float
    y2: float


class Algorithm(msgspec.Struct, gc=False):
    """An algorithm as results name it."""

    key: str
    name: str = ""


class _Classification(msgspec.Struct, gc=False):
    algorithm: Algorithm
    classification: str
    scores: msgspec.Raw = msgspec.Raw()
    logits: msgspec.Raw = msgspec.Raw()
    labels: list[str] | None = None
    terminal: bool = True
    inference_time: Any = None


class _Detection(msgspec.Struct, gc=False):
    algorithm: Algorithm
    source_image_id: Id | None = None
    bbox: Box | None = None
    score: float | None = None
    classifications: list[_Classification] | None = None
    inference_time: Any = None


class _Named(msgspec.Struct, gc=False):
    """What a result says besides its detections. A failure has `error`."""

    error: str | msgspec.UnsetType | None = msgspec.UNSET
    image_id: Id | None = None
    source_images: list[_Source] | None = None
    total_time: float | None = None


class _Result(_Named, gc=False):
    detections: list[_Detection] | None = None


class _Pair(msgspec.Struct, gc=False):
    result: _Result
    reply_subject: str | None = None


class _Post(msgspec.Struct, gc=False):
    results: list[_Pair]


class _LoosePair(msgspec.Struct, gc=False):
    """An item of which something cannot be read."""

    result: msgspec.Raw = msgspec.Raw()
    reply_subject: str | None = None


_pairs = msgspec.json.Decoder(_Pair)
# JSON knows neither NaN nor infinity, and msgspec refuses a number that a float cannot hold.
_score_lists = msgspec.json.Decoder(list[float] | None)

_LONGEST_REASON: Final = 16 * messages.MAX_TEXT

_UNREADABLE: Final = (
    msgspec.DecodeError,
    errors.InvalidInput,
    UnicodeDecodeError,
    OverflowError,
    ValueError,
    RecursionError,
)


class _Known:
    """The reduction, and where a label stands among those of a registered algorithm."""

    def __init__(self, reduction: Reduction) -> None:
        self.reduction = reduction
        self._places: dict[str, dict[str, int]] = {}

    def place(self, algorithm: str, label: str) -> int | None:
        """The index of a label; None when the algorithm has no such label."""
        places = self._places.get(algorithm)
        if places is None:
            _, labels = self.reduction.algorithms.get(algorithm, ("", []))
            # Of equal labels the first one counts.
            places = self._places[algorithm] = {plain(labels[i]): i for i in range(len(labels) - 1, -1, -1)}
        return places.get(label)


def read_post(body: Any, reduction: Reduction) -> Iterator[Item]:
    """The results of a post, one at a time. `body` is bytes or any object with the buffer interface.

    Raises `InvalidInput` if the body is not a post, and `TooLarge` if it has more than `MOST_ITEMS` results; both
    before the first item. An item that cannot be read is returned with the kind `invalid`.
    """
    try:
        items = _outlines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidInput(f"not a post of results: {error}") from None
    if len(items) > MOST_ITEMS:
        raise errors.TooLarge(f"{len(items)} results in one post; the limit is {MOST_ITEMS}")
    known = _Known(reduction)
    for each in items:
        yield _item(each, known)


def _outlines(body: Any) -> Sequence[_Pair] | Sequence[msgspec.Raw]:
    """The items of a post without their scores; as they were written when one of them cannot be read, or all are large.

    Large is what is larger than one item may be, so that outlines take no more memory than those of one item.
    """
    # Workers from before April 2026 post the list without an object around it.
    is_list = bytes(memoryview(body)[:64]).lstrip()[:1] == b"["
    if len(memoryview(body)) <= MOST_BYTES:
        with contextlib.suppress(*_UNREADABLE):
            # Each pass over a post with all scores and logits takes longer than decoding its outlines.
            if is_list:
                return msgspec.json.decode(body, type=list[_Pair])
            return msgspec.json.decode(body, type=_Post).results
    if is_list:
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    return msgspec.json.decode(body, type=_Envelope).results


def _item(said: _Pair | msgspec.Raw, known: _Known) -> Item:
    try:
        pair = said if isinstance(said, _Pair) else _pair(said)
        result = pair.result
        image_id = _image_id(result)
        if result.error is not msgspec.UNSET and (result.error is not None or result.detections is None):
            return _failed(result.error, pair.reply_subject, image_id)
        if result.detections is None:
            raise errors.InvalidInput("neither detections nor an error")
        detections = _detections(result.detections, image_id, known)
        messages.check_detections(detections)
        size = result.source_images[0] if result.source_images else _Source("")
        return Item(
            kind="done",
            reply_subject=pair.reply_subject,
            image_id=image_id,
            detections=detections,
            seconds=_seconds(result.total_time) or 0.0,
            width=_pixels(size.width),
            height=_pixels(size.height),
        )
    except _UNREADABLE as error:
        return _unreadable(said, error)


def _pair(raw: msgspec.Raw) -> _Pair:
    if len(memoryview(raw)) > MOST_BYTES:
        raise errors.InvalidInput(f"larger than {MOST_BYTES} bytes")
    return _pairs.decode(raw)


def _failed(error: str | None, reply_subject: str | None, image_id: str | None) -> Item:
    reason = reason_of(error or "") or "no reason given"
    return Item(kind="failed", reply_subject=reply_subject, image_id=image_id, reason=reason)


def _unreadable(said: _Pair | msgspec.Raw, error: Exception) -> Item:
    """An item that cannot be read as a whole, with what can be read of it."""
    reply_subject: str | None = None
    image_id: str | None = None
    with contextlib.suppress(*_UNREADABLE):
        pair = said if isinstance(said, _Pair) else msgspec.json.decode(said, type=_LoosePair)
        reply_subject = pair.reply_subject
        named = msgspec.json.decode(pair.result, type=_Named) if isinstance(pair, _LoosePair) else pair.result
        image_id = _image_id(named)
        if isinstance(named.error, str):
            return _failed(named.error, reply_subject, image_id)
    return Item(kind="invalid", reply_subject=reply_subject, image_id=image_id, reason=reason_of(str(error)))


def _image_id(result: _Named) -> str | None:
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


def _detections(said: Sequence[_Detection], image_id: str | None, known: _Known) -> list[messages.Detection]:
    if len(said) > messages.MAX_DETECTIONS:
        raise errors.InvalidInput(f"{len(said)} detections in one image; the limit is {messages.MAX_DETECTIONS}")
    made: list[messages.Detection] = []
    kept = 0
    for found in said:
        if found.source_image_id is not None and image_id is not None and str(found.source_image_id) != image_id:
            raise errors.InvalidInput(f"a detection of image {found.source_image_id} in the result of {image_id}")
        if found.bbox is None:
            # By the contract, a detection without a box means that the image was processed and nothing was found.
            continue
        classifications = found.classifications or []
        if len(classifications) > MOST_CLASSIFICATIONS:
            raise errors.InvalidInput(f"{len(classifications)} classifications of one detection")
        classified = [_classification(each, known) for each in classifications]
        kept += sum(len(label) for each in classified for label in (each.label, *each.top_labels))
        if kept > MOST_LABELS:
            raise errors.InvalidInput(f"more than {MOST_LABELS} characters of labels")
        made.append(
            messages.Detection(
                box=(found.bbox.x1, found.bbox.y1, found.bbox.x2, found.bbox.y2),
                score=found.score,
                algorithm=_reference(found.algorithm, known.reduction),
                classifications=classified,
                inference_time=_seconds(found.inference_time),
            )
        )
    return made


def _classification(said: _Classification, known: _Known) -> messages.Classification:
    reduction = known.reduction
    algorithm = _reference(said.algorithm, reduction)
    label = plain(said.classification, most=messages.MAX_LABEL)
    seconds = _seconds(said.inference_time)
    registered = reduction.algorithms.get(said.algorithm.key, ("", []))[1]
    scores = _scores(said.scores) or _of_logits(said.logits, len(registered))
    if not scores:
        return messages.Classification(
            algorithm=algorithm, label=label, score=None, terminal=said.terminal, inference_time=seconds
        )
    labels = said.labels or registered
    vector = _vector(scores, said.labels, registered, reduction.scores)
    if len(labels) != len(scores):
        # The names of the other classes are not known.
        return messages.Classification(
            algorithm=algorithm,
            label=label,
            score=max(scores),
            terminal=said.terminal,
            scores=vector,
            inference_time=seconds,
        )
    if said.labels:
        place = labels.index(label) if label in labels else None
    else:
        place = known.place(said.algorithm.key, label)
    best = _best(scores, reduction.top_k)
    return messages.Classification(
        algorithm=algorithm,
        label=label,
        score=max(scores) if place is None else scores[place],
        top_labels=[plain(labels[index]) for index in best],
        top_scores=[scores[index] for index in best],
        terminal=said.terminal,
        scores=vector,
        inference_time=seconds,
    )


def _scores(raw: msgspec.Raw) -> list[float]:
    size = len(memoryview(raw))
    if not size:
        return []
    if size > MOST_SCORES:
        raise errors.InvalidInput("more scores than any classifier has classes")
    return _score_lists.decode(raw) or []


def _of_logits(raw: msgspec.Raw, classes: int) -> list[float]:
    """The softmax of logits, where they are one per registered class; else nothing is known of the scores."""
    if not classes:
        return []
    try:
        logits = _scores(raw)
    except _UNREADABLE:
        return []
    return score_vectors.softmax(logits) if len(logits) == classes else []


def _vector(scores: list[float], own: list[str] | None, registered: list[str], asked: str) -> bytes | None:
    """The scores of all classes as the lake keeps them; None when they are not kept.

    They are in the order of the registered labels: `own` labels in another order are put into that one. Scores of which
    nobody could say what they belong to are kept only if the job asks for all.
    """
    if own and own != registered and len(own) == len(registered) == len(scores) and set(own) == set(registered):
        places = {label: place for place, label in enumerate(own)}
        if len(places) == len(own):
            own, scores = registered, [scores[places[label]] for label in registered]
    is_known = len(scores) == len(registered) and (not own or own == registered)
    is_kept = asked == "full" or (is_known and score_vectors.is_kept(asked, len(scores)))
    return score_vectors.packed(scores) if is_kept else None


def _best(scores: list[float], wanted: int) -> list[int]:
    """Indices of the `wanted` best scores, best first; among equal scores the first index comes first."""
    if len(scores) <= max(wanted, FEW):
        return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:wanted]
    # NumPy takes twice as long to read a list.
    vector = np.frombuffer(struct.pack(f"={len(scores)}d", *scores))
    threshold = np.partition(vector, -wanted)[-wanted]
    better = np.flatnonzero(vector > threshold)
    equal = np.flatnonzero(vector == threshold)[: wanted - len(better)]
    best = np.sort(np.concatenate((better, equal)))
    order: list[int] = best[np.argsort(-vector[best], kind="stable")].tolist()
    return order


def _reference(algorithm: Algorithm, reduction: Reduction) -> messages.AlgorithmRef:
    version, _ = reduction.algorithms.get(algorithm.key, (UNKNOWN_VERSION, []))
    return messages.AlgorithmRef(plain(algorithm.key), version)


def plain(text: str, *, most: int = messages.MAX_TEXT) -> str:
    """The text as the lake keeps it: a space for characters that cannot be seen, cut to `most` characters."""
    if len(text) <= most and text.isprintable():
        return text
    return " ".join(plain_text.seen(text[:most], " ").split())


def reason_of(text: str) -> str:
    """What somebody says of a failure, as the lake keeps it: as `plain`, and without secrets of URLs that it quotes."""
    # Before it is cut, which may leave half of a secret.
    return plain(redaction.without_secrets(text[:_LONGEST_REASON]))


def reduction_of(
    config: Mapping[str, Any], *, top_k: int, algorithms: Mapping[str, tuple[str, list[str]]]
) -> Reduction:
    """The reduction for a job: `top_k` and `scores` of its configuration, else the given default.

    `algorithms` gives version and labels of the pipeline's registered algorithms, by key.
    """
    wanted = config.get("top_k")
    asked: Any = config.get(score_vectors.SETTING)
    if asked is None and FULL_SCORES in config:
        asked = "full" if config[FULL_SCORES] else "top"
    return Reduction(
        top_k=wanted if isinstance(wanted, int) and 1 <= wanted <= 1000 else top_k,
        scores=asked if asked in score_vectors.CHOICES else score_vectors.AUTO,
        algorithms=dict(algorithms),
    )
