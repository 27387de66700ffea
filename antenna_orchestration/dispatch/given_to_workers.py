"""Boxes of another job on their way to workers behind the gateway and to processing services, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.contract.results import Item
from antenna_orchestration.dispatch.judge_results import Posted
from antenna_orchestration.dispatch.lease import Leased
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import given_boxes
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.messages import GivenBox


async def boxes_of(http: HttpServices, job: Job, leased: Sequence[Leased]) -> Mapping[ImageId, list[GivenBox]]:
    """The boxes of leased images; empty for a job whose pipeline looks for its own. Raises `Unavailable`."""
    if job.detections_of is None or not leased:
        return {}
    return await http.services.catalog.images.boxes(job.job_id, [one.image for one in leased])


async def with_given(http: HttpServices, job: Job, posted: Sequence[Posted]) -> list[Posted]:
    """The results with the boxes that the job gave; one with others is invalid. Raises `Unavailable`."""
    if job.detections_of is None:
        return list(posted)
    images = [one.claim.image for one in posted if one.claim and one.item.kind == "done"]
    boxes = await http.services.catalog.images.boxes(job.job_id, images)
    return [
        replace(one, item=_checked(one.item, boxes[one.claim.image]))
        if one.claim and one.item.kind == "done" and one.claim.image in boxes
        else one
        for one in posted
    ]


def _checked(item: Item, given: Sequence[GivenBox]) -> Item:
    try:
        return msgspec.structs.replace(item, detections=given_boxes.classified(given, item.detections))
    except errors.InvalidInput as error:
        return msgspec.structs.replace(item, kind="invalid", reason=str(error), detections=[])
