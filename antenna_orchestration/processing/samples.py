"""Sample images of a job with its detections drawn in, for the UI and the report."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET

from antenna_orchestration import errors
from antenna_orchestration.domain import masks, nights
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.lake import arrow, schemas
from antenna_orchestration.pipelines.pictures import MAX_BYTES
from antenna_orchestration.processing.drawing import Drawing, NotDrawn
from antenna_orchestration.processing.photographs import require_loaded_here
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)

NO_DEPLOYMENT: Final = "no deployment"
"""What people read where none was given."""

_KEYS = ["image_id", "detection_id", "algorithm", "algorithm_version", "score"]
_OF_DETECTIONS = [*_KEYS, "x1", "y1", "x2", "y2"]
_OF_CLASSIFICATIONS = [*_KEYS, "label", "terminal"]
_OF_DETAILS = [one for one in schemas.OF_PARTS["detection_details"].names if one != "attributes"]

PATIENCE = 30.0
"""Seconds for all samples together, since the end of the job waits for them."""


class Sample(NamedTuple):
    """An image with detections, for people: its picture, or why there is none."""

    caption: str
    jpeg: bytes | None
    why: str = ""


class _Candidate(NamedTuple):
    """An image with detections. The smallest is taken first: its number, mixed, so that none is preferred."""

    mixed: int
    image: int
    url: str
    # Deployment and night, as a caption names them.
    deployment: str
    night: str

    def caption(self, detections: int) -> str:
        """What stands with the picture."""
        count = counted(detections, "detection")
        return f"{self.deployment}, {self.night}, {_name(self.url)}: {count}"


async def sample_pictures(services: Services, job: Job, *, count: int, width: int | None = None) -> list[Sample]:
    """Up to `count` images with detections: spread over deployments, and over the nights of each.

    With a `width` their JPEGs are small enough for Dagster's event log, otherwise in full size. An image that this host
    cannot read (no mount, no rights, gone, slow) gives its place to another one, and is told of if there is no other.
    One that cannot be drawn keeps its place. A process of its own draws, and the whole has a deadline (`PATIENCE`).
    """
    # A few more than needed, as some may not be reachable.
    chosen = await asyncio.to_thread(_choose, services, job, 2 * count)
    if not chosen:
        return []
    images = arrow.column([one.image for one in chosen], pa.int64())
    detections = await asyncio.to_thread(_rows_of, services, job, "detections", _OF_DETECTIONS, images)
    labels = await asyncio.to_thread(_rows_of, services, job, "classifications", _OF_CLASSIFICATIONS, images)
    details = await asyncio.to_thread(_rows_of, services, job, "detection_details", _OF_DETAILS, images)
    wanted = [(one, _detections(detections, labels, details, one.image)) for one in chosen]
    return await _drawn(services, wanted, count=count, width=width)


async def _drawn(
    services: Services, wanted: Sequence[tuple[_Candidate, list[Detection]]], *, count: int, width: int | None
) -> list[Sample]:
    # aiohttp is slow to import, and most processes with definitions draw nothing.
    from antenna_orchestration.loading.loader import Loader
    from antenna_orchestration.loading.memory import MemoryBudget

    settings = services.settings
    shown: list[Sample] = []
    unread: list[Sample] = []
    deadline = time.monotonic() + PATIENCE
    async with (
        Loader(settings=settings, memory=MemoryBudget(settings.max_image_bytes)) as loader,
        Drawing(settings) as drawing,
    ):
        for one, boxes in wanted:
            if len(shown) == count:
                break
            caption = one.caption(len(boxes))
            content: bytes | None = None
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    require_loaded_here(settings, one.url)
                    content = await loader.load(one.url)
                    loader.memory.release(len(content))
                    jpeg = await drawing.draw(content, boxes, width=width, most=None if width is None else MAX_BYTES)
                    shown.append(Sample(caption, jpeg))
            except (errors.ImageError, NotDrawn, TimeoutError) as error:
                why = str(error) or f"all pictures together took longer than {PATIENCE:.0f} s"
                logger.info("no picture of image %d: %s", one.image, why)
                (unread if content is None else shown).append(Sample(caption, None, why))
    return [*shown, *unread][:count]


def _choose(services: Services, job: Job, count: int) -> list[_Candidate]:
    """Up to `count` images with detections: one of each deployment in turn, each time of another night there."""
    first_of: dict[tuple[str, str], _Candidate] = {}
    # For jobs with fewer nights than pictures.
    others: list[_Candidate] = []
    zone = nights.zone_named(job.time_zone)
    for batch in services.lake.batches(
        "captures", job.job_id, ["image_id", "url", "deployment", "captured_at", "night", "detections"]
    ):
        moments = arrow.moments(batch["captured_at"])
        columns = (batch[name].to_pylist() for name in ("image_id", "url", "deployment", "detections", "night"))
        for image, url, deployment, detections, day, captured_at in zip(*columns, moments, strict=True):
            if not detections:
                continue
            # Tables of earlier versions have no nights.
            night = str(day) if day else nights.named(captured_at, zone)
            one = _Candidate(zlib.crc32(b"%d" % image), image, url, deployment or NO_DEPLOYMENT, night)
            place = one.deployment, night
            first_of[place] = min(one, first_of.get(place, one))
            others.append(one)
        others = heapq.nsmallest(count, others)
    by_deployment: dict[str, list[_Candidate]] = defaultdict(list)
    for (deployment, _), one in first_of.items():
        by_deployment[deployment].append(one)
    turns = zip_longest(*(sorted(of_deployment) for _, of_deployment in sorted(by_deployment.items())))
    spread = [one for turn in turns for one in turn if one is not None]
    return list(dict.fromkeys([*spread, *others]))[:count]


def _rows_of(services: Services, job: Job, name: str, columns: list[str], images: pa.Array) -> pa.Table:
    """The rows of a table that belong to these images."""
    found = [
        batch.filter(pc.is_in(batch["image_id"], value_set=images))
        for batch in services.lake.batches(name, job.job_id, columns)
    ]
    return pa.Table.from_batches(found) if found else services.lake.head(name, job.job_id, 0, columns)


def _name(url: str) -> str:
    """The last part of a URL's path, without the query, which may hold a signature."""
    path = url.partition("?")[0].partition("#")[0] if url.startswith("http") else url
    return path.rpartition("/")[2]


