"""The servers that the benchmarks run on: the embedded ones, as `antenna up` configures them."""

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
from antenna_orchestration.processing import services
from antenna_orchestration.processing.services import Services
from tests.worker.bench import queue_server

queue_only = queue_server
"""NATS alone."""


@contextlib.contextmanager
def stores() -> Iterator[EmbeddedStores]:
    """NATS, Redis and PostgreSQL, writing durably as in earnest, in a folder that goes afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="antenna bench ") as folder,
        embedded_stores(Path(folder) / ".antenna", durable=True) as running,
    ):
        yield running


@contextlib.asynccontextmanager
async def on(running: EmbeddedStores, *, max_connections: int = 4) -> AsyncIterator[Services]:
    """The services on these stores, migrated."""
    await services.prepare(running.settings)
    async with services.opened(running.settings, max_connections=max_connections) as opened:
        yield opened


async def queued_job(opened: Services, urls: Sequence[str], *, project: str = "bench") -> Job:
    """A queued job of the null pipeline, nothing published."""
    await opened.catalog.pipelines.register(
        PipelineRow(slug="null", name="Null", version="1", description="", default_config={}, algorithms=[])
    )
    job = await opened.catalog.jobs.create(
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
    return await opened.catalog.jobs.get(job)


async def started_job(opened: Services, urls: Sequence[str], *, project: str = "bench") -> Job:
    """The same, as a run finds it."""
    job = await queued_job(opened, urls, project=project)
    await opened.catalog.jobs.claim(1, job_id=job.job_id)
    await opened.catalog.jobs.start(job.job_run, "bench")
    return await opened.catalog.jobs.get(job.job_id)


def urls(count: int, *, site: str = "site") -> list[str]:
    """Names of images that nobody opens."""
    return [f"http://images.invalid/{site}/20260612/{number:07}.jpg" for number in range(count)]
