"""Whatever breaks, every image is counted once and none fails for it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
import redis

from antenna_orchestration import errors
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import (
    ACK_WAIT,
    ROOT,
    RunningGateway,
    collected,
    http_worker,
    job_for_http,
    rows,
    running_gateway,
    token,
)
from tests.gateway.http_worker import session, success, working
from tests.waiting import eventually, lasts, wait_until

pytestmark = pytest.mark.long

MIX = (5, 5, 20, 20, 60, 60)


async def all_done(services: Services, *jobs: Job, timeout: float = 180) -> None:
    async def over() -> bool:
        counts = [await services.catalog.images.count(job.job_id) for job in jobs]
        return all(not count.pending for count in counts)

    await eventually(over, description=f"{len(jobs)} jobs accounted for", timeout=timeout, poll=0.2)


async def some_done(services: Services, job: Job, images: int) -> None:
    async def enough() -> bool:
        return (await services.catalog.images.count(job.job_id)).done >= images

    await eventually(enough, description=f"{images} images done")


def nothing_failed(services: Services, ends: dict[int, JobStatus], *jobs: Job) -> None:
    for job in jobs:
        assert ends[job.job_id] is JobStatus.SUCCESS
        assert rows(services, "failed_images", job) == []
        assert len(rows(services, "detections", job)) == job.total


async def test_four_workers_share_six_jobs(services: Services, gateway: RunningGateway, project: str) -> None:
    jobs = [await job_for_http(services, project, size, name=f"mix {size}") for size in MIX]
    workers = [await http_worker(services, gateway, project, seconds_per_image=0.01) for _ in range(4)]
    async with collected(services, *jobs) as ends:
        with working(*workers):
            await all_done(services, *jobs)
    nothing_failed(services, ends, *jobs)
    assert [worker.errors for worker in workers] == [[]] * 4
    assert all(worker.images for worker in workers)
    # Nobody died, so nobody did an image that another had done.
    assert sum(len(worker.images) for worker in workers) == sum(MIX)


async def test_a_worker_killed_in_the_middle_of_a_batch(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 30)
    options = {"base": gateway.base, "token": await token(services, project), "batch_size": 10, "seconds_per_image": 30}
    doomed = subprocess.Popen([sys.executable, "-m", "tests.gateway.http_worker", json.dumps(options)], cwd=ROOT)
    try:

        async def has_leased() -> bool:
            counts = await services.queue.counts(job.job_run, job.epoch)  # type: ignore[arg-type]
            return counts is not None and counts.leased == 10

        await eventually(has_leased, description="a batch in the worker's hands")
    finally:
        doomed.kill()
        doomed.wait()
    other = await http_worker(services, gateway, project)
    async with collected(services, job) as ends:
        with working(other):
            await all_done(services, job)
    nothing_failed(services, ends, job)
    assert len(other.images) == 30


async def test_result_posts_that_are_lost_or_time_out(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 24)
    worker = await http_worker(services, gateway, project, lost_posts=frozenset({0}), timed_out_posts=frozenset({1}))
    async with collected(services, job) as ends:
        with working(worker):
            await all_done(services, job)
    nothing_failed(services, ends, job)
    assert worker.lost >= 8
    assert sum("result: " in error for error in worker.errors) == 1


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
async def test_the_gateway_is_restarted_in_the_middle_of_a_job(
    shared_stores: EmbeddedStores, services: Services, project: str, number: signal.Signals
) -> None:
    with running_gateway(shared_stores) as gateway:
        job = await job_for_http(services, project, 60)
        workers = [await http_worker(services, gateway, project, seconds_per_image=0.05) for _ in range(2)]
        async with collected(services, job) as ends:
            with working(*workers):
                await some_done(services, job, 10)
                await asyncio.to_thread(gateway.stop, number)
                await asyncio.to_thread(gateway.start)
                await all_done(services, job)
        nothing_failed(services, ends, job)


async def test_leases_outlive_a_gateway(own_stores: EmbeddedStores, own_services: Services, project: str) -> None:
    """Longer away than the queue's own lease, and yet the worker's task is nobody else's."""
    services = own_services
    with running_gateway(own_stores, ANTENNA_HTTP_LEASE="60") as gateway:
        job = await job_for_http(services, project, 4)
        slow, other = await http_worker(services, gateway, project), await http_worker(services, gateway, project)
        with session(slow.token) as http, session(other.token) as others:
            tasks = await asyncio.to_thread(slow.lease, http, job.job_id)
            assert len(tasks) == 4
            gateway.stop(signal.SIGKILL)

            async def is_offered_again() -> bool:
                return bool(await probe(services, job))

            await eventually(is_offered_again, description="the queue gives the leases up")
            await asyncio.to_thread(gateway.start)
            assert await asyncio.to_thread(other.lease, others, job.job_id) == []
            results = [{"reply_subject": task.reply_subject, "result": success(task.image_id)} for task in tasks]
            async with collected(services, job) as ends:
                assert await asyncio.to_thread(slow.post, job.job_id, results)
        nothing_failed(services, ends, job)
        assert slow.statuses == ["queued"] * 4


