"""The embedded servers on which the benchmarks run, configured as `antenna up` does, and jobs to run on them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from antenna_orchestration.catalog.jobs import NewJob, SubmittedImage
from antenna_orchestration.catalog.pipelines import PipelineRow
from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.domain.job import Job
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores
from antenna_orchestration.processing import services as services_module
from antenna_orchestration.processing.services import Services
from tests.worker.bench import queue_server

queue_only = queue_server
"""NATS alone."""


@contextlib.contextmanager
def stores() -> Iterator[EmbeddedStores]:
    """NATS, Redis and PostgreSQL with durable writes as in production, in a temporary folder."""
    with (
        tempfile.TemporaryDirectory(prefix="antenna bench ") as folder,
        embedded_stores(Path(folder) / ".antenna", durable=True) as running,
    ):
        yield running


@contextlib.asynccontextmanager
async def on(running: EmbeddedStores, *, max_connections: int = 4) -> AsyncIterator[Services]:
    """Services connected to these stores, with the catalog migrated."""
    await services_module.prepare(running.settings)
    async with services_module.opened(running.settings, max_connections=max_connections) as services:
        yield services


async def queued_job(services: Services, urls: Sequence[str], *, project: str = "bench") -> Job:
    """A queued job of the null pipeline; none of its tasks is published."""
    await services.catalog.pipelines.register(
        PipelineRow(slug="null", name="Null", version="1", description="", default_config={}, algorithms=[])
    )
    job = await services.catalog.jobs.create(
        NewJob(
            project=project,
            name="bench",
            pipeline=PipelineSlug("null"),
            config={},
            config_hash="0",
            priority=1,
            interactive=False,
            reprocess=True,
            duplicates=0,
            source_kinds=("http",),
        ),
        (SubmittedImage(url, None, None) for url in urls),
    )
    return await services.catalog.jobs.get(job)


async def started_job(services: Services, urls: Sequence[str], *, project: str = "bench") -> Job:
    """A job like that of `queued_job`, but claimed and started."""
    job = await queued_job(services, urls, project=project)
    await services.catalog.jobs.claim(1, job_id=job.job_id)
    await services.catalog.jobs.start(job.job_run, "bench")
    return await services.catalog.jobs.get(job.job_id)


def urls(count: int, *, site: str = "site") -> list[str]:
    """URLs of images that do not exist; nothing opens them."""
    return [f"http://images.invalid/{site}/20260612/{number:07}.jpg" for number in range(count)]
