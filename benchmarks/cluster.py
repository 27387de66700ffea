"""What a job and its messages cost on a NATS cluster of three servers, compared with one server.

The cluster's streams have three replicas. All servers run on this machine, without a network between them, and three
share the cores that one has; so only the ratio to one server is meaningful.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Generation, ImageId, JobId, JobRun, PipelineSlug
from antenna_orchestration.queue import connection, names, streams
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.tasks import TaskQueue
from benchmarks import rig
from benchmarks.figures import Figure, cpu_seconds, pss_mb
from tests.scale.nats_cluster import SIZE, nats_cluster

IMAGES = 50_000
JOBS = 500
CHUNK = 1_000
BATCH = 64
LIMIT = 2**31
FIRST = Generation(1)
NULL = PipelineSlug("null")


def run() -> list[Figure]:
    """One server, then three."""
    with rig.queue_only() as alone:
        figures = asyncio.run(_measure("1 server", alone.settings.nats_url, [alone.pid("nats")], replicas=1))
    with nats_cluster() as cluster:
        return figures + asyncio.run(_measure("3 servers", cluster.url("orchestrator"), cluster.pids, replicas=SIZE))


async def _measure(name: str, url: str, pids: list[int], *, replicas: int) -> list[Figure]:
    async with _queue(url, replicas) as (client, queue):
        big = JobId(1)
        epoch = names.new_epoch()
        await queue.open(NULL, JobRun(big, FIRST), epoch)
        began, cpu = time.perf_counter(), cpu_seconds(pids)
        for start in range(0, IMAGES, CHUNK):
            await queue.publish([_task(big, image) for image in range(start, start + CHUNK)])
        publishing = time.perf_counter() - began
        began = time.perf_counter()
        left = IMAGES
        async with Leaser(client, ack_wait=30.0) as leaser:
            while left:
                leases = await leaser.lease(JobRun(big, FIRST), epoch, BATCH, wait=5.0) or []
                for lease in leases:
                    await lease.acknowledge()
                left -= len(leases)
            await client.flush()
        leasing = time.perf_counter() - began
        cpu = cpu_seconds(pids) - cpu
        memory = pss_mb(pids)
        began = time.perf_counter()
        for job in range(2, JOBS + 2):
            await queue.open(NULL, JobRun(JobId(job), FIRST), names.new_epoch())
        opening = time.perf_counter() - began
        return [
            Figure(f"{name}, publish", IMAGES / publishing, "tasks/s"),
            Figure(f"{name}, lease and acknowledge", IMAGES / leasing, "tasks/s"),
            Figure(f"{name}, CPU of the servers per task", 1000 * cpu / IMAGES, "ms"),
            Figure(f"{name}, open a job, mean of {JOBS}", 1000 * opening / JOBS, "ms"),
            Figure(f"{name}, memory per open job, all servers", (pss_mb(pids) - memory) / JOBS, "MB"),
        ]


@asynccontextmanager
async def _queue(url: str, replicas: int) -> AsyncIterator[tuple[Client, TaskQueue]]:
    async with connection.connected(url, name="bench") as client, TaskQueue(client, ack_wait=30.0) as queue:
        while True:
            try:
                await streams.ensure(client, tasks_max_bytes=LIMIT, results_max_bytes=LIMIT, replicas=replicas)
                break
            except errors.Unavailable:
                # The cluster has no leader yet.
                await asyncio.sleep(0.5)
        yield client, queue


def _task(job: JobId, image: int) -> messages.Task:
    return messages.Task(
        job=job,
        generation=FIRST,
        image=ImageId(image),
        uri=f"http://images.invalid/site/20260612/{image:07}.jpg",
        pipeline=NULL,
        config_hash="0",
    )
