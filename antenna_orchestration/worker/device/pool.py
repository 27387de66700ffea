"""The device processes of a worker: one for all pipelines of this project, and one for each pipeline of other people.

A pipeline that crashes, hangs, leaks or loads for ever costs its own process, and nobody else anything. To start a
process costs the others, too, so one that was lost is started again at once only if they have nothing to do. Batches
and loadings are routed by `BatchGroup.process`; one process is `client.Device`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import psutil

from antenna_orchestration import kernel
from antenna_orchestration.pipelines import torch_installed
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import Device, DeviceLost, PipelineUnavailable, Shipment
from antenna_orchestration.worker.device.starting import Template
from antenna_orchestration.worker.policy.batch_groups import SHARED, BatchGroup
from antenna_orchestration.worker.policy.device_health import DeviceHealth

logger = logging.getLogger(__name__)

PUBLISHED_LOAD_TIMEOUT: Final = 1800.0
"""Seconds that loading a pipeline of this project may take."""

CROWDED: Final = 0.8
"""Share of the CPUs in use from which on they count as used to the full: threads wait for each other at times."""

LOOK_AT_OTHERS: Final = 0.5
"""Seconds between two looks whether others still work."""


class DevicePool:
    """All device processes. Use it as an async context manager: entering starts the shared one, leaving ends all."""

    def __init__(self, *, settings: Settings, device: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._wanted = device
        self._clock = clock
        # Of the device, which all processes share.
        self.health = DeviceHealth()
        self._shared = Device(
            settings=settings,
            health=self.health,
            device=device,
            load_timeout=max(PUBLISHED_LOAD_TIMEOUT, settings.pipeline_load_timeout),
            clock=clock,
        )
        self._template = Template(settings)
        # By `BatchGroup.process`; without a process they cost nothing, so none is ever removed.
        self._devices: dict[str, Device] = {SHARED: self._shared}
        self._making_room = asyncio.Lock()
        # Numbers of the batch groups for whose sake other processes were ended.
        self._helped: set[int] = set()
        # Whether the device was used to the full of late; of a GPU that is not known.
        self.is_crowded = True
        # Slugs of the pipelines whose lost processes are not started again yet, each with the reason.
        self.yielding: dict[str, str] = {}
        # Those that are being replaced because they grew.
        self._replacing: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> DevicePool:
        await self._shared.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await kernel.end(*self._replacing.values())
        await asyncio.gather(*(device.end() for device in self._devices.values()))
        await self._template.end()

    @property
    def name(self) -> str:
        """The device that `auto` was resolved to, such as `cuda:0`."""
        return self._shared.name

    @property
    def losses(self) -> int:
        """Processes that died or had to be killed."""
        return sum(device.losses for device in self._devices.values())

    @property
    def changes(self) -> bool:
        """Whether a process is starting, about to, loading a pipeline or being replaced; none lasts for ever."""
        return (
            bool(self.yielding) or self._template.is_asked or any(device.changes for device in self._devices.values())
        )

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of this machine's memory that each process holds, by `BatchGroup.process`."""
        return {process: device.memory for process, device in self._devices.items() if device.memory}

    @property
    def engines(self) -> dict[str, str]:
        """What runs the models of the loaded pipelines that have a choice, by slug."""
        return {slug: engine for device in self._devices.values() for slug, engine in device.engines.items()}

    def is_loading(self, process: str) -> bool:
        """Whether this process is loading a pipeline."""
        return process in self._devices and self._devices[process].is_loading

    def has_loaded(self, batch_group: BatchGroup) -> bool:
        """Whether the group's pipeline is loaded."""
        return self._of(batch_group).has_loaded(batch_group)

    def displaces(self, batch_group: BatchGroup) -> bool:
        """Whether loading the group's pipeline may push another one out."""
        return self._of(batch_group).is_up or self._is_full

    async def load(self, batch_group: BatchGroup) -> float:
        """Load the group's pipeline; returns the seconds it took, 0 when it was loaded already.

        Raises `PipelineUnavailable` when it cannot be loaded, `DeviceLost` when its process dies meanwhile.
        """
        device = self._of(batch_group)
        if device is not self._shared and not device.is_up:
            await self._yield(batch_group.slug, device)
            await device.be_ready_to_start()
            async with self._making_room:
                while not device.is_up and self._is_full:
                    oldest = min(self._own_that_are_up(), key=lambda one: (one.is_busy, one.used_at))
                    await oldest.replace("another pipeline needs its place (ANTENNA_WORKER_PROCESSES)")
                await device.start()
        try:
            return await device.load(batch_group)
        except PipelineUnavailable as error:
            if not error.out_of_memory or batch_group.number in self._helped:
                raise
        self._helped.add(batch_group.number)
        for other in list(self._devices.values()):
            if other is not device:
                await other.replace(f"pipeline {batch_group.slug} is short of memory")
        return await device.load(batch_group)

    async def load_despite_losses(self, batch_group: BatchGroup) -> None:
        """Load the group's pipeline, again when its process dies with others' work in it, which is the cause perhaps.

        Costs nothing when it is loaded. Raises `PipelineUnavailable`, also when a process dies that held nothing else.
        """
        while True:
            try:
                await self.load(batch_group)
            except DeviceLost as lost:
                if lost.alone:
                    raise PipelineUnavailable(str(lost)) from lost
            else:
                return

    async def _yield(self, slug: str, device: Device) -> None:
        """Wait while others work and the device's process was lost a short while ago."""
        try:
            while (seconds := device.start_again_at - self._clock()) > 0 and not device.is_up:
                if not any(other.is_busy for other in self._devices.values() if other is not device):
                    break
                if slug not in self.yielding:
                    logger.info("pipeline %s: its process is started again in %.0f s at the latest", slug, seconds)
                    self.yielding[slug] = (
                        f"its process ended: {device.fault}; it is started again in {seconds:.0f} s, or when other "
                        "pipelines have nothing to do on this worker"
                    )
                await asyncio.sleep(min(LOOK_AT_OTHERS, seconds))
        finally:
            self.yielding.pop(slug, None)

    async def run(
        self, batch_group: BatchGroup, shipments: Sequence[Shipment], on_begin: Callable[[], None]
    ) -> protocol.Report:
        """Process a batch of a group that has been loaded; `on_begin` is called when the device begins with it.

        Raises `DeviceLost` when the process dies meanwhile: any of the images in that process may be the cause.
        """
        return await self._of(batch_group).run(batch_group, shipments, on_begin)

    async def forget(self, numbers: Sequence[int]) -> None:
        """Ask not to begin with these images (`Item.number`); their batches report them as `Dropped` if not begun."""
        for device in list(self._devices.values()):
            await device.forget(numbers)

    async def replace(self, slug: str) -> None:
        """Let the pipeline's process end once it is through with its batch: the next load reads the code anew."""
        if slug in self._devices:
            await self._devices[slug].replace(f"pipeline {slug} changed")

    async def watch(self) -> None:
        """Kill processes that make no progress, replace those that grew, between batches; runs for ever.

        Sees how crowded the device is, too.
        """
        pause = min(1.0, self._settings.task_timeout / 8)
        limit = self._settings.worker_process_mb * 2**20 or psutil.virtual_memory().total // 2
        seen_at = self._clock()
        while True:
            await asyncio.sleep(pause)
            late = self._clock() - seen_at
            # Then this process stood still; what the children said meanwhile is still to be read.
            stood_still = late if late > 2 * pause + 1.0 else 0.0
            for process, device in self._devices.items():
                device.look(stood_still=stood_still)
                if process not in self._replacing and device.has_outgrown(limit):
                    why = f"it grew to {device.memory / 2**20:,.0f} MB, more than {limit / 2**20:,.0f} MB"
                    why += " (ANTENNA_WORKER_PROCESS_MB)"
                    replacing = asyncio.create_task(device.replace(why, fault=True))
                    self._replacing[process] = replacing
                    replacing.add_done_callback(lambda _, process=process: self._replacing.pop(process, None))  # type: ignore[misc]
            self.is_crowded = self.name != "cpu" or _cpus_in_use() >= CROWDED
            seen_at = self._clock()

    def _of(self, batch_group: BatchGroup) -> Device:
        if batch_group.process not in self._devices:
            import_path = batch_group.spec.origin.import_path
            # A context of CUDA does not survive a fork, and a pipeline's own environment may have another PyTorch.
            forks = self.name == "cpu" and not import_path and torch_installed.is_wanted(batch_group.spec)
            self._devices[batch_group.process] = Device(
                settings=self._settings,
                # What `auto` was resolved to: no process is to work on the CPU because the card went away.
                device=self.name or self._wanted,
                health=self.health,
                process=batch_group.process,
                load_timeout=self._settings.pipeline_load_timeout,
                import_path=import_path,
                template=self._template if forks else None,
                clock=self._clock,
            )
        return self._devices[batch_group.process]

    @property
    def _is_full(self) -> bool:
        return sum(1 for _ in self._own_that_are_up()) >= self._settings.worker_processes

    def _own_that_are_up(self) -> Iterator[Device]:
        return (device for device in self._devices.values() if device.is_up and device is not self._shared)


def _cpus_in_use() -> float:
    """The share, since the last call, of the CPUs that this process may run on; by whatever program."""
    all_of_them: list[float] = psutil.cpu_percent(percpu=True)
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(all_of_them))
    return sum(all_of_them[cpu] for cpu in ours) / len(ours) / 100
