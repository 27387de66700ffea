"""What is kept in Redis: its keys, who holds which image, and what happens without Redis."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.http_lease import HttpWorkerSpeed
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.domain.reported_errors import Report
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.live import connection, keys
from antenna_orchestration.live.leases import KeptLease
from antenna_orchestration.live.remembered import RememberedStore
from antenna_orchestration.live.scripts import NOBODY
from antenna_orchestration.live.store import LiveStore
from antenna_orchestration.live.workers import MOST_LISTED

JOB_RUN = JobRun(JobId(10**9), Generation(2))
FIRST, SECOND = 10**9 + 1, 10**9 + 2
"""Two workers."""

NOWHERE = "redis://127.0.0.1:1/0"

PROGRESS = JobProgress(
    total=9, published=8, done=5, failed=1, detections=7, classifications=6, rate=0.5, at=datetime.now(UTC)
)


@pytest.fixture
async def live(shared_stores: EmbeddedStores) -> AsyncIterator[LiveStore]:
    """A store that is left without this job and these workers."""
    async with LiveStore(shared_stores.settings.redis_url) as store:
        yield store
        for worker in (FIRST, SECOND):
            for job_run, images in (await store.leases.of_worker(worker)).items():
                await store.leases.take(job_run, worker, images)
        while await store.leases.take_parked(JOB_RUN):
            pass
        await store.leases.of_job(JOB_RUN)
        await store.counters.forget(JOB_RUN)


def lease(holder: int, uri: str = "") -> KeptLease:
    return KeptLease(holder=holder, epoch=Epoch("0a"), sequence=9, place=11, delivery=1, since=100.0, uri=uri)


def test_keys_are_those_of_every_release() -> None:
    """Gateways of two releases run side by side, and leases outlive an upgrade."""
    job_run = JobRun(JobId(7), Generation(2))
    assert keys.counters(job_run) == "antenna:job:7:2:counters"
    assert keys.leases(job_run) == "antenna:http:job:7:2:leases"
    assert keys.parked(job_run) == "antenna:http:job:7:2:parked"
    assert keys.confirmed(job_run) == "antenna:http:job:7:2:confirmed"
    assert (keys.worker(3), keys.holding(3)) == ("antenna:http:worker:3", "antenna:http:worker:3:holding")
    assert keys.reports(job_run) == "antenna:http:job:7:2:reports"
    assert keys.reasons(3) == "antenna:http:worker:3:reasons"
    assert keys.job_run_of_counters(keys.counters(job_run)) == job_run
    assert keys.job_run_of_member(keys.job_run_member(job_run)) == job_run
    assert keys.image_of_member("7:2:5") == (job_run, 5)


async def test_of_two_holders_the_later_one_has_the_image(live: LiveStore, shared_stores: EmbeddedStores) -> None:
    one, two = ImageId(1), ImageId(2)
    await live.leases.hold(JOB_RUN, FIRST, {one: lease(FIRST), two: lease(FIRST)}, now=100.0)
    await live.leases.hold(JOB_RUN, SECOND, {two: lease(SECOND)}, now=200.0)
    assert await live.leases.of_worker(FIRST) == {JOB_RUN: [one]}
    assert await live.leases.of_worker(SECOND) == {JOB_RUN: [two]}
    redis = connection.connect(shared_stores.settings.redis_url)
    assert await redis.hgetall(keys.leases(JOB_RUN)) == {
        "1": f'[{FIRST},"0a",9,11,1,100.0,"",0.0]',
        "2": f'[{SECOND},"0a",9,11,1,100.0,"",0.0]',
    }
    await redis.aclose()
    assert await live.leases.take(JOB_RUN, FIRST, [one, two]) == {one: _confirmed(lease(FIRST), 100.0)}
    assert await live.leases.take(JOB_RUN, SECOND, [one, two]) == {two: _confirmed(lease(SECOND), 200.0)}
    assert await live.leases.of_job(JOB_RUN) == {} and JOB_RUN not in await live.leases.jobs()


async def test_a_parked_task_is_leased_once(live: LiveStore) -> None:
    image = ImageId(1)
    await live.leases.hold(JOB_RUN, NOBODY, {image: lease(NOBODY, "file:///1")}, now=100.0)
    assert await live.leases.has_parked(JOB_RUN) and JOB_RUN in await live.leases.jobs()
    assert await live.leases.take_parked(JOB_RUN) == (image, _confirmed(lease(NOBODY, "file:///1"), 100.0))
    assert await live.leases.take_parked(JOB_RUN) is None
    assert not await live.leases.has_parked(JOB_RUN)


async def test_a_lease_that_ended_is_not_confirmed(live: LiveStore) -> None:
    one, two = ImageId(1), ImageId(2)
    await live.leases.hold(JOB_RUN, FIRST, {one: lease(FIRST), two: lease(FIRST)}, now=100.0)
    await live.leases.take(JOB_RUN, FIRST, [two])
    await live.leases.confirm(JOB_RUN, [one, two], now=130.0)
    found = await live.leases.of_job(JOB_RUN)
    assert found == {one: _confirmed(lease(FIRST), 130.0)}
    assert found[one].is_ours(now=159.9, ack_wait=30.0) and not found[one].is_ours(now=160.0, ack_wait=30.0)


async def test_reports_are_kept_until_their_images_are_decided(live: LiveStore) -> None:
    one, two = ImageId(1), ImageId(2)
    report = Report().after("oom", holder=FIRST, shared=False, now=1.0)
    await live.reports.put(JOB_RUN, {one: report, two: report})
    assert await live.reports.find(JOB_RUN, [one, ImageId(3)]) == {one: report}
    await live.reports.forget(JOB_RUN, [one])
    assert await live.reports.of_job(JOB_RUN) == {two: report}
    await live.reports.forget_job(JOB_RUN)
    assert await live.reports.count(JOB_RUN) == 0


@pytest.mark.long
async def test_what_is_counted_of_a_forgotten_worker_expires(own_stores: EmbeddedStores) -> None:
    """Its leases may end after Redis has lost its data, and then it never calls again."""
    async with LiveStore(own_stores.settings.redis_url) as store:
        await store.workers.count(FIRST, expired=3)
        await store.workers.measured(SECOND, HttpWorkerSpeed(), now=5.0)
        client = connection.connect(own_stores.settings.redis_url)
        assert await client.ttl(keys.worker(FIRST)) > 0 and await client.ttl(keys.worker(SECOND)) > 0
        await client.aclose()


@pytest.mark.long
async def test_lists_of_workers_are_bounded(own_stores: EmbeddedStores) -> None:
    """A client that is another one after each restart makes a record a time, and `/metrics` lists them all."""
    async with LiveStore(own_stores.settings.redis_url) as store, RememberedStore(store) as remembered:
        for number in range(1, MOST_LISTED + 11):
            await store.workers.hear(number, name=str(number), host="h", now=1000.0 + number)
        listed = [one.worker for one in await remembered.workers.heard_since(0)]
        assert listed == list(range(11, MOST_LISTED + 11))
        await store.leases.hold(JOB_RUN, listed[-1], {ImageId(5): lease(listed[-1])}, now=0.0)
        held = await remembered.leases.held_by_each(listed)
        assert {worker: number for worker, number in held.items() if number} == {listed[-1]: 1}
        assert not remembered.is_away


async def test_counters_are_read_as_written(live: LiveStore) -> None:
    await live.counters.write(JOB_RUN, PROGRESS)
    assert await live.counters.read(JOB_RUN) == PROGRESS and JOB_RUN in await live.counters.jobs()
    await live.counters.forget(JOB_RUN)
    assert await live.counters.read(JOB_RUN) is None


async def test_without_redis_counters_are_skipped_and_everything_else_raises(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="antenna_orchestration.live")
    async with LiveStore(NOWHERE) as store:
        for _ in range(2):
            await store.counters.write(JOB_RUN, PROGRESS)
        await store.counters.forget(JOB_RUN)
        assert await store.counters.read(JOB_RUN) is None
        for asked in (
            store.counters.jobs(), store.leases.now(), store.leases.of_job(JOB_RUN), store.leases.held_by(FIRST),
            store.leases.take(JOB_RUN, FIRST, [ImageId(1)]), store.workers.get(FIRST), store.workers.rejected(),
        ):  # fmt: skip
            with pytest.raises(errors.Unavailable, match="Redis"):
                await asked
        with pytest.raises(errors.Unavailable, match=r"Redis at redis://127\.0\.0\.1:1/0 cannot be reached"):
            await store.check()
    # Said once, however often it is tried.
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "live counters are not written",
        f"counters of job {JOB_RUN.job} stay until they expire",
    ]


def _confirmed(kept: KeptLease, when: float) -> KeptLease:
    return KeptLease(**{**{name: getattr(kept, name) for name in kept.__struct_fields__}, "confirmed": when})


async def test_a_connection_that_closes_slowly_fails_nothing(shared_stores: EmbeddedStores) -> None:
    """As on a machine so busy that closing takes longer than the client library allows."""
    client = connection.connect(shared_stores.settings.redis_url)
    await client.ping()
    for one in client.connection_pool._available_connections:
        one.socket_connect_timeout = 1e-9
    await connection.close(client)
