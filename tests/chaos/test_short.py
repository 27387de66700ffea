"""Three faults that every change has to survive; the others are in test_faults.py."""

from __future__ import annotations

import time

import pytest

from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing.services import Services
from tests.chaos.rig import Rig, redis_of
from tests.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.long]


async def test_b_one_redis_connection_reset(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services)
        with rig.collector(job) as collector:
            await rig.under_way(services, job)
            rig.collectors.redis.reset()
            since = time.monotonic()
            await rig.ends(services, job, fault="B one Redis connection reset", since=since)
            collector.leaves()


async def test_d_the_collector_is_killed_between_commit_and_acknowledgement(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services)
        with rig.collector(job) as first:
            await rig.under_way(services, job)
            # What it has pulled it commits, and cannot say so.
            rig.collectors.nats.stall(down=False)
            await _committed_and_not_acknowledged(services, job)
            first.kill()
        rig.collectors.nats.restore()
        since = time.monotonic()
        with rig.collector(job) as second:
            await rig.ends(services, job, fault="D collector killed between commit and acknowledgement", since=since)
            second.leaves()


async def _committed_and_not_acknowledged(services: Services, job: Job) -> None:
    async def both() -> bool:
        unread = await services.queue.unread_results(job.job_run)
        pending = await services.catalog.images.pending(job.job_run, upto=job.total)
        return bool(unread - pending)

    await eventually(both, description="a result is committed and still on the queue")


async def test_i_the_worker_is_killed(rig: Rig) -> None:
    rig.worker()
    async with rig.eyes() as services:
        job = await rig.submitted(services)
        with rig.collector(job) as collector:
            await rig.under_way(services, job)
            rig.kill_worker()
            since = time.monotonic()
            rig.worker()
            await rig.ends(services, job, fault="I a worker killed, another started", since=since)
            collector.leaves()
        with redis_of(rig) as client:
            assert not list(client.scan_iter("antenna:job:*"))
