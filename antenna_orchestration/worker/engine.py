"""One worker's life: build the stages, watch them, shut them down in order.

    scheduler ──> image fetcher ──> batcher ──> device process ──> batcher ──> reporter
    (leases)      (loads images)    (batches)   (prepare, infer,   (outcomes)  (publish, then
                                                 finish)                        acknowledge)

There is one device process for the pipelines of this project, and one for each pipeline of other people.

Each stage runs as an asyncio task with a name, owns its inbox, and is handed the stages after it. How much waits
between two stages is bounded by what the scheduler leases, and that by the measured speed. Two edges lead back: `Nudge`
tells the scheduler and the batcher that there may be room, and the batcher puts images whose bytes were lost with the
device process into the `LoadQueue` again. When one of the tasks dies the worker stops, handing back what it can.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Coroutine, Set
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.queue import connection
from antenna_orchestration.queue.announcements import Announcements
from antenna_orchestration.queue.heartbeats import Heartbeats
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.queue.publisher import Publisher
from antenna_orchestration.queue.results import ResultSender
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker import heartbeat, metrics
from antenna_orchestration.worker.device.model_loading import ModelLoader
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.options import WorkerOptions, WorkerSummary
from antenna_orchestration.worker.pipelines_here import PipelinesHere
from antenna_orchestration.worker.policy.batch_groups import BatchGroups
from antenna_orchestration.worker.policy.lease_time import LeaseTime
from antenna_orchestration.worker.policy.load_concurrency import LoadConcurrency
from antenna_orchestration.worker.policy.source_health import SourceHealth
from antenna_orchestration.worker.policy.speed import DeviceSpeed
from antenna_orchestration.worker.pulling import PipelinePuller
from antenna_orchestration.worker.pulse import Pulse
from antenna_orchestration.worker.stages.announcement_follower import AnnouncementFollower
from antenna_orchestration.worker.stages.batcher import Batcher
from antenna_orchestration.worker.stages.image_fetcher import ImageFetcher
from antenna_orchestration.worker.stages.lease_extension import LeaseExtender
from antenna_orchestration.worker.stages.load_queue import LoadQueue
from antenna_orchestration.worker.stages.reporter import Reporter
from antenna_orchestration.worker.stages.scheduler import Scheduler
from antenna_orchestration.worker.stages.spool import Spool
from antenna_orchestration.worker.stages.tasks_in_hand import TasksInHand
from antenna_orchestration.worker.status import Identity, Status
from antenna_orchestration.worker.stopping import StopRequest
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

LOOK_AROUND: Final = 0.1
"""Seconds between two looks at whether it is time to leave."""

FIRST_ANNOUNCEMENTS: Final = 5.0
"""Seconds from the start in which announcements that were not read yet do not count as none."""

LAST_LEASE: Final = 2.0
"""Seconds that a pull under way at the end may take."""

LAST_DELIVERY: Final = 10.0
"""Seconds to deliver the last results before they are put on disk; no longer than a lease, which ends meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """What a worker reaches outside of its own process; `serve` opens and closes all of it."""

    leaser: Leaser
    sender: ResultSender
    open_attempts: OpenAttempts
    announcements: Announcements
    heartbeats: Heartbeats
    loader: Loader
    device: DevicePool
    # Makes the pipeline of a digest ready; None for a worker that fetches none.
    fetch: Callable[[str], PipelineSpec] | None = None


async def serve(*, settings: Settings, options: WorkerOptions, stop: StopRequest, run_id: str | None) -> WorkerSummary:
    """Connect, start the device process, and work until it is time to leave. Raises like `main.run`."""
    if not settings.worker_queue_url:
        settings.require("nats_url")
    pipelines = await asyncio.to_thread(PipelinesHere, settings.pipeline_paths, options.pipelines)
    identity = Identity(
        name=options.name or _new_name(settings.host_id),
        reaches=settings.loadable_sources,
        run_id=run_id,
        started_at=datetime.now(UTC),
    )
    async with AsyncExitStack() as stack:
        connections = await _connect(stack, settings, options, identity.name)
        engine = Engine(
            settings=settings, options=options, identity=identity, pipelines=pipelines, connections=connections
        )
        if options.metrics_port is not None:
            port = await stack.enter_async_context(
                metrics.served(options.metrics_port, engine.status.metrics, engine.pulse.why_dead)
            )
            logger.info("metrics on port %d", port)
        return await engine.run(stop)


