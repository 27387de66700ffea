"""Boxes of another job that a job classifies: as bytes for the catalog, and what a result may make of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import AlgorithmRef, Detection, GivenBox

TOLERANCE: Final = 1.5
"""Pixels by which a returned box may differ from the one given: existing workers cut coordinates to whole numbers."""

MOST_AT_ONCE: Final = 64
"""Images with boxes that an HTTP worker is given by one call, and a processing service by one post.

10,000 boxes, the most that an image has, are 2 MB of JSON."""

_boxes: Final = msgspec.msgpack.Decoder(list[GivenBox])
_encoder: Final = msgspec.msgpack.Encoder()


def packed(boxes: Sequence[GivenBox]) -> bytes:
    """The boxes of an image as the catalog keeps them; empty if there are none."""
    return _encoder.encode(boxes) if boxes else b""


def unpacked(data: bytes) -> list[GivenBox]:
    """What `packed` wrote."""
    return _boxes.decode(data) if data else []


def classified(given: Sequence[GivenBox], found: Iterable[Detection]) -> list[Detection]:
    """The given boxes in their order, with detector and score as given, and what came for each beside its box.

    A box that did not come back has none: existing workers leave out what is too small for a crop. Raises
    `InvalidInput` for a box that was not given.
    """
    waiting: dict[tuple[int, ...], list[int]] = {}
    for number, one in enumerate(given):
        waiting.setdefault(_cell(one.box), []).append(number)
    matched: dict[int, Detection] = {}
    for detection in found:
        nearest = _match(given, waiting, detection.box)
        if nearest is None:
            raise errors.InvalidInput(_why_not(given, detection.box))
        matched[nearest] = detection
    return [
        Detection(
            box=one.box,
            score=one.score,
            algorithm=one.algorithm,
            classifications=matched[number].classifications if number in matched else [],
            inference_time=matched[number].inference_time if number in matched else None,
            mask=matched[number].mask if number in matched else msgspec.UNSET,
            rotated=matched[number].rotated if number in matched else msgspec.UNSET,
            attributes=matched[number].attributes if number in matched else msgspec.UNSET,
        )
        for number, one in enumerate(given)
    ]


def _cell(box: Sequence[float], across: int = 0, down: int = 0) -> tuple[int, int]:
    """Where to look for the box: squares of 4 pixels, by its upper left corner."""
    return int(box[0] // 4) + across, int(box[1] // 4) + down


def _match(given: Sequence[GivenBox], waiting: dict[tuple[int, ...], list[int]], box: Sequence[float]) -> int | None:
    """The nearest box that is still waiting and within the tolerance; it waits no longer."""
    best: tuple[float, int] | None = None
    for across in (-1, 0, 1):
        for down in (-1, 0, 1):
            for number in waiting.get(_cell(box, across, down), ()):
                away = _away(given[number], box)
                if away <= TOLERANCE and (best is None or (away, number) < best):
                    best = (away, number)
    if best is None:
        return None
    for across in (-1, 0, 1):
        for down in (-1, 0, 1):
            numbers = waiting.get(_cell(box, across, down), [])
            if best[1] in numbers:
                numbers.remove(best[1])
    return best[1]


def _away(given: GivenBox, box: Sequence[float]) -> float:
    """Pixels between the edges that are farthest from each other."""
    return max(abs(one - other) for one, other in zip(given.box, box, strict=True))


def _why_not(given: Sequence[GivenBox], box: Sequence[float]) -> str:
    """Why a box matches none that is still waiting, for people."""
    what = f"box {', '.join(f'{value:g}' for value in box)}"
    if any(_away(one, box) <= TOLERANCE for one in given):
        return f"{what} came more often than it was given"
    return f"{what} is none of those given: the pipeline looked for boxes of its own"


def from_columns(
    corners: Iterable[tuple[float, float, float, float]],
    scores: Iterable[float | None],
    keys: Iterable[str],
    versions: Iterable[str],
) -> list[GivenBox]:
    """Boxes from columns of the lake's table `detections`."""
    return [
        GivenBox(box, score, AlgorithmRef(key, version))
        for box, score, key, version in zip(corners, scores, keys, versions, strict=True)
    ]