async def probe(services: Services, job: Job) -> bool:
    from antenna_orchestration.queue.remote_leases import RemoteLeases

    assert job.epoch is not None
    return await RemoteLeases(services.connection).is_deliverable(job.job_run, job.epoch)


@pytest.mark.slow
async def test_nats_is_stopped_for_a_while(own_stores: EmbeddedStores, own_services: Services, project: str) -> None:
    with running_gateway(own_stores) as gateway:
        job = await job_for_http(own_services, project, 60)
        workers = [await http_worker(own_services, gateway, project, seconds_per_image=0.05) for _ in range(2)]
        async with collected(own_services, job, timeout=180) as ends:
            with working(*workers):
                await some_done(own_services, job, 10)
                await asyncio.to_thread(own_stores.stop, "nats")
                listed = workers[0].errors

                def noticed() -> bool:
                    return any("503" in error for error in listed) or any("tasks" in error for error in listed)

                await asyncio.to_thread(wait_until, noticed, description="a 503 for tasks")
                await lasts(15)
                await asyncio.to_thread(own_stores.start, "nats")
                await all_done(own_services, job, timeout=120)
        nothing_failed(own_services, ends, job)
        # A post waits for the queue: clients never repeat one.
        assert not any("result" in error for worker in workers for error in worker.errors)


