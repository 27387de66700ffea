"""A gateway in a process of its own, tokens for it, and jobs that are collected beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import requests

from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.catalog.pipelines import PipelineRow
from antenna_orchestration.dispatch.register import SETTINGS
from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.upkeep import tokens
from tests import forked
from tests.free_ports import free_port
from tests.gateway.http_worker import SLUG, HttpWorker
from tests.processing.jobs_by_hand import claimed, make_job
from tests.stack.antenna_up import ANTENNA
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
ACK_WAIT = 2.0
HTTP_LEASE = 6.0


class RunningGateway:
    """One gateway process, and another one after it on the same port."""

    def __init__(self, stores: EmbeddedStores, *, forks: bool = True, **overrides: str) -> None:
        """`forks`: see `tests/forked.py`; what such a process takes of memory is in part another's."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("ANTENNA_")}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.base = f"{self.url}/api/v2"
        self.log = Path(stores.settings.home) / f"gateway-{self.port}.log"
        self._environment = {
            **outside,
            **stores.variables,
            "ANTENNA_TASK_ACK_WAIT": str(ACK_WAIT),
            "ANTENNA_HTTP_LEASE": str(HTTP_LEASE),
            "ANTENNA_GATEWAY_RATE": "2000",
            "ANTENNA_GATEWAY_MAX_BODY": str(160 * 2**20),
            **overrides,
        }
        self._forks = forks
        self.process: forked.Forked | subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            command = ("gateway", "--port", str(self.port))
            if self._forks:
                self.process = forked.Forked(
                    forked.antenna, *command, env=self._environment, cwd=ROOT, out=log, err=log
                )
            else:
                self.process = subprocess.Popen(
                    [*ANTENNA, *command], env=self._environment, cwd=ROOT, stdout=log, stderr=log
                )
        process = self.process

        def is_ready() -> bool:
            assert process.poll() is None, self.log.read_text()
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"{self.url}/livez", timeout=2).ok
            return False

        if wait:
            # In a fresh checkout its modules are compiled first.
            wait_until(is_ready, description="an answering gateway", timeout=180)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=60)
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


@contextmanager
def running_gateway(stores: EmbeddedStores, *, forks: bool = True, **overrides: str) -> Iterator[RunningGateway]:
    gateway = RunningGateway(stores, forks=forks, **overrides)
    try:
        gateway.start()
        yield gateway
    finally:
        if gateway.process is not None:
            gateway.process.kill()
            gateway.process.wait()


async def token(services: Services, *projects: str, role: Role = Role.WORKER, label: str = "") -> str:
    return (await tokens.create(services, role=role, projects=list(projects), label=label)).secret


async def http_worker(services: Services, gateway: RunningGateway, project: str, **options: Any) -> HttpWorker:
    """A worker with a token of its own."""
    return HttpWorker(base=gateway.base, token=await token(services, project), **options)


async def job_for_http(
    services: Services, project: str, images: int, *, slug: str = SLUG, register: bool = True, **changes: Any
) -> Job:
    """A published job of a pipeline that only HTTP workers serve, in its collecting run's hands."""
    if register:
        await services.catalog.pipelines.register(
            PipelineRow(slug=slug, name=slug, version="1", description="", default_config=SETTINGS, algorithms=[])
        )
    job = await make_job(services, project, images, pipeline=PipelineSlug(slug), **changes)
    if job.status.is_terminal:
        # Made for its project and pipeline: without images it is over.
        return job
    job = await claimed(services, job)
    await publish.publish(services, job.job_id)
    return await services.catalog.jobs.get(job.job_id)


async def file_job(services: Services, project: str, files: list[Path], *, slug: str = SLUG) -> Job:
    """The same for local files."""
    from antenna_orchestration.catalog.jobs import NewJob

    new = NewJob(
        project=project, name="files", pipeline=PipelineSlug(slug), config={}, config_hash="0", priority=1,
        interactive=False, reprocess=False, duplicates=0, source_kinds=[f"file:{services.settings.host_id}"],
    )  # fmt: skip
    made = await services.catalog.jobs.create(new, [SubmittedImage(file.as_uri(), None, None) for file in files])
    job = await claimed(services, await services.catalog.jobs.get(made))
    await publish.publish(services, job.job_id)
    return await services.catalog.jobs.get(job.job_id)


@asynccontextmanager
async def collected(services: Services, *jobs: Job, timeout: float = 120) -> AsyncIterator[dict[int, JobStatus]]:
    """Collect jobs beside the block, and wait for their ends after it; every image is counted once."""
    ends: dict[int, JobStatus] = {}
    runs = [asyncio.create_task(collect.collect(services, job, observer=collect.Observer())) for job in jobs]
    try:
        yield ends
        async with asyncio.timeout(timeout):
            for job, run in zip(jobs, runs, strict=True):
                counts = await run
                assert counts.done + counts.failed == counts.total == job.total
                await finish.write_final_tables(services, job)
                ends[job.job_id] = await finish.finish_job(services, job)
                images = services.lake.read_table("captures", job.job_id).column("image_id").to_pylist()
                assert len(images) == len(set(images)) == job.total
    finally:
        for run in runs:
            run.cancel()


def rows(services: Services, table: str, job: Job) -> list[dict[str, Any]]:
    return list(services.lake.read_table(table, job.job_id).to_pylist())
