"""Leases over HTTP: bounded, kept alive, handed back; attempts counted as for every worker."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import aclosing

import pytest
import requests

from antenna_orchestration.dispatch import lease
from antenna_orchestration.dispatch import services as dispatch_services
from antenna_orchestration.domain import reach
from antenna_orchestration.domain.access import digest
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.live import connection, keys
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.queue.publisher import Publisher
from tests.gateway.gateway_process import (
    RunningGateway,
    collected,
    http_worker,
    job_for_http,
    rows,
    running_gateway,
    token,
)
from tests.gateway.http_worker import SLUG, HttpWorker, Task, session, success
from tests.processing.jobs_by_hand import hands
from tests.waiting import eventually, wait_until

LASTING = {"ANTENNA_HTTP_LEASE": "60"}
"""For gateways whose workers keep what they hold, on a busy machine as well. The queue's own leases stay short."""


def leased(worker: HttpWorker, job: int, wanted: int) -> list[Task]:
    worker.batch_size = wanted
    with session(worker.token) as http:
        return worker.lease(http, job)


def failures(tasks: list[Task], reason: str) -> list[dict[str, object]]:
    return [
        {"reply_subject": task.reply_subject, "result": {"error": reason, "image_id": task.image_id}} for task in tasks
    ]


def successes(tasks: list[Task]) -> list[dict[str, object]]:
    return [{"reply_subject": task.reply_subject, "result": success(task.image_id)} for task in tasks]


async def until_the_queue_gave_up(
    services: Services, project: str, times: int, *, meanwhile: Callable[[], None]
) -> None:
    """Until the queue has so often given up a lease, taken now, that nobody keeps."""
    unkept = await job_for_http(services, f"{project[:50]}-unkept", 1)
    async with hands(services) as native:

        async def is_offered() -> bool:
            await asyncio.to_thread(meanwhile)
            return bool(await native.lease(unkept, 1, wait=0.3))

        for _ in range(1 + times):
            await eventually(is_offered, description="the queue offers a task that nobody keeps")


async def test_a_worker_that_told_nothing_yet_holds_little(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 100)
    worker = await http_worker(services, gateway, project)
    assert len(leased(worker, job.job_id, 24)) == 24
    # Existing workers ask for the next batch while they are at the first.
    assert len(leased(worker, job.job_id, 24)) == 8


async def test_parallel_calls_of_a_worker_share_its_bound(
    shared_stores: EmbeddedStores, services: Services, project: str
) -> None:
    """Issue 17, low: each of them was given what the worker may hold in all."""
    job = await job_for_http(services, project, 200)
    worker = await services.catalog.tokens.find(digest(await token(services, project)))
    assert worker is not None
    async with dispatch_services.opened(shared_stores.settings) as http:

        async def call() -> int:
            asked = itertools.count()

            async def is_over() -> bool:
                return next(asked) > 0

            return len(await lease.lease(http, job, worker, 100, is_over=is_over))

        assert sorted(await asyncio.gather(*(call() for _ in range(6)))) == [0, 0, 0, 0, 0, 32]


async def test_at_the_bound_the_job_is_drained_for_this_worker(
    shared_stores: EmbeddedStores, services: Services, project: str
) -> None:
    # Once its leases are over it would be given one: that must not be soon.
    with running_gateway(shared_stores, ANTENNA_HTTP_LEASE="60") as gateway:
        job = await job_for_http(services, project, 32)
        worker = await http_worker(services, gateway, project)
        with session(worker.token) as http:
            answer = http.post(f"{worker.base}/jobs/{job.job_id}/tasks/", json={"batch_size": 100}, timeout=60).json()
        assert len(answer["tasks"]) == 32
        # C7: a worker could not know how long it has.
        assert answer["lease_seconds"] == 60.0
        assert leased(worker, job.job_id, 8) == []


@contextlib.contextmanager
def as_client(worker: HttpWorker, name: str) -> Iterator[requests.Session]:
    """One of several processes that share the worker's token."""
    with session(worker.token) as http:
        http.headers["X-Antenna-Client"] = name
        yield http


