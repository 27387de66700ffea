"""What a worker will not finish is offered to others at once: it says so, or its token is refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from antenna_orchestration.catalog.catalog import Catalog
from antenna_orchestration.dispatch import keep_leases, lease
from antenna_orchestration.dispatch import services as dispatch_services
from antenna_orchestration.dispatch.hand_back import hand_back
from antenna_orchestration.dispatch.lease_log import LeaseLog, Why
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import access
from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.http_lease import HttpWorkerSpeed
from antenna_orchestration.domain.ids import Epoch, ImageId
from antenna_orchestration.domain.job import Job, LogLine
from antenna_orchestration.domain.listening import Listening
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.live import leases
from antenna_orchestration.live.leases import KeptLease
from antenna_orchestration.processing.services import Services, prepare
from antenna_orchestration.upkeep import tokens
from tests.gateway.gateway_process import RunningGateway, http_worker, job_for_http, running_gateway
from tests.gateway.http_worker import HttpWorker, Task, session, success
from tests.processing.jobs_by_hand import make_job
from tests.waiting import eventually


def held(worker: HttpWorker, job: Job, wanted: int) -> list[Task]:
    worker.batch_size = wanted
    with session(worker.token) as http:
        return worker.lease(http, job.job_id)


def released(worker: HttpWorker, path: str, body: dict[str, Any] | None = None, client: str = "") -> Any:
    with session(worker.token) as http:
        if client:
            http.headers["X-Antenna-Client"] = client
        answer = http.post(f"{worker.base}/{path}", json=body, timeout=60)
    return answer.json()["handed_back"] if answer.ok else (answer.status_code, answer.json()["detail"])


async def told(services: Services, job: Job, action: str) -> LogLine:
    async def found() -> list[LogLine]:
        return [one for one in await services.catalog.job_log.newest(job.job_id, 100) if one.action == action]

    (line,) = await eventually(found, description=f"the line {action}")
    return line


@pytest.mark.long
async def test_a_worker_hands_back_what_it_names(own_services: Services, patient: RunningGateway, project: str) -> None:
    services, gateway = own_services, patient
    job, elsewhere = await job_for_http(services, project, 4), await job_for_http(services, project, 1)
    worker, other = await http_worker(services, gateway, project), await http_worker(services, gateway, project)
    tasks, (foreign,) = held(worker, job, 4), held(worker, elsewhere, 1)
    named = {"reply_subjects": [task.reply_subject for task in tasks[:2]]}
    path = f"jobs/{job.job_id}/release"
    # Only its own, only of this job, and all or nothing.
    assert released(other, path, named)[0] == 400
    assert released(worker, path, {"reply_subjects": [tasks[0].reply_subject, foreign.reply_subject]})[0] == 400
    assert released(worker, path, {"reply_subjects": ["nonsense"]}) == (
        400,
        "reply_subjects[0]: not signed by this deployment",
    )
    assert released(worker, path, named) == 2
    assert released(worker, path, named) == 0
    assert {task.image_id for task in held(other, job, 4)} == {task.image_id for task in tasks[:2]}
    # What it kept it may still post; for the others the new holder decides.
    assert worker.post(job.job_id, [{"reply_subject": tasks[3].reply_subject, "result": success(tasks[3].image_id)}])
    assert worker.statuses == ["queued"]
    # Without names: all that it holds of the job.
    assert released(worker, f"{path}/") == 1
    assert [task.image_id for task in held(other, job, 4)] == [tasks[2].image_id]
    line = await told(services, job, "handed_back")
    assert set(line.details["images"]) <= {int(task.image_id) for task in tasks[:3]}


@pytest.mark.long
async def test_a_client_says_goodbye_and_another_of_its_token_stays(
    own_services: Services, patient: RunningGateway, project: str
) -> None:
    services, gateway = own_services, patient
    jobs = [await job_for_http(services, project, 3) for _ in range(2)]
    worker, other = await http_worker(services, gateway, project), await http_worker(services, gateway, project)
    with session(worker.token) as http:
        http.headers["X-Antenna-Client"] = "leaving"
        for job in jobs:
            worker.batch_size = 2
            assert len(worker.lease(http, job.job_id)) == 2
        http.headers["X-Antenna-Client"] = "staying"
        (kept,) = worker.lease(http, jobs[0].job_id)
    assert released(worker, "release", client="leaving") == 4
    assert released(worker, "release/", client="leaving") == 0
    assert [len(held(other, job, 9)) for job in jobs] == [2, 3]
    shown = {one.worker: one for one in await services.heartbeats.workers()}
    assert not any("leaving" in name for name in shown if name.endswith(access.fingerprint(worker.token)))
    assert worker.post(jobs[0].job_id, [{"reply_subject": kept.reply_subject, "result": success(kept.image_id)}])
    assert worker.statuses == ["queued"]


async def test_a_task_that_is_handed_back_again_and_again_is_still_opened(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    """It never stopped anybody: it is not failed, however often it comes."""
    job = await job_for_http(services, project, 1)
    worker = await http_worker(services, gateway, project)
    for _ in range(11):
        (task,) = held(worker, job, 1)
        assert released(worker, f"jobs/{job.job_id}/release") == 1
    (task,) = held(worker, job, 1)
    assert worker.post(job.job_id, [{"reply_subject": task.reply_subject, "result": success(task.image_id)}])
    assert worker.statuses == ["queued"]


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_refused_token_gives_everything_back(
    services: Services, gateway: RunningGateway, project: str, how: str
) -> None:
    """Long before anybody could think that its worker is silent: it polls on."""
    job = await job_for_http(services, project, 4)
    secret = access.new_secret()
    worker, other = HttpWorker(base=gateway.base, token=secret), await http_worker(services, gateway, project)
    await services.catalog.tokens.add(
        sha256=access.digest(secret), fingerprint=access.fingerprint(secret), role=Role.WORKER, label="doomed",
        projects=[project], expires_at=datetime.now(UTC) + timedelta(days=1), by="a test",
    )  # fmt: skip
    late = held(worker, job, 4)
    assert len(late) == 4
    if how == "revoked":
        await tokens.revoke(services, access.fingerprint(secret))
    else:
        async with await psycopg.AsyncConnection.connect(services.settings.database_url) as connection:
            await connection.execute(
                "UPDATE tokens SET expires_at = now() WHERE fingerprint = %s", [access.fingerprint(secret)]
            )

    async def gets_them() -> list[Task]:
        worker.jobs()
        return await asyncio.to_thread(held, other, job, 4)

    again = await eventually(gets_them, description="the leases are handed back")
    assert {task.image_id for task in again} == {task.image_id for task in late}
    line = await told(services, job, "no_result")
    named = ", ".join(sorted((task.image_id for task in late), key=int))
    assert line.level == "WARNING" and line.message.startswith(f"Result never came for images {named}, leased ")
    assert line.details["worker"].startswith("doomed-") and line.details["deliveries"] == [1] * 4
    assert "its token is revoked or has expired" in line.message
    assert sorted(map(str, line.details["images"]), key=int) == named.split(", ")


@pytest.mark.long
async def test_tasks_are_handed_back_while_redis_is_away(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    """Leases, posts and polls go on as well: nothing rests on Redis."""
    services = own_services
    with running_gateway(own_stores, ANTENNA_HTTP_LEASE="60") as gateway:
        job = await job_for_http(services, project, 6)
        leaving, doomed = await http_worker(services, gateway, project), await http_worker(services, gateway, project)
        other = await http_worker(services, gateway, project)
        before = held(leaving, job, 1), held(doomed, job, 1)
        own_stores.kill("redis")
        during = held(leaving, job, 1), held(doomed, job, 1)
        assert released(leaving, "release") == 2
        await tokens.revoke(services, access.fingerprint(doomed.token))
        found: list[Task] = []

        async def gets_all() -> bool:
            found.extend(await asyncio.to_thread(held, other, job, 6))
            return len(found) == 6

        await eventually(gets_all, description="the others' images are offered")
        assert {task.image_id for batch in (*before, *during) for task in batch} < {task.image_id for task in found}
        results = [{"reply_subject": task.reply_subject, "result": success(task.image_id)} for task in found]
        assert await asyncio.to_thread(other.post, job.job_id, results)
        assert other.statuses == ["queued"] * 6 and other.jobs() == []
        assert other.errors == [], gateway.log.read_text()[-4000:]


async def test_many_leases_that_end_make_one_line(services: Services, project: str) -> None:
    """Of each worker and reason, whatever a client does; and a line names no more images than people read."""
    job = await make_job(services, project, 1)
    log = LeaseLog()
    for image in range(1, 51):
        kept = KeptLease(holder=1, epoch=Epoch("0a"), sequence=image, place=image, delivery=1 + image % 2, since=40.0)
        log.note(job.job_run, "w-1", Why.SILENT, {ImageId(image): kept}, now=105.0)
    log.note(job.job_run, "w-1", Why.HANDED_BACK, {ImageId(60): kept}, now=41.0)
    await log.write(services.catalog.job_log)
    await log.write(services.catalog.job_log)
    silent, handed_back = await services.catalog.job_log.newest(job.job_id, 10)
    named = ", ".join(map(str, range(1, 21)))
    assert silent.message == (
        f"Result never came for images {named} and 30 more, leased 1 min 5 s before (deliveries 1 to 2) by w-1: "
        "the worker was not heard from; offered again"
    )
    assert silent.details["images"] == list(range(1, 51)) and silent.details["leased_for"] == 65
    assert handed_back.message == "w-1 handed back image 60, leased 1 s before (delivery 1)"


def test_silence_counts_only_while_somebody_listens() -> None:
    listening = Listening()
    assert listening.begin(100.0, gap=30) == 100
    # A round that failed was none.
    assert listening.begin(110.0, gap=30) == 110
    listening.end(110.0)
    assert listening.begin(120.0, gap=30) == 110
    listening.end(120.0)
    assert listening.begin(151.0, gap=30) == 151
    # The clock was set back.
    listening.end(151.0)
    assert listening.begin(50.0, gap=30) == 50


def test_a_vanished_worker_is_noticed_after_a_minute_or_three_batches() -> None:
    quick, slow = (HttpWorkerSpeed().after(8, seconds=batch, batch=batch) for batch in (4.0, 50.0))
    assert (quick.silence(300), slow.silence(300)) == (60, 150)
    # Nobody knows yet how long it loads its models.
    assert HttpWorkerSpeed().silence(300) == 300


@pytest.fixture
async def by_hand(own_stores: EmbeddedStores) -> AsyncIterator[Any]:
    """Processes that keep leases, opened one after the other in this one."""
    settings = own_stores.settings.model_copy(update={"secret_key": "k", "task_ack_wait": 60.0, "http_lease": 300.0})
    await prepare(settings)

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[HttpServices]:
        async with dispatch_services.opened(settings) as http:
            yield http

    yield opened


@pytest.mark.long
async def test_no_worker_is_silent_for_a_gateway_that_was_away(by_hand: Any, project: str) -> None:
    async with by_hand() as http:
        job = await job_for_http(http.services, project, 3)
        worker = await _token_of(http.services.catalog, http.services, project)
        assert len(await lease.lease(http, job, worker, 3)) == 3
        now = await http.live.leases.now()
        # Its batches take a second, and it was last heard two minutes ago.
        await http.live.workers.hear(worker.holder, name="w", host="h", now=now - 120)
        speed = HttpWorkerSpeed().after(3, seconds=1, batch=1)
        await http.live.workers.measured(worker.holder, speed, now=now - 120)
    async with by_hand() as http:
        for _ in range(2):
            await keep_leases.keep_leases(http)
            assert await http.live.leases.held_by(worker.holder) == 3
        # As if it had listened all the time.
        http.listening._since = now - 120
        await keep_leases.keep_leases(http)
        assert await http.live.leases.held_by(worker.holder) == 0
        line = await told(http.services, job, "no_result")
        assert line.details["worker"] == "w" and "was not heard from" in line.message


@pytest.mark.long
async def test_a_lease_of_before_the_clock_was_set_back_is_over(by_hand: Any, project: str) -> None:
    """Its worker died: it was shown, and held its images, until the clock had come that far again."""
    async with by_hand() as http:
        job = await job_for_http(http.services, project, 2)
        worker = await _token_of(http.services.catalog, http.services, project)
        assert len(await lease.lease(http, job, worker, 2)) == 2
        now = await http.live.leases.now()
        await http.live.workers.hear(worker.holder, name="w", host="h", now=now + 7200, pipelines=["null"])
        kept = await http.live.leases.of_job(job.job_run)
        of_then = {image: msgspec.structs.replace(one, since=now + 7200) for image, one in kept.items()}
        await http.live.leases.hold(job.job_run, worker.holder, of_then, now=now)
        await keep_leases.keep_leases(http)
        assert await http.live.leases.held_by(worker.holder) == 0
        assert "w" not in {one.worker for one in await http.services.heartbeats.workers()}


@pytest.mark.long
async def test_what_was_handed_back_untried_loses_no_attempt(by_hand: Any, project: str) -> None:
    """Those of a busy processing service, or of a bucket without credentials, failed after ten deliveries."""
    async with by_hand() as http:
        job = await job_for_http(http.services, project, 2)
        worker = await _token_of(http.services.catalog, http.services, project)

        async def given() -> list[lease.Leased]:
            return await lease.lease(http, job, worker, 2)

        async def back(leased: Sequence[lease.Leased], *, untried: bool) -> None:
            images = [one.image for one in leased]
            assert await hand_back(http, job.job_run, worker.holder, images, untried=untried) == len(images)

        for _ in range(12):
            both = await eventually(given, description="tasks")
            # Not one by one, as it is after two deliveries that nobody knows more about.
            assert len(both) == 2
            await back(both, untried=True)
        for _ in range(2):
            await back(await eventually(given, description="tasks"), untried=False)
        for _ in range(12):
            alone = await eventually(given, description="a task")
            assert len(alone) == 1
            await back(alone, untried=True)
        assert not await http.services.queue.has_unread_result(job.job_run)


@pytest.mark.long
async def test_leases_of_during_a_round_are_not_ended_by_it(by_hand: Any, project: str) -> None:
    """A round that the catalog holds up sees leases that are younger than itself."""
    async with by_hand() as http:
        jobs = [await job_for_http(http.services, f"{project[:50]}-{number}", 2) for number in range(2)]
        projects = [job.project for job in jobs]
        secret = (await tokens.create(http.services, role=Role.WORKER, projects=projects)).secret
        worker = await http.services.catalog.tokens.find(access.digest(secret))
        assert worker is not None
        for job in jobs:
            assert len(await lease.lease(http, job, worker, 1)) == 1
        async with await psycopg.AsyncConnection.connect(http.settings.database_url) as other:
            await other.execute("LOCK TABLE tokens")
            began = await http.live.leases.now()
            round_ = asyncio.create_task(keep_leases.keep_leases(http))

            async def waits() -> bool:
                asked = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'tokens'::regclass"
                return await (await other.execute(asked)).fetchone() is not None

            async def is_later() -> bool:
                return await http.live.leases.now() > began + leases.AHEAD + 0.5

            await eventually(waits, description="a round that waits for the catalog")
            await eventually(is_later, description="a long wait")
            for job in jobs:
                assert len(await lease.lease(http, job, worker, 1)) == 1
        await round_
        assert await http.live.leases.held_by(worker.holder) == 4


async def _token_of(catalog: Catalog, services: Services, project: str) -> access.Token:
    secret = (await tokens.create(services, role=Role.WORKER, projects=[project])).secret
    found = await catalog.tokens.find(access.digest(secret))
    assert found is not None
    return found
