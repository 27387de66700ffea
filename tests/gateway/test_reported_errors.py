"""What becomes of errors that workers report, with a worker that is not ours."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import collect
from antenna_orchestration.processing.services import Services
from tests import forked
from tests.gateway.gateway_process import (
    ROOT,
    RunningGateway,
    collected,
    file_job,
    job_for_http,
    rows,
    running_gateway,
)
from tests.gateway.http_worker import working
from tests.gateway.reporting_worker import broken, photograph, reporting_worker
from tests.waiting import eventually


def antenna(stores: EmbeddedStores, *arguments: str) -> str:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ANTENNA_")}
    done = forked.ended(*arguments, env={**outside, **stores.variables, "COLUMNS": "300"}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def all_done(services: Services, job: Job) -> None:
    async def over() -> bool:
        return not (await services.catalog.images.count(job.job_id)).pending

    await eventually(over, description="all images accounted for", timeout=120)


@pytest.mark.long
async def test_reported_errors_are_shown_from_the_first_one_on(
    shared_stores: EmbeddedStores, services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 3)
    worker = await reporting_worker(services, gateway, project, "gpu-7", always="CUDA out of memory", batch_size=2)
    seen: list[JobProgress] = []
    observer = collect.Observer(on_progress=seen.append)
    collecting = asyncio.create_task(collect.collect(services, job, observer=observer))
    reasons = "CUDA out of memory (3)"
    try:
        with working(worker):

            async def is_shown() -> bool:
                return bool(seen) and seen[-1].line.endswith(f"3 reported as failing: {reasons}")

            await eventually(is_shown, description="the run's progress says it")
            shown = await asyncio.to_thread(antenna, shared_stores, "jobs", "show", str(job.job_id))
            listed = await asyncio.to_thread(antenna, shared_stores, "workers")
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
    assert f"3 reported as failing: {reasons}" in shown
    # It may have tried them again meanwhile.
    assert re.search(r"^gpu-7\S+ +http .* reported \d", listed, re.MULTILINE), listed
    assert re.search(r"^gpu-7\S+ reports errors: CUDA out of memory \(\d", listed, re.MULTILINE), listed
    logged = [line.message for _, line in await services.catalog.job_log.read(job.job_id)]
    assert any("reported errors about" in line and "CUDA out of memory" in line for line in logged)


@pytest.mark.slow
async def test_a_gateway_started_without_redis_judges_errors(
    own_stores: EmbeddedStores, own_services: Services, project: str, tmp_path: Path
) -> None:
    services = own_services
    await job_for_http(services, project, 0)
    files = [photograph(tmp_path, "one.jpg"), photograph(tmp_path, "odd.jpg", "odd"), broken(tmp_path, "broken.jpg")]
    job = await file_job(services, project, files)
    own_stores.kill("redis")
    with running_gateway(own_stores) as gateway:
        worker = await reporting_worker(services, gateway, project)
        async with collected(services, job) as ends:
            with working(worker):
                await all_done(services, job)
    assert ends[job.job_id] is JobStatus.FAILURE
    reasons = {row["url"].rpartition("/")[2]: row["reason"] for row in rows(services, "failed_images", job)}
    assert reasons.keys() == {"odd.jpg", "broken.jpg"}
    assert "cannot read it either" in reasons["broken.jpg"] and "Batch" in reasons["odd.jpg"]
    assert worker.errors == [], gateway.log.read_text()[-6000:]