@pytest.mark.long
async def test_clients_of_one_token_are_workers_of_their_own(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    """Each with a bound of its own; and a result may come from any of them."""
    with running_gateway(own_stores, **LASTING) as gateway:
        job = await job_for_http(own_services, project, 64)
        worker = await http_worker(own_services, gateway, project, batch_size=100)
        with as_client(worker, "gpu-0") as first, as_client(worker, "gpu-1") as second:
            held = await asyncio.to_thread(worker.lease, first, job.job_id)
            others = await asyncio.to_thread(worker.lease, second, job.job_id)
        assert (len(held), len(others)) == (32, 32)

        async def are_shown() -> bool:
            found = await own_services.heartbeats.workers()
            mine = [one for one in found if one.worker.endswith(_fingerprint(worker))]
            return [one.leased for one in mine if "gpu-" in one.worker] == [32, 32]

        await eventually(are_shown, description="both are shown with what they hold")
        async with collected(own_services, job) as ends:
            assert await asyncio.to_thread(worker.post, job.job_id, successes([*held, *others]))
        assert ends[job.job_id] is JobStatus.SUCCESS
        assert worker.statuses == ["queued"] * 64
        assert not await own_services.live.leases.of_job(job.job_run)


@pytest.mark.long
async def test_what_a_silent_client_held_is_done_by_another_of_its_token(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 4)
    worker = await http_worker(services, gateway, project)
    with as_client(worker, "silent") as silent, as_client(worker, "other") as other:
        late = await asyncio.to_thread(worker.lease, silent, job.job_id)

        async def gets_them() -> list[Task]:
            return await asyncio.to_thread(worker.lease, other, job.job_id)

        again = await eventually(gets_them, description="the leases are handed back", poll=0.5)
    assert {task.image_id for task in again} == {task.image_id for task in late}


async def test_at_the_bound_the_call_waits_until_results_make_room(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 60)
    worker = await http_worker(services, gateway, project)
    held = leased(worker, job.job_id, 32)
    another = HttpWorker(base=worker.base, token=worker.token)
    waiting = asyncio.create_task(asyncio.to_thread(leased, another, job.job_id, 8))
    assert await asyncio.to_thread(worker.post, job.job_id, successes(held[:16]))
    assert 1 <= len(await waiting) <= 8


@pytest.mark.long
async def test_what_a_silent_worker_held_is_done_by_another(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 4)
    silent, other = await http_worker(services, gateway, project), await http_worker(services, gateway, project)
    late = leased(silent, job.job_id, 4)
    async with collected(services, job) as ends:

        async def gets_them() -> list[Task]:
            return await asyncio.to_thread(leased, other, job.job_id, 4)

        again = await eventually(gets_them, description="the leases are handed back", poll=0.5)
        assert {task.image_id for task in again} == {task.image_id for task in late}
        # The silent one comes back first with one of them: success wins, and the other's copy is too late for it.
        assert await asyncio.to_thread(silent.post, job.job_id, successes(late[:1]))
        assert silent.statuses == ["queued"]
        assert await asyncio.to_thread(other.post, job.job_id, successes(again))
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert len(rows(services, "detections", job)) == 4
    record = next(one for one in await services.live.workers.heard_since(0) if one.name.endswith(_fingerprint(silent)))
    assert record.counters["expired"] == 4 and record.counters["leased"] == 4


def _fingerprint(worker: HttpWorker) -> str:
    from antenna_orchestration.domain.access import fingerprint

    return fingerprint(worker.token)


@pytest.mark.long
async def test_a_slow_worker_keeps_what_it_holds_while_it_is_heard_from(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    """Twice as long as the queue's own lease."""
    with running_gateway(own_stores, **LASTING) as gateway:
        job = await job_for_http(own_services, project, 2)
        slow, other = [await http_worker(own_services, gateway, project) for _ in range(2)]
        tasks = leased(slow, job.job_id, 2)

        def keeps_them() -> None:
            slow.jobs()
            assert leased(other, job.job_id, 2) == []

        await until_the_queue_gave_up(own_services, project, 2, meanwhile=keeps_them)
        assert slow.post(job.job_id, successes(tasks))
        assert slow.statuses == ["queued", "queued"]


async def test_from_the_third_delivery_on_an_image_comes_alone(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 4)
    async with hands(services) as native:
        for _ in range(2):
            for lease in await native.lease(job, 4):
                await lease.hand_back()
    worker = await http_worker(services, gateway, project)
    seen: list[str] = []
    for _ in range(4):
        # Parked ones are listed, too: they are to be had now.
        assert [one.id for one in worker.jobs()] == [job.job_id]
        (task,) = leased(worker, job.job_id, 4)
        seen.append(task.image_id)
    assert len(set(seen)) == 4


async def test_a_task_that_stopped_many_workers_is_failed_unopened(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 1)
    async with hands(services) as native, Publisher(services.connection) as publisher:
        open_attempts = OpenAttempts(services.connection, publisher)
        for _ in range(10):
            for lease in await native.lease(job, 1):
                if lease.delivery > 7:
                    await open_attempts.note(lease.task)
                await lease.hand_back()
    worker = await http_worker(services, gateway, project)
    async with collected(services, job):
        assert await asyncio.to_thread(leased, worker, job.job_id, 1) == []
    (failed,) = rows(services, "failed_images", job)
    assert failed["reason"] == "stopped its worker repeatedly"


async def test_a_task_that_was_only_handed_back_is_opened(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 1)
    async with hands(services) as native:
        for _ in range(10):
            for lease in await native.lease(job, 1):
                await lease.hand_back()
    worker = await http_worker(services, gateway, project)
    async with collected(services, job) as ends:
        tasks = await asyncio.to_thread(leased, worker, job.job_id, 1)
        assert await asyncio.to_thread(worker.post, job.job_id, successes(tasks))
    assert ends[job.job_id] is JobStatus.SUCCESS


async def test_one_bad_result_does_not_spoil_the_others(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 5)
    worker = await http_worker(services, gateway, project)
    tasks = leased(worker, job.job_id, 5)
    results = successes(tasks)
    results[1]["result"]["detections"][0]["bbox"] = {"x1": 5, "y1": 5, "x2": 1, "y2": 1}  # type: ignore[index]
    results[2]["result"] = "no result at all"
    results[3]["result"] = success(tasks[0].image_id)
    with session(worker.token) as http:
        answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", json={"results": results}, timeout=60)
    assert answer.status_code == 200
    said = answer.json()["tasks"]
    assert [one["status"] for one in said] == ["queued", "retry", "retry", "retry", "queued"]
    assert answer.json()["results_queued"] == 2
    assert all(one["detail"] for one in said[1:4])


async def test_a_worker_is_shown_by_its_own_token_and_no_other(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    loud, quiet = await http_worker(services, gateway, project), await http_worker(services, gateway, project)
    loud.jobs()
    alive = {one.worker: one for one in await services.heartbeats.workers() if one.kind == "http"}
    (mine,) = [one for name, one in alive.items() if name.endswith(_fingerprint(loud))]
    assert not any(name.endswith(_fingerprint(quiet)) for name in alive)
    assert mine.pipelines == loud.slugs and mine.state == "idle"


async def test_a_worker_of_another_project_is_nobody_for_a_job(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    """Whatever it says it serves: the job's warning stays, and a worker is started for it."""
    mine, theirs = await job_for_http(services, project, 1), await job_for_http(services, f"{project[:50]}-other", 1)
    worker = await http_worker(services, gateway, project, slugs=(SLUG, "\x1b[31m", "No slug"))
    worker.jobs()
    (shown,) = [one for one in await services.heartbeats.workers() if one.worker.endswith(_fingerprint(worker))]
    assert shown.pipelines == (SLUG,)
    assert reach.can_serve(shown, mine) and not reach.can_serve(shown, theirs)


@pytest.mark.long
async def test_leases_are_kept_after_a_round_that_failed(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    """Here because of something in Redis that no program of ours wrote."""
    async with aclosing(connection.connect(own_stores.settings.redis_url)) as redis:
        with running_gateway(own_stores, **LASTING) as gateway:
            await redis.sadd(keys.LEASED_JOBS, "garbage")
            try:
                wait_until(lambda: "the loop leases failed" in gateway.log.read_text(), description="a failed round")
            finally:
                await redis.srem(keys.LEASED_JOBS, "garbage")
            job = await job_for_http(own_services, project, 1)
            slow, other = [await http_worker(own_services, gateway, project) for _ in range(2)]
            tasks = leased(slow, job.job_id, 1)

            def keeps_it() -> None:
                slow.jobs()
                assert leased(other, job.job_id, 1) == []

            await until_the_queue_gave_up(own_services, project, 1, meanwhile=keeps_it)
            assert slow.post(job.job_id, successes(tasks))
            assert slow.statuses == ["queued"]