def _new_name(host: str) -> str:
    """A name that no other worker has: in containers every process id is 1, and hosts may have one name."""
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


async def _connect(stack: AsyncExitStack, settings: Settings, options: WorkerOptions, name: str) -> Connections:
    url = settings.worker_queue_url
    client = await stack.enter_async_context(
        connection.connected(url, name=f"worker {name}", inbox_prefix=connection.worker_inbox(url))
    )
    memory = MemoryBudget(settings.worker_memory_mb * 2**20)
    return Connections(
        leaser=await stack.enter_async_context(Leaser(client, ack_wait=settings.task_ack_wait)),
        sender=await stack.enter_async_context(ResultSender(client)),
        open_attempts=OpenAttempts(client, await stack.enter_async_context(Publisher(client))),
        announcements=Announcements(client),
        heartbeats=Heartbeats(client),
        loader=await stack.enter_async_context(Loader(settings=settings, memory=memory)),
        device=await stack.enter_async_context(DevicePool(settings=settings, device=options.device or settings.device)),
        fetch=_fetch(settings) if options.pull else None,
    )


def _fetch(settings: Settings) -> Callable[[str], PipelineSpec]:
    # The lake brings pyarrow, which other workers do without.
    from antenna_orchestration.lake.folder import storage_options
    from antenna_orchestration.lake.store import Lake
    from antenna_orchestration.processing import pulled

    lake = Lake(settings.lake, storage_options=storage_options(settings))
    return partial(pulled.ready, lake, home=settings.home)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLoops:
    """The asyncio tasks of a running worker, each by its name in logs and errors."""

    scheduler: asyncio.Task[None]
    image_fetcher: asyncio.Task[None]
    batcher: asyncio.Task[None]
    reporter: asyncio.Task[None]

    announcements: asyncio.Task[None]
    withdrawals: asyncio.Task[None]
    pipelines: asyncio.Task[None]
    model_loader: asyncio.Task[None]
    puller: asyncio.Task[None]
    resting_jobs: asyncio.Task[None]
    lease_extender: asyncio.Task[None]
    device_watch: asyncio.Task[None]
    heartbeat: asyncio.Task[None]

    def all(self) -> list[asyncio.Task[None]]:
        """All of them; each runs for ever."""
        return [
            self.scheduler, self.image_fetcher, self.batcher, self.reporter, self.announcements, self.withdrawals,
            self.pipelines, self.puller, self.model_loader, self.resting_jobs, self.lease_extender, self.device_watch,
            self.heartbeat,
        ]  # fmt: skip


