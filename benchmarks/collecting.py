"""Speed and memory of `processing.collect`: results with 2 classes, with the 10 best of 1,000, and a long job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import psutil

from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import clear_queue, collect
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import names
from antenna_orchestration.queue.publisher import Message, Publisher
from benchmarks import rig
from benchmarks.figures import Figure

IMAGES = 20_000
LONG = 200_000
DETECTIONS = 10
TOP = 10
CHUNK = 1_000


def run() -> list[Figure]:
    """Both kinds of results, then the long job."""
    with rig.stores() as running:
        return asyncio.run(_measure(running))


async def _measure(running: EmbeddedStores) -> list[Figure]:
    async with rig.on(running) as services:
        two, cpu, _ = await _collect(services, images=IMAGES, classes=2)
        thousand, _, _ = await _collect(services, images=IMAGES, classes=1_000)
        _, _, growth = await _collect(services, images=LONG, classes=2)
    return [
        Figure("collect, 2 classes", two, "images/s", at_least=4_000),
        Figure("collect, 2 classes, the collector's CPU per image", cpu, "ms"),
        Figure("collect, 1,000 classes, the 10 best", thousand, "images/s", at_least=2_500),
        Figure(f"collect, memory over {LONG} images", growth, "MB", at_most=100),
    ]


async def _collect(services: Services, *, images: int, classes: int) -> tuple[float, float, float]:
    """Images per second, CPU milliseconds of this process per image, and growth of its memory in megabytes.

    Growth is from a tenth of the job to the peak, so that imports and buffers do not count.
    """
    job = await rig.started_job(services, rig.urls(images, site=f"{classes}-{images}"))
    await services.ensure_streams()
    epoch = await services.catalog.generations.agree_on_epoch(job.job_run, names.new_epoch())
    await services.queue.open(job.pipeline, job.job_run, epoch)
    await _results(services, job, classes)
    memory: list[tuple[int, float]] = []

    def on_progress(progress: JobProgress) -> None:
        memory.append((progress.accounted, psutil.Process().memory_info().rss / 2**20))

    began, cpu = time.perf_counter(), time.process_time()
    counts = await collect.collect(services, job, observer=collect.Observer(on_progress=on_progress))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if counts.done != images:
        raise AssertionError(f"collected {counts}")
    await clear_queue.clear_queue(services, job)
    grown = [megabytes for accounted, megabytes in memory if accounted >= images / 10] or [0.0]
    return images / seconds, 1000 * cpu / images, max(grown) - grown[0]


async def _results(services: Services, job: Job, classes: int) -> None:
    """Put one result per image on the queue, as workers would."""
    images = sorted(await services.catalog.images.pending(job.job_run, upto=job.total))
    detections = _detections(classes)
    async with Publisher(services.connection) as publisher:
        for start in range(0, len(images), CHUNK):
            await publisher.publish([_message(job, image, detections) for image in images[start : start + CHUNK]])


def _message(job: Job, image: ImageId, detections: Sequence[messages.Detection]) -> Message:
    result = messages.Result(
        job=job.job_id,
        generation=job.generation,
        image=image,
        worker="bench",
        delivery=1,
        outcome="done",
        width=4096,
        height=2160,
        detections=list(detections),
    )
    return Message(names.result_subject(job.job_run, image), messages.encode(result))


def _detections(classes: int) -> list[messages.Detection]:
    detector, classifier = messages.AlgorithmRef("detector", "1"), messages.AlgorithmRef("classifier", "1")
    top = min(classes, TOP)
    classification = messages.Classification(
        algorithm=classifier,
        label="class-0",
        score=0.5,
        top_labels=[f"class-{rank}" for rank in range(top)],
        top_scores=[0.5 ** (rank + 1) for rank in range(top)],
        terminal=True,
    )
    return [
        messages.Detection(
            box=(10.5 + n, 20.25, 110.0 + n, 120.75), score=0.9, algorithm=detector, classifications=[classification]
        )
        for n in range(DETECTIONS)
    ]
