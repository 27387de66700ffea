"""Nobody guesses what happened to an image: `antenna jobs show JOB --image ID`, and the metrics of the workers."""

import asyncio
from datetime import UTC, datetime

import pytest
import requests

from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import image_life
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, collected, http_worker, job_for_http, running_gateway, token
from tests.gateway.http_worker import session, success
from tests.gateway.test_tokens import antenna
from tests.processing.jobs_by_hand import hands, make_job
from tests.waiting import eventually

pytestmark = pytest.mark.long


async def life_of(services: Services, job: Job, image: str) -> image_life.ImageLife:
    return await image_life.read(services, job.job_id, ImageId(int(image)))


async def test_an_image_is_followed_from_submission_to_its_end(
    shared_stores: EmbeddedStores, services: Services, project: str
) -> None:
    with running_gateway(shared_stores, ANTENNA_HTTP_LEASE="60") as gateway:
        job = await job_for_http(services, project, 1)
        first, second = await http_worker(services, gateway, project), await http_worker(services, gateway, project)
        with session(first.token) as http:
            (task,) = await asyncio.to_thread(first.lease, http, job.job_id)
            seen = await life_of(services, job, task.image_id)
            held_by = seen.now.removeprefix("leased by ")
            assert held_by.startswith("worker-127.0.0.1-") and seen.moments[-1].what == "leased"
            assert http.post(f"{gateway.base}/jobs/{job.job_id}/release", timeout=60).json() == {"handed_back": 1}
        with session(second.token) as http:
            (again,) = await asyncio.to_thread(second.lease, http, job.job_id)
        results = [{"reply_subject": again.reply_subject, "result": success(again.image_id)}]
        assert await asyncio.to_thread(second.post, job.job_id, results)
        assert (await life_of(services, job, task.image_id)).now == "its result is posted and waits to be collected"

        async def is_told() -> bool:
            seen = await life_of(services, job, task.image_id)
            return any(moment.what == "handed_back" and held_by in moment.detail for moment in seen.moments)

        await eventually(is_told, description="the hand-back in the job's log")
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    seen = await life_of(services, job, task.image_id)
    assert seen.now == "done" and seen.unknown == []
    happened = [moment.what for moment in seen.moments]
    assert happened.index("leased") < happened.index("posted") < happened.index("done") < happened.index("finished")
    assert "handed_back" in happened
    (leased,) = [moment for moment in seen.moments if moment.what == "leased"]
    assert seen.row.worker and seen.row.worker in leased.detail and seen.row.worker != held_by
    shown = antenna(shared_stores, "jobs", "show", str(job.job_id), "--image", task.image_id).stdout
    assert seen.row.url in shown and "the worker handed them back" in shown and seen.row.worker in shown


async def test_what_workers_reported_is_told_in_one_plain_line(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 1)
    worker = await http_worker(services, gateway, project)
    with session(worker.token) as http:
        (task,) = await asyncio.to_thread(worker.lease, http, job.job_id)
    said = {"error": "odd\x1b[31m\r\n\t \u202e header", "image_id": task.image_id}
    assert await asyncio.to_thread(worker.post, job.job_id, [{"reply_subject": task.reply_subject, "result": said}])
    seen = await life_of(services, job, task.image_id)
    (reported,) = [moment for moment in seen.moments if moment.what == "reported"]
    assert reported.detail.startswith("by worker-127.0.0.1-") and ": odd [31m header" in reported.detail


async def test_what_the_queue_knows_of_an_image(services: Services, project: str) -> None:
    unpublished = await make_job(services, project, 1)
    (row,) = [row async for rows in services.catalog.images.manifest(unpublished.job_id) for row in rows]
    assert (await life_of(services, unpublished, str(row["image_id"]))).now == "not published yet"
    job = await job_for_http(services, project, 2)
    images = [str(row["image_id"]) async for rows in services.catalog.images.manifest(job.job_id) for row in rows]
    assert (await life_of(services, job, images[0])).now == "waits on the queue; nobody has leased it yet"
    async with hands(services) as native:
        (lease,) = await native.lease(job, 1)
        leased, other = (str(lease.task.image), next(one for one in images if one != str(lease.task.image)))
        assert (await life_of(services, job, leased)).now == "leased, or waits again"
        assert (await life_of(services, job, other)).now == "waits on the queue; nobody has leased it yet"
        await lease.hand_back()
        found = await native.lease(job, 2)
        (again,) = [one for one in found if str(one.task.image) == leased]
        await native.report(found, timings={"load": 1.0, "infer": 2.0}, created_at=datetime(2026, 6, 12, tzinfo=UTC))
    async with collected(services, job):
        pass
    seen = await life_of(services, job, leased)
    assert again.delivery == 2 and seen.now == "done"
    assert len(seen.unknown) == 1 and "1 earlier delivery" in seen.unknown[0]
    assert seen.row.posted_at is not None and seen.row.leased_at is not None
    assert (seen.row.posted_at - seen.row.leased_at).total_seconds() == 3


@pytest.mark.parametrize("seconds", [1e-300, 1e-45, 5e5])
async def test_times_that_no_column_holds_do_not_stop_collecting(
    services: Services, project: str, seconds: float
) -> None:
    job = await job_for_http(services, project, 1)
    async with hands(services) as native:
        await native.report(await native.lease(job, 1), timings={"infer": seconds})
    async with collected(services, job) as ends:
        pass
    assert ends[job.job_id] is JobStatus.SUCCESS


async def test_metrics_count_what_never_came(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(services, project, 2)
    silent = await http_worker(services, gateway, project)
    with session(silent.token) as http:
        assert len(silent.lease(http, job.job_id)) == 2
    watcher = await token(services, project, role=Role.SUBMITTER)
    stranger = await token(services, f"{project[:50]}-other", role=Role.SUBMITTER)

    def metrics(secret: str) -> str:
        answer = requests.get(f"{gateway.url}/metrics", headers={"Authorization": f"Bearer {secret}"}, timeout=60)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/plain")
        return answer.text

    async def are_counted() -> bool:
        lines = (await asyncio.to_thread(metrics, watcher)).splitlines()
        return any(line.startswith("antenna_http_worker_expired_total{") and line.endswith(" 2.0") for line in lines)

    await eventually(are_counted, description="the leases that ended", poll=0.3)
    assert "worker=" not in metrics(stranger)
    assert requests.get(f"{gateway.url}/metrics", timeout=60).status_code == 401
