"""What the collector tells workers and people while nobody may load what is left of a job."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from antenna_orchestration.domain.job import Counts
from antenna_orchestration.processing import cancel, publish, served_here, waiting
from antenna_orchestration.processing.access_watch import AccessWatch
from antenna_orchestration.processing.job_log import JobLogWriter
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import claimed, make_job
from tests.processing.test_job_log import beating

DENIED = "HTTP 403 Forbidden from photos.example, since 2026-06-12 22:10 UTC"


async def test_workers_learn_that_others_are_done_and_since_when(services: Services, project: str) -> None:
    """A1: a worker in place of another was taken for access, and with each the time of waiting began anew."""
    slug = f"access-{project[:8]}"
    job = await claimed(services, await make_job(services, project, 3, pipeline=slug))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    told: list[str] = []
    log = JobLogWriter(services=services, job=job, tell=told.append)
    left, fewer = Counts(total=3, done=1, pending=2), Counts(total=3, done=2, pending=1)
    forbidden = {str(job.job_id): DENIED}

    watch = AccessWatch(services, job, log)
    async with beating(services, pipelines=(slug,), reaches=("http",), forbidden=forbidden):
        await watch.look(left)
    first = await services.announcements.find(job.job_run)
    assert first is not None and first.some_done and first.forbidden_since is not None
    assert told == [f"The job waits: no worker may load its images (gpu-1: {DENIED})"]

    # Nobody is there; then one that has not tried yet.
    await watch.look(left)
    async with beating(services, pipelines=(slug,), reaches=("http",)):
        await watch.look(left)
    assert watch.forbidden and len(told) == 1

    # The collector, too, is replaced.
    watch = AccessWatch(services, job, log)
    async with beating(services, pipelines=(slug,), reaches=("http",), forbidden=forbidden):
        await watch.look(left)
    assert await services.announcements.find(job.job_run) == first

    async with beating(services, pipelines=(slug,), reaches=("http",)):
        await watch.look(fewer)
    last = await services.announcements.find(job.job_run)
    assert last is not None and last.forbidden_since is None
    assert not watch.forbidden and told[-1].startswith("The job no longer waits")
    await cancel.cancel(services, job.job_id, reason="test")


async def test_a_job_that_no_worker_here_would_take_says_why(services: Services, project: str) -> None:
    """A1: the autoscaler started a worker for it every minute, which left it alone."""
    job = await make_job(services, project, 1, source_kinds=[f"file:{services.settings.host_id}"])
    elsewhere = await make_job(services, project, 1, source_kinds=["file:another-host"])
    misspelt = await make_job(services, project, 1, config={"colour": "red"})
    found = await served_here.why_not(services, [job, elsewhere, misspelt])
    assert job.job_id not in found
    assert "file:another-host" in found[elsewhere.job_id] and "ANTENNA_WORKER_REACHES" in found[elsewhere.job_id]
    assert "no setting 'colour'" in found[misspelt.job_id]
    assert await waiting.why_unfit(services, elsewhere, []) == found[elsewhere.job_id]
    for each in (job, elsewhere, misspelt):
        await cancel.cancel(services, each.job_id, reason="test")


async def test_a_pipeline_file_that_cannot_be_read_ends_no_run(services: Services, project: str) -> None:
    """A1: each run of a job without a worker died of it, and after five the job failed."""
    job = await make_job(services, project, 1, pipeline="nobodys")
    settings = services.settings.model_copy(update={"pipeline_paths": (Path("/no/such/file.py"),)})
    told: list[str] = []
    broken = dataclasses.replace(services, settings=settings)
    await JobLogWriter(services=broken, job=job, tell=told.append).look_for_workers()
    assert "broken: /no/such/file.py: ANTENNA_PIPELINE_PATHS names it" in told[0]
    await cancel.cancel(services, job.job_id, reason="test")
