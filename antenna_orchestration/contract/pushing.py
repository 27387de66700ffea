"""The request to a processing service (`POST /process`), and the split of its answer into one result per image.

A service answers once for all images of a batch. `read_answer` splits the answer, and `contract/results.py` then checks
the part of each image like any posted result. So an invalid part fails only its own image.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.contract import results
from antenna_orchestration.contract.results import Item, Reduction
from antenna_orchestration.domain.messages import GivenBox


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """One image of a batch."""

    # The id by which the service's answer names the image.
    image_id: str
    url: str
    # Identifies the lease of its task, which the result acknowledges.
    reply_subject: str
    # Boxes to classify; None if the service is to look for some.
    given: Sequence[GivenBox] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A service's answer for a batch."""

    # One result per image that was sent, in the same order.
    items: list[Item]
    # Ids in the answer that are not those of images in the batch.
    unknown: list[str]


class _Source(msgspec.Struct):
    id: results.Id
    # As the service says them; `contract/results.py` decides what can be.
    width: msgspec.Raw = msgspec.Raw(b"null")
    height: msgspec.Raw = msgspec.Raw(b"null")


class _Part(msgspec.Struct):
    source_image_id: results.Id | None = None


class _Answer(msgspec.Struct):
    source_images: list[_Source] | None = None
    detections: list[msgspec.Raw] | None = None
    total_time: float | None = None
    errors: list[Any] | str | None = None


def request_body(pipeline: str, batch: list[Sent], config: Mapping[str, Any]) -> bytes:
    """The JSON body of `POST /process`."""
    body: dict[str, Any] = {
        "pipeline": pipeline,
        "source_images": [{"id": one.image_id, "url": one.url} for one in batch],
        "config": dict(config),
    }
    if any(one.given is not None for one in batch):
        body["detections"] = [box for one in batch for box in wire_boxes(one.image_id, one.url, one.given or ())]
    return msgspec.json.encode(body)


def wire_boxes(image_id: str, url: str, given: Sequence[GivenBox]) -> list[dict[str, Any]]:
    """Boxes to classify as the contract has them in a request (`DetectionRequest`), with the detector's score."""
    return [
        {
            "source_image": {"id": image_id, "url": url},
            "bbox": dict(zip(("x1", "y1", "x2", "y2"), one.box, strict=True)),
            "crop_image_url": None,
            "score": one.score,
            "algorithm": {"name": one.algorithm.key, "key": one.algorithm.key},
        }
        for one in given
    ]


def read_answer(body: bytes, batch: list[Sent], reduction: Reduction) -> Answered:
    """Split an answer into one result per image of the batch.

    An image is done if the answer names it, with or without detections. It failed if the answer does not name it, or if
    the answer reports errors and has no detections for it; errors of other images, which `contract/serving.py` writes,
    do not count. Raises `InvalidInput` if the body is not an answer.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        detections = [(raw, msgspec.json.decode(raw, type=_Part).source_image_id) for raw in answer.detections or []]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidInput(f"not an answer of a processing service: {error}") from None
    found: dict[str, list[msgspec.Raw]] = {one.image_id: [] for one in batch}
    sizes = {str(source.id): source for source in answer.source_images or []}
    named = set(sizes)
    unknown = named - found.keys()
    for raw, image in detections:
        # If the batch has one image, a detection without an id belongs to it.
        owner = str(image) if image is not None else batch[0].image_id if len(batch) == 1 else ""
        if owner in found:
            found[owner].append(raw)
            named.add(owner)
        else:
            unknown.add(owner or "none")
    own, faults = _faults(answer.errors, found)
    seconds = (answer.total_time or 0.0) / len(batch)
    items: list[Item] = []
    for one in batch:
        if one.image_id not in named:
            reason = own.get(one.image_id) or faults or "the processing service left it out of its answer"
            items.append(failed(one, reason))
        elif faults and not found[one.image_id]:
            items.append(failed(one, faults))
        else:
            items.append(_done(one, found[one.image_id], seconds, sizes.get(one.image_id), reduction))
    return Answered(items=items, unknown=sorted(unknown))


def failed(one: Sent, reason: str) -> Item:
    """The result of an image that failed, with the reason for people."""
    return Item(kind="failed", reply_subject=one.reply_subject, image_id=one.image_id, reason=results.reason_of(reason))


def _done(
    one: Sent, detections: list[msgspec.Raw], seconds: float, source: _Source | None, reduction: Reduction
) -> Item:
    said = {
        "image_id": one.image_id,
        "source_images": [] if source is None else [source],
        "detections": detections,
        "total_time": seconds,
    }
    post = msgspec.json.encode({"results": [{"reply_subject": one.reply_subject, "result": said}]})
    return next(results.read_post(post, reduction))


def _faults(said: list[Any] | str | None, images: Container[str]) -> tuple[dict[str, str], str]:
    """What the answer says of single images of the batch, by their ids, and what it says of the batch."""
    if isinstance(said, str):
        return {}, said
    own: dict[str, str] = {}
    rest: list[str] = []
    for one in said or ():
        if isinstance(one, dict) and isinstance(one.get("error"), str) and (name := str(one.get("image_id"))) in images:
            own[name] = one["error"]
        else:
            rest.append(str(one))
    return own, "; ".join(rest)
