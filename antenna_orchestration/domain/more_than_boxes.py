"""What results may say beyond boxes and their labels: masks, rotated boxes, attributes, labels of whole photographs.

Pipelines are held to it in the worker (`pipelines/outcomes.py`). The collector looks once more, because a few bytes of
somebody's own worker could stand for gigabytes of pixels, which would take down whoever draws or exports them later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import masks
from antenna_orchestration.domain.messages import MAX_COORDINATE, Attribute, Detection, Mask, Result, RotatedBox

MOST_ATTRIBUTES: Final = 50
LONGEST_ATTRIBUTE: Final = 500
"""Characters of an attribute's value."""

ATTRIBUTE_NAME: Final = re.compile("[a-z0-9_]{1,50}")

LARGEST_WHOLE: Final = 2**53
"""Up to here JSON's readers take a number for the whole number that it is."""

MOST_LABELS: Final = 1_000
"""Labels of a whole photograph."""


def why_refused(result: Result) -> str | None:
    """Why the collector refuses a result for what it says beyond boxes; None if it takes it."""
    labels = result.labels or ()
    if len(labels) > MOST_LABELS:
        return f"{len(labels):,} labels of one photograph; the most are {MOST_LABELS:,}"
    if result.attributes and (why := _why_not_attributes(result.attributes)):
        return why
    for number, one in enumerate(result.detections):
        # The common case first: this is asked of every box.
        if (one.mask or one.rotated or one.attributes) and (why := _why_not(one, result)):
            return f"detections[{number}]: {why}"
    return None


def is_rotated_box(box: RotatedBox) -> bool:
    """Whether its numbers can be those of a box in pixels, with an angle in degrees; NaN cannot."""
    return (
        abs(box.cx) <= MAX_COORDINATE
        and abs(box.cy) <= MAX_COORDINATE
        and 0 <= box.width <= MAX_COORDINATE
        and 0 <= box.height <= MAX_COORDINATE
        and -180 <= box.angle <= 180
    )


def _why_not(one: Detection, result: Result) -> str | None:
    if one.rotated and not is_rotated_box(one.rotated):
        return f"{one.rotated} is not a box in pixels with an angle in degrees"
    if one.mask and (why := _why_not_mask(one.mask, result)):
        return why
    return _why_not_attributes(one.attributes) if one.attributes else None


def _why_not_mask(mask: Mask, result: Result) -> str | None:
    if None not in (result.width, result.height) and (mask.width, mask.height) != (result.width, result.height):
        return f"its mask is of {mask.width} x {mask.height} pixels, the photograph of {result.width} x {result.height}"
    try:
        masks.checked(mask)
    except errors.InvalidInput as error:
        return str(error)
    return None


def _why_not_attributes(attributes: Mapping[str, Attribute]) -> str | None:
    if len(attributes) > MOST_ATTRIBUTES:
        return f"{len(attributes):,} attributes; the most are {MOST_ATTRIBUTES}"
    for name, value in attributes.items():
        if not ATTRIBUTE_NAME.fullmatch(name):
            return f"an attribute's name is {name[:100]!r}; names are 1 to 50 of the characters a-z, 0-9 and _"
        if not _is_attribute(value):
            return (
                f"attribute {name} is {str(value)[:100]!r}; wanted is a text of at most {LONGEST_ATTRIBUTE} "
                "characters, a finite number, True or False"
            )
    return None


def _is_attribute(value: Attribute) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_ATTRIBUTE and "\0" not in value
    if isinstance(value, float):
        return abs(value) < float("inf")
    return abs(value) <= LARGEST_WHOLE
