"""What a worker says about itself: metrics for Prometheus, and its heartbeat."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from antenna_orchestration.domain import messages
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.worker import metrics
from antenna_orchestration.worker.device.model_loading import ModelLoader
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.pipelines_here import PipelinesHere
from antenna_orchestration.worker.policy.source_health import SourceHealth
from antenna_orchestration.worker.policy.speed import DeviceSpeed
from antenna_orchestration.worker.pulling import PipelinePuller
from antenna_orchestration.worker.stages.reporter import Reporter
from antenna_orchestration.worker.stages.scheduler import Scheduler
from antenna_orchestration.worker.stages.tasks_in_hand import TasksInHand

BUILT_IN: Final = "built-in"
"""The device process of this project's pipelines, in a heartbeat."""

MOST_REFUSED: Final = 50
"""Refused jobs that a heartbeat names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a worker is."""

    # Unique among all workers.
    name: str
    # Kinds of sources that it can read.
    reaches: tuple[str, ...]
    # The Dagster run that it lives in, if any.
    run_id: str | None
    started_at: datetime


class Status:
    """Reads the stages' counters."""

    def __init__(
        self,
        *,
        identity: Identity,
        pipelines: PipelinesHere,
        tasks_in_hand: TasksInHand,
        reporter: Reporter,
        model_loader: ModelLoader,
        scheduler: Scheduler,
        source_health: SourceHealth,
        device: DevicePool,
        speed: DeviceSpeed,
        memory: MemoryBudget,
        puller: PipelinePuller,
    ) -> None:
        self._identity = identity
        self._pipelines = pipelines
        self._tasks_in_hand = tasks_in_hand
        self._reporter = reporter
        self._model_loader = model_loader
        self._scheduler = scheduler
        self._source_health = source_health
        self._device = device
        self._speed = speed
        self._memory = memory
        self._puller = puller
        # Set once the worker leases nothing more.
        self.draining = False

    def metrics(self) -> dict[str, metrics.Value]:
        """All metrics, by Prometheus name."""
        now = datetime.now(UTC)
        last = self._reporter.last_result_at or self._identity.started_at
        return {
            "antenna_worker_done_total": ("Images processed, their results durable.", self._reporter.done),
            "antenna_worker_failed_total": ("Images failed, their results durable.", self._reporter.failed),
            "antenna_worker_handed_back_total": ("Tasks offered to others again.", self._tasks_in_hand.handed_back),
            "antenna_worker_spooled_total": ("Results put on disk, undeliverable.", self._reporter.spooled),
            "antenna_worker_device_losses_total": ("Device processes that died or hung.", self._device.losses),
            "antenna_worker_device_processes": ("Device processes that run.", len(self._device.memory)),
            "antenna_worker_device_memory_bytes": (
                "Memory of this machine that the device processes hold together.",
                sum(self._device.memory.values()),
            ),
            "antenna_worker_leased": ("Tasks in hand.", len(self._tasks_in_hand)),
            "antenna_worker_unstarted": ("Tasks in hand not begun with.", self._tasks_in_hand.unstarted.total()),
            "antenna_worker_backlog": ("Results waiting to be published.", self._reporter.backlog),
            "antenna_worker_images_per_second": ("Over the last minute.", self._reporter.rate()),
            "antenna_worker_image_bytes": ("Compressed images in hand.", self._memory.used),
            "antenna_worker_image_bytes_limit": ("Budget for compressed images.", self._memory.total),
            "antenna_worker_seconds_since_last_result": ("Or since the start.", (now - last).total_seconds()),
        }

    def heartbeat(self) -> messages.Heartbeat:
        """The heartbeat to publish now."""
        failing = self._device.yielding | self._model_loader.failing | self._puller.failing
        pulled = {spec.slug: digest for digest, spec in self._puller.ready.items()}
        served = dict.fromkeys([*self._pipelines.specs, *pulled, *self._puller.fetching])
        if gone := self._device.health.gone:
            failing = dict.fromkeys(served, gone)
        return messages.Heartbeat(
            worker=self._identity.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=self._device.name,
            pipelines=tuple(slug for slug in served if slug not in failing),
            digests={**pulled, **self._pipelines.digests},
            reaches=self._identity.reaches,
            started_at=self._identity.started_at,
            at=datetime.now(UTC),
            leased=len(self._tasks_in_hand),
            done=self._reporter.done,
            failed=self._reporter.failed,
            rate=round(self._reporter.rate(), 3),
            last_result_at=self._reporter.last_result_at,
            state=self._state(),
            run_id=self._identity.run_id,
            failing=dict(failing),
            engines=self._device.engines,
            memory={process or BUILT_IN: size for process, size in self._device.memory.items()},
            seconds={slug: round(seconds, 6) for slug, seconds in self._speed.per_pipeline.items()},
            refused=dict(islice(self._scheduler.refused_jobs(), MOST_REFUSED)),
            forbidden=self._source_health.forbidden,
            unreachable=self._source_health.unreachable,
        )

    def _state(self) -> str:
        if self._device.health.gone:
            return "lost"
        if self.draining:
            return "draining"
        if len(self._tasks_in_hand):
            return "working"
        return "loading" if self._model_loader.busy or self._puller.fetching else "idle"
