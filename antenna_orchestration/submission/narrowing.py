"""Chooses of the images that a submission names those that a rule wants: by deployment, night and interval.

Known photographs are chosen by the catalog (`catalog/capture_sets.py`), by the same rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta, tzinfo

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import capture_sets, nights
from antenna_orchestration.domain.capture_sets import NotChosen, Rule, Why
from antenna_orchestration.ecology.model import Place


def narrow(
    images: Sequence[SubmittedImage], rule: Rule, known: Mapping[str, Place]
) -> tuple[list[SubmittedImage], NotChosen]:
    """Those of the images that the rule's `deployments`, `nights` and `every` want, in their order, and why not others.

    The images have the moments of their places (`capture_times.at_places`). Raises `InvalidSource` if none is left.
    """
    zone = nights.zone_named(rule.time_zone)
    not_chosen: Counter[Why] = Counter()
    kept: list[tuple[SubmittedImage, datetime | None]] = []
    for image in images:
        place = known.get(image.deployment) if image.deployment is not None else None
        local = _local_time(image, (place and place.zone) or zone)
        if why := _why_not(image, local, rule):
            not_chosen[why] += 1
        else:
            kept.append((image, local))
    if rule.every is not None:
        first = _first_in_intervals(kept, timedelta(seconds=rule.every))
        not_chosen[Why.SAME_INTERVAL] = len(kept) - len(first)
        kept = [one for number, one in enumerate(kept) if number in first]
    if not kept:
        raise errors.InvalidSource(capture_sets.none_left(not_chosen))
    return [image for image, _ in kept], {why: count for why, count in not_chosen.items() if count}


def _local_time(image: SubmittedImage, zone: tzinfo) -> datetime | None:
    if image.captured_at is None:
        return None
    try:
        return image.captured_at.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return image.captured_at.replace(tzinfo=None)


def _why_not(image: SubmittedImage, local: datetime | None, rule: Rule) -> Why | None:
    if rule.deployments and image.deployment not in rule.deployments:
        return Why.OTHER_DEPLOYMENT
    if local is None:
        return Why.NO_TIME if rule.needs_time else None
    return None if rule.nights.have(nights.night_of_local(local)) else Why.OTHER_NIGHT


def _first_in_intervals(images: Sequence[tuple[SubmittedImage, datetime | None]], every: timedelta) -> frozenset[int]:
    """Which of the images, by their numbers, are the first of their deployment in an interval since their night's noon.

    Of those of one time, that is the one whose name comes first: the order of the images does not matter.
    """
    first: dict[tuple[object, ...], tuple[tuple[datetime, str, str], int]] = {}
    for number, (image, local) in enumerate(images):
        assert local is not None
        night = nights.night_of_local(local)
        interval = (local - datetime.combine(night, time(12))) // every
        candidate = ((local, image.uri, image.version), number)
        key = (image.deployment, night, interval)
        first[key] = min(first.get(key, candidate), candidate)
    return frozenset(number for _, number in first.values())
