"""Faults A to P, one after the other on the same system, whose worker lives on through them."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from antenna_orchestration.domain.attempts import STOPPED_WORKER
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import cancel, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.upkeep import health
from tests.chaos import wall_clock
from tests.chaos.rig import ACK_WAIT, Rig, has_ended, redis_of, stream_names
from tests.processing.jobs_by_hand import hands
from tests.waiting import eventually, lasts

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

OUTAGE = 30.0
"""Seconds for which a store cannot be reached."""


async def test_a_nothing(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services)
        with rig.collector(job) as collector:
            await rig.under_way(services, job)
            await rig.ends(services, job, fault="A nothing", since=time.monotonic())
            collector.leaves()
        assert "WARNING" not in collector.log
        story = await rig.story(services, job)
        assert story.count("finished:") == 1 and "lost_images" not in story


async def test_c_redis_is_flushed(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 120)
        with rig.collector(job), redis_of(rig) as client:
            await rig.under_way(services, job)
            client.flushall()
            since = time.monotonic()

            async def shown() -> bool:
                progress = await services.live.counters.read(job.job_run)
                return progress is not None and progress.total == 120

            await eventually(shown, description="the counters are written again")
            await rig.ends(services, job, fault="C Redis flushed", since=since)


@pytest.mark.parametrize("how", ["killed", "unreachable"])
async def test_e_redis_is_down_until_the_job_is_over(rig: Rig, how: str) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services)
        with rig.collector(job) as collector:
            await rig.under_way(services, job)
            if how == "killed":
                rig.stores.kill("redis")
            else:
                rig.collectors.redis.stall()
            since = time.monotonic()
            collector.leaves(60)
            took = time.monotonic() - since
            # The counters that it could not delete go with the next health check.
            rig.repair()
            await health.check(services)
            await rig.ends(services, job)
            rig.record(f"E Redis {how} until the job is over", took)


async def test_f_an_image_is_handed_back_twelve_times(rig: Rig) -> None:
    rig.forget_worker()
    async with rig.eyes() as services, hands(services) as taker:
        job = await rig.submitted(services, 12, published=12)
        for _ in range(12):
            held = await taker.lease(job, 12, wait=5.0)
            assert len(held) == 12
            for lease in held:
                await lease.hand_back()
        since = time.monotonic()
        rig.worker()
        with rig.collector(job):
            await rig.ends(services, job, fault="F twelve images handed back twelve times", since=since)


@pytest.mark.parametrize("left", ["streams", "nothing"])
async def test_g_the_streams_are_deleted(rig: Rig, left: str) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 120)
        with rig.collector(job):
            await rig.under_way(services, job)
            js = services.connection.jetstream(timeout=60)
            for name in stream_names():
                if left == "streams":
                    await js.purge_stream(name)
                else:
                    await js.delete_stream(name)
            what = "all messages purged" if left == "streams" else "streams and buckets deleted"
            await rig.ends(services, job, fault=f"G NATS: {what}", since=time.monotonic())


async def test_g_nats_is_killed_and_restarted(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 120)
        with rig.collector(job):
            await rig.under_way(services, job)
            rig.stores.kill("nats")
            rig.stores.start("nats")
            await rig.ends(services, job, fault="G NATS killed and restarted", since=time.monotonic())


async def test_g_nats_cannot_be_reached_for_half_a_minute(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 120)
        with rig.collector(job):
            await rig.under_way(services, job)
            for line in (rig.collectors, rig.workers):
                line.nats.stall()
            await lasts(OUTAGE)
            for line in (rig.collectors, rig.workers):
                line.nats.restore()
            await rig.ends(services, job, fault=f"G NATS unreachable for {OUTAGE:.0f} s", since=time.monotonic())


@pytest.mark.parametrize("when", ["before the job", "during the job"])
async def test_g_the_store_of_nats_is_set_back(rig: Rig, when: str) -> None:
    """What a power failure can do: confirmed tasks and results are gone, acknowledged ones are back."""
    rig.worker()
    folder = Path(rig.settings.home) / "nats"
    copy = rig.folder / "nats-copy"
    async with rig.eyes() as services:
        if when == "before the job":
            _copy_store(rig, folder, copy)
        job = await rig.submitted(services, 120 if when == "before the job" else 200)
        with rig.collector(job):
            await rig.under_way(services, job)
            if when == "during the job":
                _copy_store(rig, folder, copy)
                await rig.under_way(services, job, done=40)
            rig.stores.kill("nats")
            shutil.rmtree(folder / "jetstream")
            shutil.copytree(copy, folder / "jetstream")
            rig.stores.start("nats")
            await rig.ends(services, job, fault=f"G JetStream set back to a copy from {when}", since=time.monotonic())


def _copy_store(rig: Rig, folder: Path, copy: Path) -> None:
    rig.stores.stop("nats")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "jetstream", copy)
    rig.stores.start("nats")


async def test_h_postgresql_is_restarted(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 120)
        with rig.collector(job) as collector:
            await rig.under_way(services, job)
            rig.stores.stop("postgres")
            rig.stores.start("postgres")
            await rig.ends(services, job, fault="H PostgreSQL restarted", since=time.monotonic())
            collector.leaves()


async def test_h_postgresql_cannot_be_reached_for_half_a_minute(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 120)
        with rig.collector(job) as collector:
            await rig.under_way(services, job)
            rig.collectors.postgres.stall()
            await lasts(OUTAGE)
            rig.collectors.postgres.restore()
            fault = f"H PostgreSQL unreachable for {OUTAGE:.0f} s"
            await rig.ends(services, job, fault=fault, since=time.monotonic())
            collector.leaves()


async def test_i_a_worker_stands_still_for_longer_than_its_lease(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 120)
        with rig.collector(job), rig.another_worker() as sleeper:
            await rig.under_way(services, job)
            sleeper.signal(signal.SIGSTOP)
            since = time.monotonic()
            await lasts(2 * ACK_WAIT)
            sleeper.signal(signal.SIGCONT)
            await rig.ends(services, job, fault="I a worker stopped past its lease, and continued", since=since)


async def test_k_a_poisonous_image_kills_each_worker(rig: Rig) -> None:
    rig.forget_worker()
    async with rig.eyes() as services:
        config = {"fault": "kill_parent", "stage": "prepare", "on_uri": "000003.jpg"}
        job = await rig.submitted(services, 8, pipeline="faulty", config=config)
        killed = 0
        with rig.collector(job):
            while not (await services.catalog.jobs.get(job.job_id)).status.is_terminal:
                worker = rig.worker()
                since = time.monotonic()
                if await _dies(worker.pid, services, job):
                    killed += 1
                    rig.forget_worker()
            await rig.ends(services, job, failed=1)
        rig.record("K a poisonous image: from the last start of a worker", time.monotonic() - since)
    reasons = services.lake.read_table("failed_images", job.job_id).column("reason").to_pylist()
    assert reasons == [STOPPED_WORKER] and killed


async def _dies(pid: int, services: Services, job: Job) -> bool:
    """Wait for the worker's death, or the job's end."""

    async def either() -> bool:
        return not _lives(pid) or (await services.catalog.jobs.get(job.job_id)).status.is_terminal

    await eventually(either, description="the worker dies, or the job ends")
    return not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_l_result_publishes_time_out(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 120)
        with rig.collector(job):
            await rig.under_way(services, job)
            # What the worker says arrives; that it arrived the worker does not hear, for longer than it waits.
            rig.workers.nats.stall(up=False)
            await lasts(12)
            rig.workers.nats.restore()
            await rig.ends(services, job, fault="L result publishes unconfirmed for 12 s", since=time.monotonic())


async def test_m_two_sensors_and_two_collectors(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services, rig.eyes() as other:
        job = await rig.submitted(services)
        claims = await asyncio.gather(*(each.catalog.jobs.claim(25) for each in (services, other)))
        assert [one.job_id for claim in claims for one in claim].count(job.job_id) == 1
        await asyncio.gather(*(publish.publish(each, job.job_id) for each in (services, other)))
        with rig.collector(job) as first, rig.collector(job) as second:
            await rig.ends(services, job, fault="M two sensors and two collectors", since=time.monotonic())
            first.leaves()
            second.leaves()


async def test_n_the_lake_has_no_room(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services)
        with rig.collector(job) as collector:
            await rig.under_way(services, job)
            # No file of the collector's may grow beyond this: the kernel refuses, as for a full disk.
            process = psutil.Process(collector.pid)
            process.rlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))

            async def tries(times: int) -> None:
                async def has_tried() -> bool:
                    return collector.log.count("committing results waits") >= times

                await eventually(has_tried, description=f"the collector says {times} times that it cannot write")

            await tries(1)
            done = (await services.catalog.images.count(job.job_id)).done
            await tries(4)
            assert (await services.catalog.images.count(job.job_id)).done == done
            process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await rig.ends(services, job, fault="N no room in the lake", since=time.monotonic())
            collector.leaves()


@pytest.mark.parametrize("seconds", [7200, -7200])
async def test_o_the_clock_jumps(rig: Rig, seconds: int) -> None:
    with wall_clock.jumping() as jumper:
        async with rig.eyes() as services:
            job = await rig.submitted(services)
            rig.forget_worker()
            with rig.worker_with(jumper.environment), rig.collector(job, environment=jumper.environment) as collector:
                await rig.under_way(services, job)
                jumper.jump(seconds)
                since = time.monotonic()
                await rig.ends(services, job, fault=f"O the clock jumps by {seconds / 3600:+.0f} h", since=since)
                collector.leaves()
            counts = await services.catalog.job_log.read(job.job_id)
            assert not [line for _, line in counts if line.action == "lost_images"]


async def test_p_cancel_during_publish(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 20_000)
        with rig.collector(job) as collector:

            async def publishing() -> bool:
                return (await services.catalog.jobs.get(job.job_id)).published_upto >= 2_000

            await eventually(publishing, description="a tenth is published", poll=0.01)
            since = time.monotonic()
            assert await cancel.cancel(services, job.job_id, reason="during publish")
            has_ended(collector)
            await rig.ends(services, job, fault="P cancel during publish", since=since, status=JobStatus.CANCELED)


async def test_p_cancel_during_collect_and_twice(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services, 200)
        with rig.collector(job) as collector:
            await rig.under_way(services, job)
            since = time.monotonic()
            first, second = await asyncio.gather(
                *(cancel.cancel(services, job.job_id, reason=f"call {n}") for n in (1, 2))
            )
            assert first or second
            assert not await cancel.cancel(services, job.job_id, reason="too late")
            has_ended(collector)
            await rig.ends(
                services, job, fault="P cancel during collect, twice", since=since, status=JobStatus.CANCELED
            )


@pytest.mark.parametrize("left", [1, 2, 4])
async def test_p_cancel_against_completion(rig: Rig, left: int) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services)
        with rig.collector(job) as collector:

            async def nearly() -> bool:
                return (await services.catalog.images.count(job.job_id)).pending < left

            await eventually(nearly, description="all but a few are done", poll=0.005)
            since = time.monotonic()
            canceled = await cancel.cancel(services, job.job_id, reason="at the last moment")
            has_ended(collector)
            status = (await services.catalog.jobs.get(job.job_id)).status
            # Who was first is nobody's to say; but both never are.
            assert status in (JobStatus.CANCELED, JobStatus.SUCCESS)
            assert canceled is (status is JobStatus.CANCELED)
            await rig.ends(services, job, fault="P cancel against completion", since=since, status=status)
