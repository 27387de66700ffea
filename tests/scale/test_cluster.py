"""A job on a cluster of three NATS servers, of which one after the other is killed."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain.job import Counts, Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services, opened, prepare
from antenna_orchestration.queue import connection, names
from tests.processing.jobs_by_hand import claimed, make_job
from tests.scale.nats_cluster import SIZE, NatsCluster, nats_cluster
from tests.stack.antenna_up import blank_images
from tests.waiting import eventually
from tests.worker.worker_process import started

IMAGES = 400


async def leader(client: Client, stream: str) -> str:
    """The member that leads a stream, once it has a leader and all its copies are up to date."""

    async def complete() -> str | None:
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            cluster = (await client.jetstream(timeout=60).stream_info(stream)).cluster
            copies = [copy for copy in cluster.replicas or [] if copy.current and not copy.offline] if cluster else []
            if len(copies) == SIZE - 1:
                return cluster.leader
        return None

    return await eventually(complete, description=f"{stream} has a leader and {SIZE} copies", timeout=60)


async def done(services: Services, job: Job) -> int:
    return (await services.catalog.images.count(job.job_id)).done


async def lose(cluster: NatsCluster, services: Services, job: Job, watcher: Client, stream: str) -> str:
    """Kill the leader of a stream while the job is under way, and wait until it has gone on without it."""
    lost = await leader(watcher, stream)
    cluster.kill(lost)
    before = await done(services, job)
    assert before < job.total, "the job was over before the leader was killed"

    async def goes_on() -> bool:
        return await done(services, job) >= min(before + 50, job.total)

    await eventually(goes_on, description=f"the job goes on without {lost}", timeout=60)
    return lost


@pytest.mark.slow
async def test_a_job_survives_the_loss_of_each_leader(own_stores: EmbeddedStores, project: str, tmp_path: Path) -> None:
    with nats_cluster() as cluster:
        wanted = own_stores.settings.model_copy(
            update={
                "task_ack_wait": 2.0,
                "task_timeout": 20.0,
                "nats_url": cluster.url("orchestrator"),
                # The worker knows one member and learns the others from it.
                "worker_nats_url": cluster.url("worker", "n1"),
                "nats_replicas": SIZE,
            }
        )

        async def is_ready() -> bool:
            try:
                await prepare(wanted)
            except errors.Unavailable:
                return False
            return True

        await eventually(is_ready, description="streams of three copies", timeout=60)
        async with (
            opened(wanted) as services,
            connection.connected(cluster.url("orchestrator"), name="watcher") as watcher,
        ):
            for stream in (names.TASKS, names.RESULTS):
                await leader(watcher, stream)
            urls = [path.as_uri() for path in sorted(blank_images(tmp_path / "trap", IMAGES).iterdir())]
            kinds = [f"file:{wanted.host_id}"]
            job = await make_job(services, project, IMAGES, urls=urls, source_kinds=kinds, config={"delay_ms": 50})
            job = await claimed(services, job)
            await publish.publish(services, job.job_id)
            job = await services.catalog.jobs.get(job.job_id)
            with started(wanted, tmp_path):
                counts = await through_losses(cluster, services, job, watcher)
            assert (counts.done, counts.failed, counts.total) == (IMAGES, 0, IMAGES)
            await finish.write_final_tables(services, job)
            assert await finish.finish_job(services, job) is JobStatus.SUCCESS
            rows = services.lake.read_table("detections", job.job_id).column("image_id").to_pylist()
            assert len(rows) == len(set(rows)) == IMAGES

            # What was killed last is back, and holds what the others hold: nothing of the job.
            for stream in (names.TASKS, names.RESULTS):
                await leader(watcher, stream)
                assert (await watcher.jetstream(timeout=60).stream_info(stream)).state.messages == 0


async def through_losses(cluster: NatsCluster, services: Services, job: Job, watcher: Client) -> Counts:
    """Collect the job while the leaders of TASKS and of RESULTS are killed, one after the other."""
    collecting = asyncio.create_task(collect.collect(services, job, observer=collect.Observer()))
    try:

        async def under_way() -> bool:
            return await done(services, job) > 0

        await eventually(under_way, description="the first image is done", timeout=60)
        for stream in (names.TASKS, names.RESULTS):
            cluster.start(await lose(cluster, services, job, watcher, stream))
        return await asyncio.wait_for(collecting, 120)
    finally:
        collecting.cancel()
