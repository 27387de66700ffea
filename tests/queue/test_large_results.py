"""A result above the inline limit travels through the object store, with the worker's own rights."""

import asyncio
import hashlib
import secrets

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import cancel, collect, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import connection, names, results
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.payloads import Payloads
from antenna_orchestration.queue.publisher import Publisher
from antenna_orchestration.queue.results import ResultSender
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job, result_of
from tests.waiting import eventually

CLASSES = 29_176


async def test_a_worker_sends_five_megabytes_and_the_collector_counts_them(services: Services, project: str) -> None:
    job = await claimed(services, await make_job(services, project, 1))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    assert job.epoch is not None
    vector = bytes(2 * CLASSES)
    classified = messages.Classification(algorithm=ALGORITHM, label="moth", score=0.5, scores=vector)
    detection = messages.Detection(
        box=(0.0, 0.0, 1.0, 1.0), score=0.5, algorithm=ALGORITHM, classifications=[classified]
    )
    async with (
        connection.connected(
            services.settings.worker_nats_url, name="test worker", inbox_prefix=names.WORKER_INBOX
        ) as client,
        Leaser(client, ack_wait=services.settings.task_ack_wait) as leaser,
        ResultSender(client) as sender,
    ):
        (lease,) = await leaser.lease(job.job_run, job.epoch, 1, wait=2.0) or []
        result = result_of(lease, detections=[detection] * 90)
        assert len(messages.encode(result)) > 5_000_000
        await sender.send([(result, lease)])
        # A repetition, after a confirmation that was lost, is harmless.
        await sender.send([(result, lease)])
        await lease.acknowledge()
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.detections, counts.classifications) == (1, 90, 90)
    kept = await services.connection.jetstream(timeout=60).stream_info(f"OBJ_{names.PAYLOADS_BUCKET}")
    assert kept.state.messages == 0
    await cancel.cancel(services, job.job_id, reason="done")


@pytest.mark.parametrize("vectors", [60, pytest.param(200, marks=pytest.mark.slow)])
async def test_what_is_pulled_at_once_is_bounded_by_bytes(services: Services, project: str, vectors: int) -> None:
    """Sixty vectors travel in the message, two hundred through the object store."""
    images, size = 30 if vectors == 60 else 9, vectors * 2 * CLASSES
    assert (size > results.INLINE_BYTES) == (vectors == 200)
    job = await claimed(services, await make_job(services, project, images))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    classified = messages.Classification(algorithm=ALGORITHM, label="moth", score=0.5, scores=bytes(2 * CLASSES))
    detection = messages.Detection(
        box=(0.0, 0.0, 1.0, 1.0), score=0.5, algorithm=ALGORITHM, classifications=[classified] * vectors
    )
    async with hands(services) as worker:
        for lease in await worker.lease(job, images):
            await worker.report([lease], detections=[detection])
    batches = []
    async with services.results(job.job_run) as feed:
        while sum(map(len, batches)) < images:
            received = await feed.pull(2_000, wait=0.5)
            batches.append([item.image for item in received])
            assert sum(len(item.payload) for item in received) < results.BATCH_BYTES + size + 10_000
            await feed.acknowledge(received)
    assert len(batches) > 1
    assert len({image for batch in batches for image in batch}) == images
    await cancel.cancel(services, job.job_id, reason="done")


@pytest.mark.long
async def test_a_restart_of_nats_while_a_payload_is_read_ends_the_reading(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    """S5: nats-py waits for ever for the chunks that a server does not send any more."""
    services = own_services
    job = await claimed(services, await make_job(services, project, 1))
    content = secrets.token_bytes(48 * 2**20)
    name = names.payload_name(job.job_run, ImageId(7), hashlib.sha256(content).hexdigest())
    async with Publisher(services.connection) as publisher:
        payloads = Payloads(services.connection, publisher)
        await payloads.put(name, content)
        # A payload that is not what its name says, or lacks a chunk, is none.
        other = names.payload_name(job.job_run, ImageId(7), hashlib.sha256(b"").hexdigest())
        await payloads.put(other, content[: 2**20])
        assert await payloads.get(other) is None
        client = services.connection
        before = client.stats["in_bytes"]
        reading = asyncio.create_task(payloads.get(name))

        async def is_under_way() -> bool:
            return bool(client.stats["in_bytes"] > before + 2**19)

        await eventually(is_under_way, description="chunks are coming", poll=0)
        own_stores.kill("nats")
        with pytest.raises(errors.Unavailable):
            await reading
        await asyncio.to_thread(own_stores.start, "nats")

        async def is_read() -> bool:
            try:
                return await payloads.get(name) == content
            except errors.Unavailable:
                return False

        await eventually(is_read, description="the payload can be read", timeout=120)
        await payloads.drop(name)
        assert await payloads.get(name) is None