async def test_a_result_waits_for_the_queue_and_a_lease_does_not(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    with running_gateway(own_stores) as gateway:
        job = await job_for_http(own_services, project, 2)
        worker = await http_worker(own_services, gateway, project, batch_size=1)
        with session(worker.token) as http:
            (task,) = await asyncio.to_thread(worker.lease, http, job.job_id)
            own_stores.stop("nats")
            results = [{"reply_subject": task.reply_subject, "result": success(task.image_id)}]
            posting = asyncio.create_task(asyncio.to_thread(worker.post, job.job_id, results))

            def is_503() -> bool:
                answer = http.post(f"{gateway.base}/jobs/{job.job_id}/tasks/", json={"batch_size": 1}, timeout=60)
                return answer.status_code == 503 and answer.json()["error"] == "Task queue temporarily unavailable"

            await asyncio.to_thread(wait_until, is_503, description="503 without a queue")
            assert not posting.done()
            await asyncio.to_thread(own_stores.start, "nats")
            assert await posting
            assert worker.statuses == ["queued"]


@pytest.mark.parametrize("how", ["gone", pytest.param("silent", marks=pytest.mark.slow)])
async def test_http_workers_work_on_without_redis(
    own_stores: EmbeddedStores, own_services: Services, project: str, how: str
) -> None:
    """Leases are given, kept for longer than the queue's own, and answered, and no image is done twice."""
    services = own_services
    with running_gateway(own_stores, ANTENNA_HTTP_LEASE="60") as gateway:
        job = await job_for_http(services, project, 40)
        holder = await http_worker(services, gateway, project, batch_size=6)
        slow = await http_worker(services, gateway, project, batch_size=8, seconds_per_image=2 * ACK_WAIT / 8)
        quick = await http_worker(services, gateway, project, batch_size=8)
        with session(holder.token) as http:
            before = await asyncio.to_thread(holder.lease, http, job.job_id)
            if how == "gone":
                own_stores.kill("redis")
            else:
                os.kill(own_stores.pid("redis"), signal.SIGSTOP)
            try:
                during = await asyncio.to_thread(holder.lease, http, job.job_id)
                assert len(before) == len(during) == 6
                async with collected(services, job) as ends:
                    with working(slow, quick):
                        await some_done(services, job, 28)
                    results = [
                        {"reply_subject": task.reply_subject, "result": success(task.image_id)}
                        for task in (*before, *during)
                    ]
                    assert await asyncio.to_thread(holder.post, job.job_id, results)
            finally:
                if how == "silent":
                    os.kill(own_stores.pid("redis"), signal.SIGCONT)
        nothing_failed(services, ends, job)
        assert holder.statuses == ["queued"] * 12
        assert sum(len(worker.images) for worker in (slow, quick)) == 28
        assert [worker.errors for worker in (slow, quick)] == [[], []], gateway.log.read_text()[-6000:]


@pytest.mark.parametrize("how", ["flushed", pytest.param("restarted", marks=pytest.mark.slow)])
async def test_leases_outlive_the_data_of_redis(
    own_stores: EmbeddedStores, own_services: Services, project: str, how: str
) -> None:
    services = own_services
    with running_gateway(own_stores, ANTENNA_HTTP_LEASE="60") as gateway:
        job = await job_for_http(services, project, 4)
        slow, other = await http_worker(services, gateway, project), await http_worker(services, gateway, project)
        with session(slow.token) as http, session(other.token) as others:
            tasks = await asyncio.to_thread(slow.lease, http, job.job_id)
            assert len(tasks) == 4
            holder = next(one.worker for one in await services.live.workers.heard_since(0))

            async def are_kept() -> bool:
                found = await services.live.leases.of_job(job.job_run)
                return all(lease.confirmed > lease.since for lease in found.values())

            await eventually(are_kept, description="the gateway's first look at the leases")
            if how == "flushed":
                with redis.Redis.from_url(own_stores.settings.redis_url) as client:
                    client.flushall()
            else:
                own_stores.kill("redis")
                await asyncio.to_thread(own_stores.start, "redis")

            async def are_known_again() -> bool:
                # Our own connection was closed, too.
                with contextlib.suppress(errors.Unavailable):
                    return await services.live.leases.held_by(holder) == 4
                return False

            await eventually(are_known_again, description="the leases are in Redis again")
            # Longer than the queue would wait for a word of the gateway.
            await lasts(2 * ACK_WAIT)
            assert await asyncio.to_thread(other.lease, others, job.job_id) == []
            results = [{"reply_subject": task.reply_subject, "result": success(task.image_id)} for task in tasks]
            async with collected(services, job) as ends:
                assert await asyncio.to_thread(slow.post, job.job_id, results)
        nothing_failed(services, ends, job)
        assert slow.statuses == ["queued"] * 4


async def test_the_gateway_works_on_after_redis_was_emptied(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    with running_gateway(own_stores) as gateway:
        job = await job_for_http(own_services, project, 40)
        worker = await http_worker(own_services, gateway, project, seconds_per_image=0.03)
        async with collected(own_services, job) as ends:
            with working(worker):
                await some_done(own_services, job, 8)
                own_stores.kill("redis")
                await asyncio.to_thread(own_stores.start, "redis")
                await all_done(own_services, job)
        nothing_failed(own_services, ends, job)
