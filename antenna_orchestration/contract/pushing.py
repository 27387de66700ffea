"""What is posted to a processing service (`POST /process`), and its answer made into a result for each image.

An answer is one for all images of a batch. It is split here, and each image's part goes the way of every posted result
(`contract/results.py`), so that what one image's part lacks costs no other image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.contract import results
from antenna_orchestration.contract.results import Item, Reduction


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """One image of a batch."""

    # As the service is to name it.
    image_id: str
    url: str
    # What settles its lease.
    reply_subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What a service said of a batch."""

    # One for each image that was sent, in that order.
    items: list[Item]
    # Images that it named although they were not sent.
    unknown: list[str]


class _Source(msgspec.Struct):
    id: results.Id


class _Part(msgspec.Struct):
    source_image_id: results.Id | None = None


class _Answer(msgspec.Struct):
    source_images: list[_Source] | None = None
    detections: list[msgspec.Raw] | None = None
    total_time: float | None = None
    errors: list[Any] | str | None = None


def request(pipeline: str, batch: list[Sent], config: Mapping[str, Any]) -> bytes:
    """The body of a post."""
    return msgspec.json.encode(
        {
            "pipeline": pipeline,
            "source_images": [{"id": one.image_id, "url": one.url} for one in batch],
            "config": dict(config),
        }
    )


def read(body: bytes, batch: list[Sent], reduction: Reduction) -> Answered:
    """Split an answer. An image is done when the answer names it, with or without detections.

    One that it does not name failed, and so did one without detections in an answer with errors. Raises `InvalidInput`
    for a body that is no answer at all.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        detections = [(raw, msgspec.json.decode(raw, type=_Part).source_image_id) for raw in answer.detections or []]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidInput(f"not an answer of a processing service: {error}") from None
    found: dict[str, list[msgspec.Raw]] = {one.image_id: [] for one in batch}
    named = {str(source.id) for source in answer.source_images or []}
    unknown = named - found.keys()
    for raw, image in detections:
        # With one image there is no doubt whose it is.
        owner = str(image) if image is not None else batch[0].image_id if len(batch) == 1 else ""
        if owner in found:
            found[owner].append(raw)
            named.add(owner)
        else:
            unknown.add(owner or "none")
    faults = _text(answer.errors)
    seconds = (answer.total_time or 0.0) / len(batch)
    items: list[Item] = []
    for one in batch:
        if one.image_id not in named:
            items.append(failed(one, faults or "the processing service left it out of its answer"))
        elif faults and not found[one.image_id]:
            items.append(failed(one, faults))
        else:
            items.append(_done(one, found[one.image_id], seconds, reduction))
    return Answered(items=items, unknown=sorted(unknown))


def failed(one: Sent, reason: str) -> Item:
    """A failed attempt of an image."""
    return Item(kind="failed", reply_subject=one.reply_subject, image_id=one.image_id, reason=results.plain(reason))


def _done(one: Sent, detections: list[msgspec.Raw], seconds: float, reduction: Reduction) -> Item:
    said = {"image_id": one.image_id, "detections": detections, "total_time": seconds}
    post = msgspec.json.encode({"results": [{"reply_subject": one.reply_subject, "result": said}]})
    return next(results.read(post, reduction))


def _text(faults: list[Any] | str | None) -> str:
    if not faults:
        return ""
    return faults if isinstance(faults, str) else "; ".join(str(fault) for fault in faults)
