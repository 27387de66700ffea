"""The smallest running system in which a fault shows: stores, a worker process, a collector process, proxies between.

A test breaks something, and `Rig.ends` looks at everything afterwards: each image counted once, the right final state,
nothing left behind, and how long it took.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import redis

from antenna_orchestration import settings
from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.domain.job import Counts, Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import Services, opened, prepare
from antenna_orchestration.queue import names
from antenna_orchestration.upkeep import health
from antenna_orchestration.worker.options import WorkerOptions
from tests.chaos import tcp_proxy
from tests.chaos.collector_process import CollectorProcess, collecting
from tests.processing.jobs_by_hand import make_job
from tests.recoveries import Recovery
from tests.waiting import eventually, lasts, wait_until
from tests.worker import worker_process
from tests.worker.worker_process import WorkerProcess

ACK_WAIT = 2.0
"""Seconds of a lease in these tests."""

IMAGES = 60
SLOWLY = {"delay_ms": 60}

PIPELINES = (Path(__file__).parents[1] / "pipelines" / "faulty.py",)

_numbers = itertools.count(1)


@dataclass
class Line:
    """The network between one kind of process and the servers."""

    nats: tcp_proxy.Proxy
    redis: tcp_proxy.Proxy
    postgres: tcp_proxy.Proxy

    @property
    def all(self) -> tuple[tcp_proxy.Proxy, ...]:
        return (self.nats, self.redis, self.postgres)


@dataclass
class Rig:
    """Stores, proxies, and what runs on them. Made by `rig`."""

    stores: EmbeddedStores
    folder: Path
    # What collectors, and what workers go through.
    collectors: Line
    workers: Line
    recoveries: list[Recovery] = field(default_factory=list)
    # What the processes of the present test say, for the failure's message.
    logs: list[Callable[[], str]] = field(default_factory=list)
    _worker: ExitStack = field(default_factory=ExitStack)
    _living: WorkerProcess | None = None
    _collectors: list[CollectorProcess] = field(default_factory=list)

    @property
    def settings(self) -> settings.Settings:
        """Straight to the servers, for the test's own eyes."""
        return self.stores.settings.model_copy(
            update={
                "task_ack_wait": ACK_WAIT,
                "task_timeout": 60.0,
                "device": "cpu",
                "worker_threads": 1,
                "pipeline_paths": PIPELINES,
            }
        )

    def through(self, line: Line) -> settings.Settings:
        """The same through proxies."""
        wanted = self.settings
        return wanted.model_copy(
            update={
                "nats_url": tcp_proxy.behind(line.nats, wanted.nats_url),
                "worker_nats_url": tcp_proxy.behind(line.nats, wanted.worker_nats_url),
                "redis_url": tcp_proxy.behind(line.redis, wanted.redis_url),
                "database_url": tcp_proxy.behind(line.postgres, wanted.database_url),
            }
        )

    # Who works.

    def worker(self) -> WorkerProcess:
        """The worker that serves one test after the other, through all that happens; another if it is gone."""
        if self._living is None:
            living = self._living = self._worker.enter_context(self.another_worker())
            self.logs.append(lambda: f"--- worker {living.pid}\n{living.log[-6000:]}")
        return self._living

    def kill_worker(self) -> None:
        """SIGKILL it; `worker` starts another."""
        if self._living is not None:
            self._living.kill()
        self.forget_worker()

    def forget_worker(self) -> None:
        """It is dead, or is to be."""
        self._worker.close()
        self._living = None

    def another_worker(self) -> AbstractContextManager[WorkerProcess]:
        """One more, for the length of a block."""
        return worker_process.started(self.through(self.workers), self.folder, WorkerOptions(batch_size=4))

    def worker_with(self, environment: Mapping[str, str]) -> AbstractContextManager[WorkerProcess]:
        """The same in another environment."""
        options = WorkerOptions(batch_size=4)
        return worker_process.started(self.through(self.workers), self.folder, options, environment=environment)

    @contextmanager
    def collector(self, job: Job, *, environment: Mapping[str, str] | None = None) -> Iterator[CollectorProcess]:
        """A collector of the job, for the length of a block."""
        with collecting(self.through(self.collectors), job.job_id, environment=environment) as collector:
            self.logs.append(lambda: f"--- collector {collector.pid}\n{collector.log[-12000:]}")
            self._collectors.append(collector)
            try:
                yield collector
            finally:
                self._collectors.remove(collector)

    @asynccontextmanager
    async def eyes(self) -> AsyncIterator[Services]:
        """The stores as the test itself sees them."""
        async with opened(self.settings) as services:
            yield services

    # What there is to do.

    async def submitted(
        self,
        services: Services,
        images: int = IMAGES,
        *,
        pipeline: str = "null",
        config: Mapping[str, object] | None = None,
        published: int | None = None,
    ) -> Job:
        """A job of files that nobody opens; its collector publishes the tasks that are not `published` here."""
        number = next(_numbers)
        folder = self.folder / f"trap-{number}"
        folder.mkdir()
        paths = [folder / f"{image:06}.jpg" for image in range(images)]
        for path in paths:
            path.write_bytes(b"not opened")
        config = SLOWLY if config is None else config
        job = await make_job(
            services, f"chaos-{number}", images, urls=[path.as_uri() for path in paths], config=dict(config),
            config_hash=f"{pipeline}{config}",
            pipeline=PipelineSlug(pipeline), source_kinds=[f"file:{self.settings.host_id}"],
        )  # fmt: skip
        if published:
            await publish.publish(services, job.job_id, limit=published)
        return await services.catalog.jobs.get(job.job_id)

    async def under_way(self, services: Services, job: Job, done: int = 8) -> None:
        """Wait until some images are done, and see that most are not."""

        async def some() -> Counts | None:
            counts = await services.catalog.images.count(job.job_id)
            return counts if counts.accounted >= done else None

        async with self.explained(services, job):
            counts = await eventually(some, description=f"{done} images of job {job.job_id} are done")
        assert counts.pending, "the job was over before anything could break"

    async def ends(
        self,
        services: Services,
        job: Job,
        *,
        fault: str = "",
        since: float | None = None,
        status: JobStatus = JobStatus.SUCCESS,
        failed: int = 0,
        patience: float = 100.0,
        with_net: bool = False,
    ) -> Job:
        """Wait for the job's end, and look at everything.

        What a worker was at when its job was canceled arrives after the clean-up: `with_net` lets the health check,
        which is for that, look too.
        """

        async def over() -> Job | None:
            found = await services.catalog.jobs.get(job.job_id)
            return found if found.status.is_terminal else None

        left = (await services.catalog.images.count(job.job_id)).pending
        async with self.explained(services, job):
            final = await eventually(over, description=f"job {job.job_id} is over", timeout=patience)
        if since is not None:
            each = 0.0 if status is JobStatus.CANCELED else float(str(job.config.get("delay_ms", 0))) / 1000
            work = left * each
            self.recoveries.append(Recovery(fault, time.monotonic() - since, work))
        assert final.status is status, f"{final}\n{await self.story(services, job)}"
        counts = await services.catalog.images.count(job.job_id)
        if status is not JobStatus.CANCELED:
            assert (counts.done, counts.failed, counts.pending) == (job.total - failed, failed, 0)
            each_image_once(services, final, counts)
        await self.nothing_is_left(services, final, with_net=with_net or status is JobStatus.CANCELED)
        return final

    def record(self, fault: str, seconds: float) -> None:
        """Enter what was measured otherwise into the table."""
        self.recoveries.append(Recovery(fault, seconds))

    async def story(self, services: Services, job: Job) -> str:
        """The job's log."""
        lines = await services.catalog.job_log.read(job.job_id)
        return "\n".join(f"{line.at} {line.action}: {line.message}" for _, line in lines)

    @asynccontextmanager
    async def explained(self, services: Services, job: Job) -> AsyncIterator[None]:
        """Let what fails in a block say what everybody has logged."""
        try:
            yield
        except AssertionError as error:
            for collector in self._collectors:
                collector.says_where_it_is()
            # They write it at their next step, if they are alive.
            await lasts(1)
            said = "\n".join(log() for log in self.logs[-4:])
            counts = await services.catalog.images.count(job.job_id)
            raise AssertionError(
                f"{error}\n--- job {job.job_id}, {counts}\n{await self.story(services, job)}\n{said}"
            ) from None

    async def nothing_is_left(self, services: Services, job: Job, *, with_net: bool) -> None:
        """Streams, consumers, announcements, objects, keys and parts of the job are gone, or go within seconds."""

        async def litter() -> list[str]:
            queued, announced = await services.queue.jobs_on_queue(), await services.announcements.read()
            found = [f"on the queue: generation {number}" for one, number in queued if one == job.job_id]
            found += [f"announced: generation {number}" for one, number in announced if one == job.job_id]
            with redis.Redis.from_url(self.settings.redis_url, decode_responses=True) as client:
                found += [str(key) for key in client.scan_iter(f"antenna:job:{job.job_id}:*")]
            parts = Path(services.settings.lake) / "_parts" / f"job_id={job.job_id}"
            if job.status is not JobStatus.CANCELED and parts.exists():
                found.append(str(parts))
            return found

        async def tidy() -> bool:
            if with_net:
                await health.check(services)
            return not await litter()

        async with self.explained(services, job):
            try:
                await eventually(tidy, description="everything of the job is gone")
            except AssertionError:
                raise AssertionError(f"left behind: {await litter()}") from None

    def prepare(self) -> None:
        """Make the stores ready for this version."""
        self.repair()
        asyncio.run(prepare(self.settings))

    def repair(self) -> None:
        """Bring back what a test took away, for the next."""
        for line in (self.collectors, self.workers):
            for each in line.all:
                each.restore()
        for name in ("nats", "redis", "postgres"):
            if not self.stores.is_running(name):
                self.stores.start(name)


