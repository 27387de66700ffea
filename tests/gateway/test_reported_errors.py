"""What becomes of errors that workers report, with a worker that is not ours."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import collect, image_life
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import (
    RunningGateway,
    collected,
    file_job,
    job_for_http,
    rows,
    running_gateway,
    token,
)
from tests.gateway.http_worker import working
from tests.gateway.reporting_worker import ReportingWorker, broken, photograph
from tests.waiting import eventually, wait_until


async def reporting_worker(
    services: Services, gateway: RunningGateway, project: str, label: str = "", **options: object
) -> ReportingWorker:
    secret = await token(services, project, label=label)
    return ReportingWorker(base=gateway.base, token=secret, **options)  # type: ignore[arg-type]


def antenna(stores: EmbeddedStores, *arguments: str) -> str:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ANTENNA_")}
    command = [sys.executable, "-m", "antenna_orchestration.cli.main", *arguments]
    environment = {**outside, **stores.variables, "COLUMNS": "300"}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


async def all_done(services: Services, job: Job) -> None:
    async def over() -> bool:
        return not (await services.catalog.images.count(job.job_id)).pending

    await eventually(over, description="all images accounted for", timeout=120)


async def test_a_broken_photograph_is_not_tried_again_and_again(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    await job_for_http(services, project, 0)
    files = [*(photograph(tmp_path, f"{number}.jpg") for number in range(3)), broken(tmp_path, "broken.jpg")]
    job = await file_job(services, project, files)
    worker = await reporting_worker(services, gateway, project)
    with working(worker):
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    (failed,) = rows(services, "failed_images", job)
    # On a busy machine its lease may end before the look; five tries, as before, would take twelve minutes.
    assert failed["url"].endswith("broken.jpg") and failed["attempts"] <= 2
    assert failed["reason"] == "failed to load image; the orchestrator cannot read it either: not an image"
    assert len(worker.images) <= 5
    life = await image_life.read(services, job.job_id, ImageId(failed["image_id"]))
    assert life.unknown == [] and "leased" in [moment.what for moment in life.moments]


async def test_a_client_that_reports_only_errors_gets_whole_batches(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 64)
    worker = await reporting_worker(services, gateway, project, always="no such species", batch_size=16)
    with working(worker):
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.FAILURE
    # Not one image a call, as it was from the third delivery on.
    assert len(worker.answers) <= 40, worker.answers
    # Two tries each, and those whose lease ended meanwhile.
    assert 128 <= len(worker.images) <= 160


async def test_of_a_batch_that_failed_only_the_bad_image_fails(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    """It can be read; it is the worker that breaks on it, and reports all images that it had at the same time."""
    await job_for_http(services, project, 0)
    files = [photograph(tmp_path, f"{number}.jpg") for number in range(5)]
    files.insert(2, photograph(tmp_path, "odd.jpg", "odd"))
    job = await file_job(services, project, files)
    worker = await reporting_worker(services, gateway, project)
    with working(worker):
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    (failed,) = rows(services, "failed_images", job)
    assert failed["url"].endswith("odd.jpg") and failed["reason"].startswith("Batch processing error")
    assert worker.answers[0] == 6 and set(worker.answers[1:]) == {1}
    assert 7 <= len(worker.reported) <= 9


async def test_with_the_culprit_known_the_others_stay_a_batch(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    await job_for_http(services, project, 0)
    files = [photograph(tmp_path, "one.jpg"), photograph(tmp_path, "two.jpg"), broken(tmp_path, "broken.jpg")]
    job = await file_job(services, project, files)
    worker = await reporting_worker(services, gateway, project, breaks_on_files=True)
    with working(worker):
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert [row["url"].rpartition("/")[2] for row in rows(services, "failed_images", job)] == ["broken.jpg"]
    assert worker.answers[:2] == [3, 2]


@pytest.mark.slow
async def test_a_further_try_is_another_workers(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    await job_for_http(services, project, 0)
    job = await file_job(services, project, [photograph(tmp_path, f"{number}.jpg") for number in range(3)])
    bad = await reporting_worker(services, gateway, project, always="failed to load image")
    good = await reporting_worker(services, gateway, project)
    with working(bad):
        await asyncio.to_thread(wait_until, lambda: len(bad.reported) == 3, description="errors about all images")
        with working(good):
            async with collected(services, job) as ends:
                pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert not rows(services, "failed_images", job)
    assert len(bad.images) <= 4 and len(good.images) >= 3


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
