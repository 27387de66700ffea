"""Images that a worker elsewhere can read without any credentials."""

import asyncio

import fsspec
import pytest
import requests

from antenna_orchestration.catalog.jobs import NewJob, SubmittedImage
from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import http_worker, job_for_http, running_gateway
from tests.gateway.http_worker import SLUG, session
from tests.processing.jobs_by_hand import claimed
from tests.submission.s3_store import CREDENTIALS, s3_store

pytestmark = pytest.mark.long

KEY = "traps/night 1/été+ä.jpg"


async def test_an_image_in_a_bucket_is_presigned_when_it_is_leased(
    shared_stores: EmbeddedStores, services: Services, project: str
) -> None:
    with s3_store() as endpoint:

        def upload() -> None:
            store = fsspec.filesystem(
                "s3", key=CREDENTIALS["AWS_ACCESS_KEY_ID"], secret=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                endpoint_url=endpoint, skip_instance_cache=True,
            )  # fmt: skip
            store.mkdir("pictures")
            store.pipe(f"pictures/{KEY}", b"in a bucket")

        await asyncio.to_thread(upload)
        await job_for_http(services, project, 0)
        new = NewJob(
            project=project, name="bucket", pipeline=PipelineSlug(SLUG), config={}, config_hash="0", priority=1,
            interactive=False, reprocess=False, duplicates=0, source_kinds=["s3:pictures"],
        )  # fmt: skip
        made = await services.catalog.jobs.create(new, [SubmittedImage(f"s3://pictures/{KEY}", None, None)])
        job = await claimed(services, await services.catalog.jobs.get(made))
        await publish.publish(services, job.job_id)
        with running_gateway(shared_stores, ANTENNA_S3_ENDPOINT_URL=endpoint, **CREDENTIALS) as gateway:
            worker = await http_worker(services, gateway, project)
            with session(worker.token) as http:
                (task,) = await asyncio.to_thread(worker.lease, http, job.job_id)
            assert "Signature" in task.image_url
            assert (await asyncio.to_thread(requests.get, task.image_url, timeout=60)).content == b"in a bucket"


async def test_a_task_whose_link_cannot_be_made_is_offered_again_at_once(
    shared_stores: EmbeddedStores, services: Services, project: str
) -> None:
    """The worker never hears of it, so it holds nothing, and however often it asks, the image has not been tried."""
    await job_for_http(services, project, 0)
    new = NewJob(
        project=project, name="bucket", pipeline=PipelineSlug(SLUG), config={}, config_hash="0", priority=1,
        interactive=False, reprocess=False, duplicates=0, source_kinds=["s3:pictures"],
    )  # fmt: skip
    made = await services.catalog.jobs.create(new, [SubmittedImage(f"s3://pictures/{KEY}", None, None)])
    job = await claimed(services, await services.catalog.jobs.get(made))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(made)
    assert job.epoch is not None
    with running_gateway(
        shared_stores, AWS_EC2_METADATA_DISABLED="true", AWS_SHARED_CREDENTIALS_FILE="/nowhere"
    ) as gateway:
        worker = await http_worker(services, gateway, project)
        with session(worker.token) as http:
            address = f"{gateway.base}/jobs/{job.job_id}/tasks/"
            answer = await asyncio.to_thread(http.post, address, json={"batch_size": 1}, timeout=60)
            assert answer.status_code == 503, answer.text
            counts = await services.queue.counts(job.job_run, job.epoch)
            assert counts is not None and counts.delivered == 1
            # Leased or not: what a hand-back gives out again is waiting either way.
            for _ in range(12):
                again = await asyncio.to_thread(http.post, address, json={"batch_size": 1}, timeout=60)
                assert again.status_code == 503, again.text
            counts = await services.queue.counts(job.job_run, job.epoch)
            assert counts is not None and counts.delivered == 13
            assert not await services.queue.has_unread_result(job.job_run)
