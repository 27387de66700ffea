"""Faults drawn by chance, several a job, for a bounded time. A seed that fails is printed, and draws the same again:

CHAOS_SEED=1234 CHAOS_SECONDS=300 make chaos
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import time
from collections.abc import Awaitable, Callable

import nats.js.errors
import pytest

from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing import cancel, retry
from antenna_orchestration.processing.services import Services
from tests.chaos.collector_process import CollectorProcess
from tests.chaos.rig import Rig, redis_of, stream_names
from tests.waiting import lasts

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1200)]

SEED = os.environ.get("CHAOS_SEED") or str(secrets.randbelow(10**6))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "90"))

Fault = Callable[[Rig, Services, Job], Awaitable[None]]


async def reset_connections(rig: Rig, services: Services, job: Job) -> None:
    for line in (rig.collectors, rig.workers):
        for each in line.all:
            each.reset()


async def stall_nats(rig: Rig, services: Services, job: Job) -> None:
    for line in (rig.collectors, rig.workers):
        line.nats.stall()
    await lasts(4)
    for line in (rig.collectors, rig.workers):
        line.nats.restore()


async def refuse_nats(rig: Rig, services: Services, job: Job) -> None:
    rig.workers.nats.refuse()
    await lasts(3)
    rig.workers.nats.restore()


async def stall_postgres(rig: Rig, services: Services, job: Job) -> None:
    rig.collectors.postgres.stall()
    await lasts(4)
    rig.collectors.postgres.restore()


async def restart_postgres(rig: Rig, services: Services, job: Job) -> None:
    rig.stores.stop("postgres")
    rig.stores.start("postgres")


async def kill_nats(rig: Rig, services: Services, job: Job) -> None:
    rig.stores.kill("nats")
    rig.stores.start("nats")


async def delete_streams(rig: Rig, services: Services, job: Job) -> None:
    js = services.connection.jetstream(timeout=60)
    for name in stream_names():
        # Not there when it was deleted a moment ago.
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await js.delete_stream(name)


async def flush_redis(rig: Rig, services: Services, job: Job) -> None:
    with redis_of(rig) as client:
        client.flushall()


async def kill_redis(rig: Rig, services: Services, job: Job) -> None:
    rig.stores.kill("redis")
    rig.stores.start("redis")


async def kill_worker(rig: Rig, services: Services, job: Job) -> None:
    rig.kill_worker()
    rig.worker()


async def stop_worker(rig: Rig, services: Services, job: Job) -> None:
    rig.worker().signal(signal.SIGSTOP)
    await lasts(3)
    rig.worker().signal(signal.SIGCONT)


async def cancel_and_retry(rig: Rig, services: Services, job: Job) -> None:
    if await cancel.cancel(services, job.job_id, reason="the soak"):
        await retry.retry(services, job.job_id)


async def kill_collector(rig: Rig, services: Services, job: Job) -> None:
    """Done by the caller, which starts another."""


FAULTS: tuple[Fault, ...] = (
    reset_connections,
    stall_nats,
    refuse_nats,
    stall_postgres,
    restart_postgres,
    kill_nats,
    delete_streams,
    flush_redis,
    kill_redis,
    kill_worker,
    stop_worker,
    cancel_and_retry,
    kill_collector,
)


async def test_faults_by_chance(rig: Rig) -> None:
    dice = random.Random(SEED)
    end = time.monotonic() + SECONDS
    story: list[str] = []
    rig.worker()
    try:
        while time.monotonic() < end:
            images = dice.randint(20, 120)
            plan = [(dice.uniform(0.0, 2.0), dice.choice(FAULTS)) for _ in range(dice.randint(1, 3))]
            drawn = ", ".join(f"{fault.__name__} after {wait:.1f} s" for wait, fault in plan)
            story.append(f"{images} images: {drawn}")
            await _one_job(rig, images, plan)
    except BaseException as error:
        said = "\n".join(story)
        raise AssertionError(f"CHAOS_SEED={SEED}\n{said}\n{error}") from error
    rig.record(f"soak: {len(story)} jobs, seed {SEED}", 0.0)


async def _one_job(rig: Rig, images: int, plan: list[tuple[float, Fault]]) -> None:
    async with rig.eyes() as services:
        job = await rig.submitted(services, images)
        keeper = asyncio.create_task(_keep_collecting(rig, services, job), name="keep collecting")
        try:
            for wait, fault in plan:
                await lasts(wait)
                if fault is kill_collector:
                    for collector in list(_living):
                        collector.kill()
                await fault(rig, services, job)
            await rig.ends(services, job, patience=180, with_net=True)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)


_living: list[CollectorProcess] = []


async def _keep_collecting(rig: Rig, services: Services, job: Job) -> None:
    """What the sensor does: another collector when one is gone and the job is not over."""
    while True:
        with rig.collector(job) as collector:
            _living.append(collector)
            try:
                await asyncio.to_thread(collector.leaves_somehow)
            finally:
                _living.remove(collector)
        # It looks every five seconds.
        await lasts(1)
