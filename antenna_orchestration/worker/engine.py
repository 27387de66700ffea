"""The worker: its stages put together, watched, and shut down in order.

    intake ──> fetching ──> feeding ──> device process ──> reporting
    (leases)   (bytes)      (batches)   (prepare, infer,   (publish, then
                                         finish)            acknowledge)

Each stage is an asyncio task with a name. What is between two stages is bounded by what the intake leases, which is
bounded by the measured pace. When one of the tasks dies the worker stops, handing back what it can.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

from nats.aio.client import Client

from antenna_orchestration import errors, kernel, settings
from antenna_orchestration.domain import attempts, messages
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.pipelines import registry
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.queue import connection, names
from antenna_orchestration.queue.announcements import Announcements, Snapshot
from antenna_orchestration.queue.heartbeats import Heartbeats
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.queue.publisher import Publisher
from antenna_orchestration.queue.results import ResultSender
from antenna_orchestration.worker import heartbeat, metrics
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import Device
from antenna_orchestration.worker.device.model_loading import ModelLoader
from antenna_orchestration.worker.options import WorkerOptions, WorkerSummary
from antenna_orchestration.worker.policy.batch_groups import BatchGroups
from antenna_orchestration.worker.policy.source_health import Fail, SourceHealth
from antenna_orchestration.worker.policy.speed import DeviceSpeed
from antenna_orchestration.worker.stages.batcher import Batcher
from antenna_orchestration.worker.stages.image_fetcher import ImageFetcher
from antenna_orchestration.worker.stages.reporter import Reporter, deliver_spooled
from antenna_orchestration.worker.stages.scheduler import Scheduler
from antenna_orchestration.worker.stages.spool import Spool
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand
from antenna_orchestration.worker.stopping import StopRequest

logger = logging.getLogger(__name__)

LOOK_AROUND: Final = 0.1
"""Seconds between two looks at whether it is time to leave."""

FIRST_BOARD: Final = 5.0
"""Seconds from the start in which a board that was not read yet does not count as one without jobs."""

LAST_LEASE: Final = 2.0
"""Seconds that a pull under way at the end may take."""

LAST_DELIVERY: Final = 10.0
"""Seconds to deliver the last results before they are put on disk; no longer than a lease, which ends meanwhile."""

TRY_RESTING_EVERY: Final = 5.0
"""Seconds between two looks for resting jobs whose images should be tried again."""


async def serve(
    *, config: settings.Settings, options: WorkerOptions, stop: StopRequest, run_id: str | None
) -> WorkerSummary:
    """Connect, start the device process, and work until it is time to leave. Raises like `main.run`."""
    if not config.worker_queue_url:
        config.require("nats_url")
    pipelines = _pipelines(config, options)
    name = options.name or f"{config.host_id}-{os.getpid()}"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            connection.connected(config.worker_queue_url, name=f"worker {name}", inbox_prefix=names.WORKER_INBOX)
        )
        leaser = await stack.enter_async_context(Leaser(client, ack_wait=config.task_ack_wait))
        sender = await stack.enter_async_context(ResultSender(client))
        open_attempts = OpenAttempts(client, await stack.enter_async_context(Publisher(client)))
        memory = MemoryBudget(config.worker_memory_mb * 2**20)
        loader = await stack.enter_async_context(Loader(settings=config, memory=memory))
        device = await stack.enter_async_context(Device(settings=config, device=options.device or config.device))
        engine = Engine(
            config=config,
            options=options,
            name=name,
            run_id=run_id,
            pipelines=pipelines,
            client=client,
            leaser=leaser,
            sender=sender,
            open_attempts=open_attempts,
            loader=loader,
            device=device,
        )
        if options.metrics_port is not None:
            port = await stack.enter_async_context(metrics.served(options.metrics_port, engine.metrics))
            logger.info("metrics on port %d", port)
        return await engine.run(stop)


def _pipelines(config: settings.Settings, options: WorkerOptions) -> dict[str, PipelineSpec]:
    known = registry.all_pipelines(config.pipeline_paths)
    if not options.pipelines:
        return dict(known)
    return {slug: registry.get(slug, config.pipeline_paths) for slug in options.pipelines}


class Engine:
    """One worker's life."""

    def __init__(
        self,
        *,
        config: settings.Settings,
        options: WorkerOptions,
        name: str,
        run_id: str | None,
        pipelines: dict[str, PipelineSpec],
        client: Client,
        leaser: Leaser,
        sender: ResultSender,
        open_attempts: OpenAttempts,
        loader: Loader,
        device: Device,
        clock: Callable[[], float] = time.monotonic,
        dice: random.Random | None = None,
    ) -> None:
        dice = dice or random.Random()  # noqa: S311  spreads load, keeps no secret
        self._config = config
        self._options = options
        self._name = name
        self._run_id = run_id
        self._pipelines = pipelines
        self._clock = clock
        self._sender = sender
        self._loader = loader
        self._device = device
        self._board = Announcements(client)
        self._heartbeats = Heartbeats(client)
        self._spool = Spool(config.home / "spool")
        self._started = clock()
        self._started_at = datetime.now(UTC)
        self._draining = False
        self._withdrawn: asyncio.Queue[set[tuple[int, int]]] = asyncio.Queue()
        self._reaches = config.loadable_sources

        pace = DeviceSpeed(ack_wait=config.task_ack_wait, prepare_threads=config.worker_threads or kernel.usable_cpus())
        self._standing = SourceHealth(max_attempts=config.max_attempts, dice=dice)
        self._holdings = TasksInHand(memory=loader.memory, task_timeout=config.task_timeout, clock=clock)
        self._reporting = Reporter(
            sender=sender,
            holdings=self._holdings,
            spool=self._spool,
            worker=name,
            patience=config.task_timeout,
            dice=dice,
            clock=clock,
        )
        self._preloading = ModelLoader(device=device, clock=clock, on_loaded=self._nudge)
        self._intake = Scheduler(
            leaser=leaser,
            open_attempts=open_attempts,
            lanes=BatchGroups(pipelines),
            pace=pace,
            holdings=self._holdings,
            standing=self._standing,
            device=device,
            loader=loader,
            reaches=self._reaches,
            batch_size=config.batch_size if options.batch_size is None else options.batch_size,
            dice=dice,
            clock=clock,
            want_loaded=self._preloading.want,
            accept=self._load,
            fail_unopened=lambda held: self._fail(held, Fail(attempts.STOPPED_WORKER, retryable=True)),
            backlog=lambda: self._reporting.backlog,
        )
        self._feeding = Batcher(
            device=device,
            open_attempts=open_attempts,
            holdings=self._holdings,
            pace=pace,
            max_attempts=config.max_attempts,
            dice=dice,
            clock=clock,
            batch_size=self._intake.batch_size,
            done=self._done,
            fail=self._fail,
            load_again=self._load_again,
            pipeline_unavailable=self._preloading.unavailable,
        )
        self._fetching = ImageFetcher(
            loader=loader,
            holdings=self._holdings,
            standing=self._standing,
            pace=pace,
            dice=dice,
            clock=clock,
            accept=self._feeding.add,
            fail=self._fail,
        )
        self._holdings.on_change = self._nudge

    async def run(self, stop: StopRequest) -> WorkerSummary:
        """Work until idle, too old, or asked to leave; then leave in order. Raises `InternalError` if a stage died."""
        logger.info("worker %s serves %s on %s", self._name, ", ".join(self._pipelines), self._device.name)
        await self._deliver_spooled()
        stages, helpers = self._start()
        reason = "a stage died"
        try:
            reason = await self._until_time_to_leave(stages + helpers, stop)
        finally:
            await self._shut_down(stages, helpers, stop, reason)
        return WorkerSummary(
            worker=self._name,
            reason=reason,
            done=self._reporting.done,
            failed=self._reporting.failed,
            handed_back=self._holdings.handed_back,
            spooled=self._reporting.spooled,
            lifetime=self._clock() - self._started,
        )

    # Starting and watching.

    async def _deliver_spooled(self) -> None:
        try:
            await deliver_spooled(self._spool, self._sender)
        except (errors.Unavailable, OSError) as error:
            logger.warning("results of an earlier worker cannot be delivered yet: %s", error)

    def _start(self) -> tuple[list[asyncio.Task[None]], list[asyncio.Task[None]]]:
        """The stages, in the order in which a task passes them, and what helps them."""
        loads = self._config.load_concurrency
        stages = [
            _task("intake", self._intake.run()),
            *(_task(f"fetching-{number}", self._fetching.run()) for number in range(loads)),
            _task("feeding", self._feeding.run()),
            _task("reporting", self._reporting.run()),
        ]
        helpers = [
            _task("board", self._board.follow(self._on_board)),
            _task("withdrawals", self._release_withdrawn()),
            _task("preloading", self._preloading.run()),
            _task("resting", self._fetching.try_resting(TRY_RESTING_EVERY)),
            _task(
                "leases",
                self._holdings.keep_alive(self._config.task_ack_wait / 3, device_changes=lambda: self._device.changes),
            ),
            _task("device-watch", self._device.watch()),
            _task("heartbeat", heartbeat.beat(self._heartbeats, self._describe)),
        ]
        return stages, helpers

    async def _until_time_to_leave(self, tasks: list[asyncio.Task[None]], stop: StopRequest) -> str:
        """Returns why to leave. Raises `InternalError` when a task that runs for ever ended."""
        idle_since = self._clock()
        while True:
            ended, _ = await asyncio.wait(tasks, timeout=LOOK_AROUND, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                raise errors.InternalError(f"the worker's {task.get_name()} stopped") from task.exception()
            now = self._clock()
            if stop.asked:
                return "asked"
            if self._options.max_lifetime is not None and now - self._started >= self._options.max_lifetime:
                return "lifetime"
            waits_for_board = not self._intake.has_board and now - self._started < FIRST_BOARD
            if len(self._holdings) or self._preloading.busy or waits_for_board:
                idle_since = now
            elif self._options.exit_when_idle is not None and now - idle_since >= self._options.exit_when_idle:
                return "idle"

    async def _shut_down(
        self, stages: list[asyncio.Task[None]], helpers: list[asyncio.Task[None]], stop: StopRequest, reason: str
    ) -> None:
        """Leave in order: lease nothing more, hand back what is unstarted, finish, deliver, sign off."""
        intake, *fetching, feeding, reporting = stages
        by_name = {task.get_name(): task for task in helpers}
        self._draining = True
        logger.info("worker %s leaves (%s) with %d tasks in hand", self._name, reason, len(self._holdings))

        self._intake.stop()
        await asyncio.wait([intake], timeout=LAST_LEASE)
        await _end(intake, *fetching, *(by_name[name] for name in ("board", "preloading", "resting", "withdrawals")))
        await self._release(lambda held: True)

        while self._feeding.busy and not stop.hurried:
            await asyncio.wait([feeding], timeout=LOOK_AROUND)
            if feeding.done():
                break
        await self._feeding.abort()
        await _end(feeding, by_name["device-watch"])

        await _end(reporting)
        await self._reporting.flush(min(LAST_DELIVERY, self._config.task_ack_wait))
        for held in self._holdings:
            await self._holdings.hand_back(held)

        await _end(by_name["leases"], by_name["heartbeat"])
        await heartbeat.leave(self._heartbeats, self._name)

    # What happens to tasks.

    def _nudge(self) -> None:
        self._intake.nudge()
        self._feeding.nudge()

    def _on_board(self, board: Snapshot) -> None:
        if withdrawn := self._intake.on_announcements(board):
            self._withdrawn.put_nowait(set(withdrawn))

    async def _release_withdrawn(self) -> None:
        """Hand back what is unstarted of jobs that left the board, canceled most likely; runs for ever."""
        while True:
            jobs = await self._withdrawn.get()
            await self._release(lambda held, jobs=jobs: held.job in jobs)  # type: ignore[misc]

    async def _release(self, which: Callable[[TaskInHand], bool]) -> None:
        """Hand back what the device has not begun with; what lies in its process comes back from there first."""
        shipped: list[int] = []
        for held in self._holdings:
            if held.unstarted and which(held):
                if held.stage is Stage.SHIPPED:
                    shipped.append(held.number)
                else:
                    await self._holdings.hand_back(held)
        await self._device.forget(shipped)

    def _done(self, held: TaskInHand, outcome: protocol.Done) -> None:
        held.timings.update(outcome.timings)
        # Encoded and checked in the device process; put into the result's message as it is.
        detections: Any = outcome.detections
        self._reporting.report_done(held, width=outcome.width, height=outcome.height, detections=detections)

    def _fail(self, held: TaskInHand, fail: Fail) -> None:
        self._reporting.report_failed(held, fail.reason, retryable=fail.retryable)

    def _load(self, held: TaskInHand) -> None:
        self._fetching.add(held)

    async def _load_again(self, held: TaskInHand) -> None:
        if self._draining:
            await self._holdings.hand_back(held)
        else:
            self._fetching.add(held)

    def metrics(self) -> dict[str, metrics.Value]:
        """What there is to count, by Prometheus name."""
        memory = self._loader.memory
        now = datetime.now(UTC)
        last = self._reporting.last_result_at or self._started_at
        return {
            "antenna_worker_done_total": ("Images processed, their results durable.", self._reporting.done),
            "antenna_worker_failed_total": ("Images failed, their results durable.", self._reporting.failed),
            "antenna_worker_handed_back_total": ("Tasks offered to others again.", self._holdings.handed_back),
            "antenna_worker_spooled_total": ("Results put on disk, undeliverable.", self._reporting.spooled),
            "antenna_worker_device_losses_total": ("Device processes that died or hung.", self._device.losses),
            "antenna_worker_leased": ("Tasks in hand.", len(self._holdings)),
            "antenna_worker_unstarted": ("Tasks in hand not begun with.", self._holdings.unstarted.total()),
            "antenna_worker_backlog": ("Results waiting to be published.", self._reporting.backlog),
            "antenna_worker_images_per_second": ("Over the last minute.", self._reporting.rate()),
            "antenna_worker_image_bytes": ("Compressed images in hand.", memory.used),
            "antenna_worker_image_bytes_limit": ("Budget for compressed images.", memory.total),
            "antenna_worker_seconds_since_last_result": ("Or since the start.", (now - last).total_seconds()),
        }

    def _describe(self) -> messages.Heartbeat:
        if self._draining:
            state = "draining"
        elif len(self._holdings):
            state = "working"
        else:
            state = "loading" if self._preloading.busy else "idle"
        return messages.Heartbeat(
            worker=self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=self._device.name,
            pipelines=tuple(slug for slug in self._pipelines if slug not in self._preloading.failing),
            reaches=self._reaches,
            started_at=self._started_at,
            at=datetime.now(UTC),
            leased=len(self._holdings),
            done=self._reporting.done,
            failed=self._reporting.failed,
            rate=round(self._reporting.rate(), 3),
            last_result_at=self._reporting.last_result_at,
            state=state,
            run_id=self._run_id,
            failing=dict(self._preloading.failing),
        )


def _task(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=name)


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