def each_image_once(services: Services, job: Job, counts: Counts) -> None:
    captures = services.lake.read_table("captures", job.job_id)
    assert len(set(captures.column("image_id").to_pylist())) == captures.num_rows == job.total
    detections = services.lake.read_table("detections", job.job_id)
    images = detections.column("image_id").to_pylist()
    assert len(images) == counts.detections
    ids = detections.column("detection_id").to_pylist()
    assert len(set(ids)) == len(ids)
    done = {row["image_id"] for row in captures.to_pylist() if row["status"] == "done"}
    assert set(images) == done and len(done) == counts.done
    assert services.lake.read_table("classifications", job.job_id).num_rows == counts.classifications
    assert services.lake.read_table("failed_images", job.job_id).num_rows == counts.failed


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


@contextmanager
def rig(stores: EmbeddedStores, folder: Path) -> Iterator[Rig]:
    """A rig on stores of its own."""
    with ExitStack() as stack:
        wanted = stores.settings
        ports = [_port(url) for url in (wanted.nats_url, wanted.redis_url, wanted.database_url)]
        lines = [Line(*(stack.enter_context(tcp_proxy.before(port)) for port in ports)) for _ in range(2)]
        made = Rig(stores=stores, folder=folder, collectors=lines[0], workers=lines[1])
        stack.callback(made.forget_worker)
        yield made


def redis_of(made: Rig) -> redis.Redis:
    """Redis itself, straight."""
    return redis.Redis.from_url(made.settings.redis_url, decode_responses=True)


def stream_names() -> tuple[str, ...]:
    """Everything that we keep in JetStream."""
    kept = (names.JOBS_BUCKET, names.WORKERS_BUCKET)
    return (names.TASKS, names.RESULTS, *(f"KV_{bucket}" for bucket in kept), f"OBJ_{names.PAYLOADS_BUCKET}")


def has_ended(collector: CollectorProcess) -> None:
    """Wait for its process's end."""
    wait_until(lambda: collector.is_over, description="the collector has ended")
