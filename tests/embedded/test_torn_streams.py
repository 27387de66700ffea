"""NATS' files as a power loss leaves them."""

from __future__ import annotations

import os

import pytest

from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun, PipelineSlug
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services, opened, prepare
from antenna_orchestration.queue import names

RUN, OTHER = (JobRun(JobId(number), Generation(1)) for number in (1, 2))
EPOCH, PIPELINE = Epoch("0123abcd"), PipelineSlug("null")


async def deliver(services: Services, run: JobRun, images: int) -> None:
    """Open a job, publish its tasks, and take all of them from its consumer."""
    await services.queue.open(PIPELINE, run, EPOCH)
    js = services.connection.jetstream(timeout=30)
    for image in range(images):
        await js.publish(names.task_subject(PIPELINE, run, ImageId(image)), b"")
    consumer = await js.pull_subscribe_bind(consumer=names.task_consumer(run, EPOCH), stream=names.TASKS)
    for _ in range(images):
        (task,) = await consumer.fetch(1, timeout=30)
        await task.ack_sync(timeout=30)


@pytest.mark.long
async def test_a_job_goes_on_after_its_stream_was_torn(own_stores: EmbeddedStores) -> None:
    settings = own_stores.settings
    await prepare(settings)
    async with opened(settings) as services:
        await deliver(services, RUN, 20)
    own_stores.stop("nats")
    (stream,) = (settings.home / "nats").rglob(names.TASKS)
    for file in (stream / "meta.sum", *(stream / "msgs").iterdir()):
        os.truncate(file, 0)
    own_stores.start("nats")
    await prepare(settings)
    async with opened(settings) as services:
        await deliver(services, OTHER, 2)
        await deliver(services, RUN, 3)