class Engine:
    """One worker's life."""

    def __init__(
        self,
        *,
        settings: Settings,
        options: WorkerOptions,
        identity: Identity,
        pipelines: PipelinesHere,
        connections: Connections,
        timing: Timing | None = None,
    ) -> None:
        self._settings = settings
        self._options = options
        self._identity = identity
        self._pipelines = pipelines
        self._device = connections.device
        self._heartbeats = connections.heartbeats
        timing = timing or Timing()
        self._clock = timing.clock
        self._started = timing.clock()
        self.pulse = Pulse(timing.clock)

        # What the stages share, made before all of them.
        self._nudge = nudge = Nudge()
        concurrency = LoadConcurrency(settings.load_concurrency)
        self._load_queue = LoadQueue(concurrency, connections.loader.host)
        memory = connections.loader.memory
        self._tasks_in_hand = TasksInHand(memory=memory, nudge=nudge, timing=timing)
        self._puller = puller = PipelinePuller(fetch=connections.fetch, nudge=nudge, timing=timing)
        self._model_loader = ModelLoader(device=connections.device, nudge=nudge, timing=timing)
        source_health = SourceHealth(max_attempts=settings.max_attempts, timing=timing)
        self._lease_time = LeaseTime(settings.task_ack_wait)
        speed = DeviceSpeed(
            lease_time=self._lease_time,
            prepare_threads=settings.worker_threads or kernel.usable_cpus(),
            batch_size=settings.batch_size if options.batch_size is None else options.batch_size,
        )

        # The stages, from the last to the first: each is handed those after it.
        self._reporter = Reporter(
            sender=connections.sender,
            spool=Spool(settings.home / "spool"),
            tasks_in_hand=self._tasks_in_hand,
            worker=identity.name,
            patience=settings.task_timeout,
            timing=timing,
        )
        self._batcher = Batcher(
            reporter=self._reporter,
            load_queue=self._load_queue,
            device=connections.device,
            model_loader=self._model_loader,
            open_attempts=connections.open_attempts,
            tasks_in_hand=self._tasks_in_hand,
            speed=speed,
            max_attempts=settings.max_attempts,
            nudge=nudge,
            timing=timing,
        )
        self._image_fetcher = ImageFetcher(
            load_queue=self._load_queue,
            concurrency=concurrency,
            batcher=self._batcher,
            reporter=self._reporter,
            loader=connections.loader,
            tasks_in_hand=self._tasks_in_hand,
            source_health=source_health,
            speed=speed,
            is_from_here=self._is_from_here,
            nudge=nudge,
            timing=timing,
        )
        self._scheduler = Scheduler(
            image_fetcher=self._image_fetcher,
            reporter=self._reporter,
            leaser=connections.leaser,
            open_attempts=connections.open_attempts,
            device=connections.device,
            model_loader=self._model_loader,
            tasks_in_hand=self._tasks_in_hand,
            batch_groups=BatchGroups(pipelines.specs, pipelines.digest_of, puller.ready),
            speed=speed,
            source_health=source_health,
            lease_time=self._lease_time,
            reaches=identity.reaches,
            puller=puller,
            pulse=self.pulse,
            nudge=nudge,
            timing=timing,
        )

        # What helps them.
        self._lease_extender = LeaseExtender(
            tasks_in_hand=self._tasks_in_hand,
            reporter=self._reporter,
            device=connections.device,
            lease_time=self._lease_time,
            task_timeout=settings.task_timeout,
            timing=timing,
        )
        self._follower = AnnouncementFollower(
            announcements=connections.announcements,
            scheduler=self._scheduler,
            batcher=self._batcher,
            lease_time=self._lease_time,
            lease_extender=self._lease_extender,
            pipelines=pipelines,
        )
        self.status = Status(
            identity=identity,
            pipelines=pipelines,
            tasks_in_hand=self._tasks_in_hand,
            reporter=self._reporter,
            model_loader=self._model_loader,
            scheduler=self._scheduler,
            source_health=source_health,
            device=connections.device,
            speed=speed,
            memory=memory,
            puller=puller,
        )

    def _is_from_here(self, job_run: JobRun) -> bool:
        return self._scheduler.has_files_of(job_run, f"file:{self._settings.host_id}")

    async def _on_pipelines(self, changed: Set[str]) -> None:
        """Pipelines changed, came or went: what was begun with is finished, all else is for what they are now."""
        self._scheduler.on_pipelines(self._pipelines.specs, changed)
        await self._batcher.hand_back_unstarted(lambda held: held.batch_group.slug in changed)
        for slug in changed:
            await self._device.replace(slug)
        self._nudge.give()

    async def run(self, stop: StopRequest) -> WorkerSummary:
        """Work until idle, too old, or asked to leave; then leave in order.

        Raises `InternalError` if a stage died, and `DeviceGone` if it left because its device was lost again and again.
        """
        pipelines = ", ".join(self._pipelines.specs)
        logger.info("worker %s serves %s on %s", self._identity.name, pipelines, self._device.name)
        await self._deliver_spooled()
        tasks = self._start()
        reason = "a stage died"
        try:
            reason = await self._until_time_to_leave(tasks, stop)
        finally:
            await self._shut_down(tasks, stop, reason)
        if gone := self._device.health.gone:
            raise errors.DeviceGone(f"worker {self._identity.name} left: {gone}")
        return WorkerSummary(
            worker=self._identity.name,
            reason=reason,
            done=self._reporter.done,
            failed=self._reporter.failed,
            handed_back=self._tasks_in_hand.handed_back,
            spooled=self._reporter.spooled,
            lifetime=self._clock() - self._started,
        )

    async def _deliver_spooled(self) -> None:
        try:
            await self._reporter.deliver_spooled()
        except (errors.Unavailable, OSError) as error:
            logger.warning("results of an earlier worker cannot be delivered yet: %s", error)

    def _start(self) -> RunningLoops:
        """Start the stages, in the order in which a task passes them, and what helps them."""
        return RunningLoops(
            scheduler=_task("scheduler", self._scheduler.run()),
            image_fetcher=_task("image-fetcher", self._image_fetcher.run(self._settings.load_concurrency)),
            batcher=_task("batcher", self._batcher.run()),
            reporter=_task("reporter", self._reporter.run()),
            announcements=_task("announcements", self._follower.run()),
            withdrawals=_task("withdrawals", self._follower.hand_back_withdrawn()),
            pipelines=_task("pipelines", self._pipelines.follow(self._on_pipelines)),
            model_loader=_task("model-loader", self._model_loader.run()),
            puller=_task("puller", self._puller.run()),
            resting_jobs=_task("resting-jobs", self._image_fetcher.try_resting_jobs()),
            lease_extender=_task("lease-extender", self._lease_extender.run()),
            device_watch=_task("device-watch", self._device.watch()),
            heartbeat=_task("heartbeat", heartbeat.beat(self._heartbeats, self.status.heartbeat, self.pulse)),
        )

    async def _until_time_to_leave(self, tasks: RunningLoops, stop: StopRequest) -> str:
        """Returns why to leave. Raises `InternalError` when a task that runs for ever ended."""
        idle_since = self._clock()
        while True:
            ended, _ = await asyncio.wait(tasks.all(), timeout=LOOK_AROUND, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                raise errors.InternalError(f"the worker's {task.get_name()} stopped") from task.exception()
            now = self._clock()
            if stop.asked:
                return "asked"
            if self._device.health.gone:
                return "its device is lost"
            if self._options.max_lifetime is not None and now - self._started >= self._options.max_lifetime:
                return "lifetime"
            unread = not self._scheduler.has_announcements and now - self._started < FIRST_ANNOUNCEMENTS
            # Another worker that came in its place would wait for the same, and would have nothing to tell of it.
            waits = self._scheduler.has_waiting_jobs
            if len(self._tasks_in_hand) or self._model_loader.busy or unread or waits:
                idle_since = now
            elif self._options.exit_when_idle is not None and now - idle_since >= self._options.exit_when_idle:
                return "idle"

    async def _shut_down(self, tasks: RunningLoops, stop: StopRequest, reason: str) -> None:
        """Leave in order: lease nothing more, hand back what is unstarted, finish, deliver, sign off."""
        self.status.draining = True
        self._load_queue.close()
        logger.info(
            "worker %s leaves (%s) with %d tasks in hand", self._identity.name, reason, len(self._tasks_in_hand)
        )

        self._scheduler.stop()
        await asyncio.wait([tasks.scheduler], timeout=LAST_LEASE)
        await kernel.end(
            tasks.scheduler,
            tasks.image_fetcher,
            tasks.announcements,
            tasks.pipelines,
            tasks.puller,
            tasks.model_loader,
            tasks.resting_jobs,
            tasks.withdrawals,
        )
        await self._batcher.hand_back_unstarted(lambda held: True)

        while self._batcher.busy and not stop.hurried:
            await asyncio.wait([tasks.batcher], timeout=LOOK_AROUND)
            if tasks.batcher.done():
                break
        await self._batcher.abort()
        await kernel.end(tasks.batcher, tasks.device_watch)

        await kernel.end(tasks.reporter)
        await self._reporter.flush(min(LAST_DELIVERY, self._lease_time.seconds))
        for held in self._tasks_in_hand:
            await self._tasks_in_hand.hand_back(held)

        await kernel.end(tasks.lease_extender, tasks.heartbeat)
        if self._device.health.gone:
            # People see why for as long as an entry lasts.
            await heartbeat.last(self._heartbeats, self.status.heartbeat())
        else:
            await heartbeat.leave(self._heartbeats, self._identity.name)


def _task(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=name)