def _detections(detections: pa.Table, labels: pa.Table, details: pa.Table, image: int) -> list[Detection]:
    """An image's detections as the pipeline gave them, as far as a picture needs them."""
    names: dict[str, Classification] = {}
    for row in _of_image(labels, image):
        if row["terminal"] or row["detection_id"] not in names:
            algorithm = AlgorithmRef(row["algorithm"], row["algorithm_version"])
            names[row["detection_id"]] = Classification(algorithm=algorithm, label=row["label"], score=row["score"])
    shapes = {row["detection_id"]: row for row in _of_image(details, image)}
    return [
        Detection(
            box=(row["x1"], row["y1"], row["x2"], row["y2"]),
            score=row["score"],
            algorithm=AlgorithmRef(row["algorithm"], row["algorithm_version"]),
            classifications=[names[row["detection_id"]]] if row["detection_id"] in names else [],
            **_shape(shapes.get(row["detection_id"], {})),
        )
        for row in _of_image(detections, image)
    ]


def _shape(row: Mapping[str, Any]) -> dict[str, Any]:
    mask, rotated = row.get("mask"), masks.rotated_of(row)
    return {"mask": masks.of_json(mask) if mask else UNSET, "rotated": rotated or UNSET}


def _of_image(table: pa.Table, image: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.filter(
        pc.is_in(table["image_id"], value_set=arrow.column([image], pa.int64()))
    ).to_pylist()
    return rows
