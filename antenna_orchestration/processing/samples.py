"""Sample images of a job with its detections drawn in, for the UI and the report."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from antenna_orchestration import errors
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection
from antenna_orchestration.lake import arrow
from antenna_orchestration.pipelines import pictures
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)

PREVIEW_ROWS = 20_000
"""Detections from which the samples are chosen: the first ones of a large job."""

_KEYS = ["image_id", "detection_id", "algorithm", "algorithm_version", "score"]
_OF_DETECTIONS = [*_KEYS, "x1", "y1", "x2", "y2"]
_OF_CLASSIFICATIONS = [*_KEYS, "label", "terminal"]

PATIENCE = 20.0
"""Seconds for loading all samples together, since the end of the job waits for them."""


async def sample_pictures(services: Services, job: Job, *, count: int, width: int) -> list[tuple[str, bytes]]:
    """Up to `count` images with the most detections, as caption and JPEG.

    An image that this host cannot read (no mount, no rights, gone, slow) is left out: the picture is an extra.
    """
    head = services.lake.head
    detections = await asyncio.to_thread(head, "detections", job.job_id, PREVIEW_ROWS, _OF_DETECTIONS)
    labels = await asyncio.to_thread(head, "classifications", job.job_id, 2 * PREVIEW_ROWS, _OF_CLASSIFICATIONS)
    if not detections.num_rows:
        return []
    found_in = Counter(detections["image_id"].to_pylist())
    # A few more than needed, as some may not be reachable.
    best = sorted(found_in, key=lambda image: (-found_in[image], image))[: 2 * count]
    urls = await asyncio.to_thread(_urls, services, job, set(best))
    found: list[tuple[str, bytes]] = []
    # aiohttp is slow to import, and most processes with definitions draw nothing.
    from antenna_orchestration.loading.loader import Loader
    from antenna_orchestration.loading.memory import MemoryBudget

    deadline = time.monotonic() + PATIENCE
    async with Loader(settings=services.settings, memory=MemoryBudget(services.settings.max_image_bytes)) as loader:
        for image in best:
            if image not in urls or len(found) == count or time.monotonic() > deadline:
                continue
            url, boxes = urls[image], _detections(detections, labels, image)
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                    content = await loader.load(url)
                loader.memory.release(len(content))
                jpeg = await asyncio.to_thread(pictures.draw_boxes, content, boxes, width)
            except (errors.AntennaError, TimeoutError) as error:
                logger.info("no picture of image %d: %s", image, error or "it took too long")
                continue
            found.append((f"{_name(url)}: {len(boxes)} detections", jpeg))
    return found


def _name(url: str) -> str:
    """The last part of a URL's path, without the query, which may hold a signature."""
    return urlsplit(url).path.rpartition("/")[2] if url.startswith("http") else url.rpartition("/")[2]


def _urls(services: Services, job: Job, images: set[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    wanted = arrow.column(sorted(images), pa.int64())
    for batch in services.lake.batches("captures", job.job_id, ["image_id", "url"]):
        chosen = batch.filter(pc.is_in(batch["image_id"], value_set=wanted))
        found.update(zip(chosen["image_id"].to_pylist(), chosen["url"].to_pylist(), strict=True))
    return found


def _detections(detections: pa.Table, labels: pa.Table, image: int) -> list[Detection]:
    """An image's detections as the pipeline gave them, as far as a picture needs them."""
    names: dict[str, Classification] = {}
    for row in _of_image(labels, image):
        if row["terminal"] or row["detection_id"] not in names:
            algorithm = AlgorithmRef(row["algorithm"], row["algorithm_version"])
            names[row["detection_id"]] = Classification(algorithm=algorithm, label=row["label"], score=row["score"])
    return [
        Detection(
            box=(row["x1"], row["y1"], row["x2"], row["y2"]),
            score=row["score"],
            algorithm=AlgorithmRef(row["algorithm"], row["algorithm_version"]),
            classifications=[names[row["detection_id"]]] if row["detection_id"] in names else [],
        )
        for row in _of_image(detections, image)
    ]


def _of_image(table: pa.Table, image: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.filter(
        pc.is_in(table["image_id"], value_set=arrow.column([image], pa.int64()))
    ).to_pylist()
    return rows
