"""What a job's log says of the workers that there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from antenna_orchestration.domain import messages, stalls
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.processing import job_log, waiting
from antenna_orchestration.processing.job_log import JobLogWriter
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import claimed, make_job
from tests.waiting import eventually


@asynccontextmanager
async def beating(services: Services, **fields: Any) -> AsyncIterator[None]:
    """A worker that is heard."""
    now = datetime.now(UTC)
    beat = messages.Heartbeat(worker="gpu-1", host="gpu-1", pid=1, device="cpu", started_at=now, at=now, **fields)
    await services.heartbeats.beat(beat)

    async def seen() -> bool:
        return beat in await services.heartbeats.workers()

    try:
        await eventually(seen, description="the heartbeat")
        yield
    finally:
        await services.heartbeats.leave("gpu-1")


async def test_the_warning_of_an_unserved_job_names_who_cannot_load_it(services: Services, project: str) -> None:
    job = await make_job(services, project, 1)
    failing = {"null": "weights model.pth: there is no such file"}
    told: list[str] = []
    async with beating(services, pipelines=("moth_binary",), reaches=("http",), failing=failing):
        await JobLogWriter(services=services, job=job, tell=told.append).look_for_workers()
    said = "The job waits: no worker listens for null; gpu-1 cannot load it: weights model.pth"
    assert len(told) == 1
    assert told[0].startswith(said)
    assert any(
        line.level == "WARNING" and line.message == told[0]
        for _, line in await services.catalog.job_log.read(job.job_id)
    )


async def test_a_job_whose_lake_is_away_says_that_it_waits_for_it(
    services: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said "1 image to be offered again", with the lake not mounted."""
    # A line about progress, which go on meanwhile, is written at once.
    monkeypatch.setattr(job_log, "FIRST_LINE", 1e-6)
    job = await claimed(services, await make_job(services, project, 1))
    await services.catalog.collectors.enter(job.job_run, run_id="run", host="here")
    progress = JobProgress.of(await services.catalog.images.count(job.job_id))
    log = JobLogWriter(services=services, job=job, tell=lambda _: None)
    async with beating(services, pipelines=("null",), reaches=job.source_kinds):
        await log.tell_store("committing results: lake /nas/lake: there is no such folder: is it mounted?")
        await log.tell_progress(progress)
        # So is one by the health check, each quarter of an hour.
        await services.catalog.job_log.add(job.job_id, "snapshot", "0/1")
        waits = await waiting.of_job(services, job, progress)
        assert waits == "a store (committing results: lake /nas/lake: there is no such folder: is it mounted?)"
        # The next run says itself what it waits for.
        await services.catalog.job_log.add(job.job_id, waiting.LAUNCHES[1], "Its run died; launch 2")
        assert "a store" not in await waiting.of_job(services, job, progress)
        await log.tell_store("committing results: no room")
        assert "no room" in await waiting.of_job(services, job, progress)
        await log.tell_store("")
        assert "a store" not in await waiting.of_job(services, job, progress)


async def test_a_worker_about_to_start_is_no_alarm(
    services: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B7: the first thing that `--wait` showed was a warning, seconds before the autoscaled worker came."""
    job = await make_job(services, project, 1)

    async def lines() -> list[tuple[str, str]]:
        return [(line.level, line.message) for _, line in await services.catalog.job_log.read(job.job_id)]

    log = JobLogWriter(services=services, job=job, tell=lambda _: None)
    before = await lines()
    for _ in range(2):
        await log.look_for_workers()
    comes = ("INFO", "No worker listens for null yet: one is about to start on this host")
    assert await lines() == [*before, comes]
    # It did not come.
    monkeypatch.setattr(stalls, "UNSERVED_AFTER", 0.0)
    await log.look_for_workers()
    (late,) = (await lines())[len(before) + 1 :]
    assert late[0] == "WARNING"
    async with beating(services, pipelines=("null",), reaches=job.source_kinds):
        await log.look_for_workers()
    assert (await lines())[-1] == ("INFO", "1 worker listens for null: gpu-1")


async def test_a_line_of_progress_names_who_holds_leases(
    services: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await make_job(services, project, 3)
    monkeypatch.setattr(job_log, "FIRST_LINE", 1e-6)
    progress = JobProgress(
        total=3, published=3, done=1, failed=0, detections=4, classifications=4, rate=0.5, at=datetime.now(UTC)
    )
    async with beating(services, pipelines=("null",), reaches=job.source_kinds, leased=7):
        await JobLogWriter(services=services, job=job, tell=lambda _: None).tell_progress(progress)
    (line,) = [line.message for _, line in await services.catalog.job_log.read(job.job_id) if line.action == "progress"]
    assert line.endswith("; workers hold, of all jobs, gpu-1 7")
