"""The parent's side of one device process: starts it, sends it batches, notices when it hangs or dies.

Leases are kept in this process, not in that one, so losing it costs a batch of work and no lease. The next call that
needs a lost process starts a new one; what to do with the images that were in it is the caller's decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import pickle
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from antenna_orchestration import errors, kernel
from antenna_orchestration.pipelines.sources import Source
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.device import protocol, starting
from antenna_orchestration.worker.policy.batch_groups import SHARED, BatchGroup
from antenna_orchestration.worker.policy.device_health import STARTS, DeviceHealth

logger = logging.getLogger(__name__)

START_TIMEOUT: Final = 120.0
"""Seconds that a new process may take to answer; importing torch from a network file system takes a while."""

GROWN: Final = 1.25
"""Times what a process held with everything loaded, below which it is not taken for one that grows."""

AGAIN: Final = 20.0
"""Times as long as its start took, counted from there, until a process that was lost is started again beside others."""

AGAIN_LONGEST: Final = 300.0
"""Seconds that this may be at most."""

_SOCKET_BUFFER: Final = 4 * 2**20
_MOST_PARTS: Final = 512
"""Below the kernel's limit for one `sendmsg`."""


class DeviceLost(errors.InternalError):
    """The device process died or was killed while it had work; the message names the cause.

    `may_be_ours`: the cause may be a shortage on this machine rather than an image. `alone`: nothing else was in the
    process, so that what was in there is the cause, if anything is.
    """

    def __init__(self, reason: str, *, may_be_ours: bool, alone: bool) -> None:
        super().__init__(reason)
        self.may_be_ours = may_be_ours
        self.alone = alone


class PipelineUnavailable(errors.InternalError):
    """The device process cannot load a pipeline. No image is the cause.

    `trace`: where its code raised the error; empty if it did not. `out_of_memory`: memory was short.
    """

    def __init__(self, reason: str, *, trace: str = "", out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.trace = trace
        self.out_of_memory = out_of_memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipment:
    """One image on its way to the device process."""

    item: protocol.Item
    # Compressed, as loaded.
    data: bytes


@dataclass(slots=True)
class _BatchInProcess:
    """A batch that is in the process."""

    future: asyncio.Future[protocol.Report]
    on_begin: Callable[[], None]
    moved_at: float
    # Their `Item.number`.
    images: frozenset[int]
    began: bool = False


@dataclass(slots=True)
class _Loading:
    future: asyncio.Future[protocol.Loaded]
    # When it began, or last showed progress.
    moved_at: float


@dataclass(slots=True, eq=False)
class _Child:
    """One life of the device process."""

    process: starting.Process
    channel: socket.socket
    ready: asyncio.Future[protocol.Ready]
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    flights: dict[int, _BatchInProcess] = field(default_factory=dict)
    loadings: dict[int, _Loading] = field(default_factory=dict)
    # By batch group, what runs its pipeline's models.
    loaded: dict[int, str] = field(default_factory=dict)
    # Bytes that it held when it was last asked after, and after the last pipeline was loaded and had its first batch.
    memory: int = 0
    memory_at_first: int = 0
    # Why we killed it, or what it complained of before it ended itself.
    reason: str | None = None
    killed: bool = False
    reader: asyncio.Task[None] | None = None


class Device:
    """One device process, started when it is first needed, and again when it was lost."""

    def __init__(
        self,
        *,
        settings: Settings,
        device: str,
        process: str = SHARED,
        load_timeout: float,
        import_path: Sequence[str] = (),
        template: starting.Template | None = None,
        health: DeviceHealth | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`process`: as `BatchGroup.process`. `load_timeout`: seconds that loading may go on without progress.

        `import_path`: folders that come first on the process's import path. `template`: what to fork it from, if there
        is no such folder. `health` is of all that use the device.
        """
        self._settings = settings
        self._wanted = device
        self._process = process
        # Whose process it is, for people.
        self._title = f"pipeline {process}" if process != SHARED else "the pipelines of this project"
        self._load_timeout = load_timeout
        self._import_path = tuple(import_path)
        self._template = template
        self._health = health or DeviceHealth()
        self._clock = clock
        self._numbers = itertools.count()
        self._child: _Child | None = None
        self._starting = asyncio.Lock()
        # Processes that died or had to be killed.
        self.losses = 0
        # The device that `auto` was resolved to, such as `cuda:0`; empty before the first start.
        self.name = ""
        # The pipelines of batch groups, by their numbers.
        self._slugs: dict[int, str] = {}
        # Whether the last process died of a batch or of a loading, and nobody knows which: the next is loaded alone.
        self._in_doubt = False
        # When it was last given something to do.
        self.used_at = clock()
        # Why the last process was lost, or replaced because it grew; empty while there is another.
        self.fault = ""
        # When the last process was started, and how long it took until it had a pipeline or was lost.
        self._started_at = 0.0
        self._start_took: float | None = None

    async def start(self) -> None:
        """Start the process unless it runs. Raises `PipelineUnavailable` or `DeviceLost` when it cannot be started."""
        await self._started()

    async def end(self) -> None:
        """End the process, whatever is in it."""
        if self._child is not None:
            await self._end(self._child)

    async def be_ready_to_start(self) -> None:
        """Do what takes long before `start`: the import of PyTorch in the process that this one is forked from."""
        if self._template is not None:
            await self._template.be_ready()

    @property
    def start_again_at(self) -> float:
        """Until when, by the clock, others that work come before starting a process again that was lost."""
        if not self.fault or self._start_took is None:
            return 0.0
        return self._started_at + min(AGAIN * self._start_took, AGAIN_LONGEST)

    async def replace(self, why: str, *, fault: bool = False) -> None:
        """End the process once it is through with what is in it; what comes next gets a fresh one.

        `fault`: its pipeline is to blame.
        """
        async with self._starting:
            if (child := self._child) is None:
                return
            while waiting := _waiting(child):
                await asyncio.wait(waiting)
            logger.info("the device process %d (%s) is ended: %s", child.process.pid, self._title, why)
            await self._end(child)
            self.fault = why if fault else ""

    @property
    def is_up(self) -> bool:
        """Whether there is a process."""
        return self._child is not None

    @property
    def is_busy(self) -> bool:
        """Whether it has something to do."""
        return self._child is not None and bool(self._child.flights or self._child.loadings)

    @property
    def is_loading(self) -> bool:
        """Whether it is loading a pipeline."""
        return self._child is not None and bool(self._child.loadings)

    @property
    def changes(self) -> bool:
        """Whether the process is starting, loading a pipeline or being replaced; none lasts for ever."""
        return self._starting.locked() or self.is_loading

    @property
    def memory(self) -> int:
        """Bytes of this machine's memory that the process held when `watch` last looked; 0 without a process."""
        return self._child.memory if self._child is not None else 0

    def has_loaded(self, batch_group: BatchGroup) -> bool:
        """Whether the group's pipeline is loaded in the current process."""
        return self._child is not None and batch_group.number in self._child.loaded

    @property
    def engines(self) -> dict[str, str]:
        """What runs the models of the loaded pipelines that have a choice, by slug."""
        loaded = self._child.loaded if self._child is not None else {}
        return {self._slugs[number]: engine for number, engine in loaded.items() if engine}

    async def load(self, batch_group: BatchGroup) -> float:
        """Load the group's pipeline; returns the seconds it took, 0 when it was loaded already.

        Raises `PipelineUnavailable` when it cannot be loaded, `DeviceLost` when the process dies meanwhile.
        """
        self.used_at = self._clock()
        self._slugs[batch_group.number] = batch_group.slug
        child = await self._started()
        while self._in_doubt and child.flights and batch_group.number not in child.loaded:
            await asyncio.wait([flight.future for flight in child.flights.values()])
            child = await self._started()
        if batch_group.number in child.loaded:
            return 0.0
        loading = child.loadings.get(batch_group.number)
        if loading is None:
            loading = child.loadings[batch_group.number] = _Loading(
                asyncio.get_running_loop().create_future(), self._clock()
            )
            await self._send(child, _load_of(batch_group))
        return (await asyncio.shield(loading.future)).seconds

    async def run(
        self, batch_group: BatchGroup, shipments: Sequence[Shipment], on_begin: Callable[[], None]
    ) -> protocol.Report:
        """Process a batch of a group that has been loaded; `on_begin` is called when the device begins with it.

        Raises `DeviceLost` when the process dies meanwhile: any of the images in the process may be the cause.
        """
        self.used_at = self._clock()
        child = await self._started()
        number = next(self._numbers)
        numbers = frozenset(shipment.item.number for shipment in shipments)
        flight = _BatchInProcess(asyncio.get_running_loop().create_future(), on_begin, self._clock(), numbers)
        child.flights[number] = flight
        message = protocol.Run(number, batch_group.number, [shipment.item for shipment in shipments])
        await self._send(child, message, [shipment.data for shipment in shipments])
        return await flight.future

    async def forget(self, numbers: Sequence[int]) -> None:
        """Ask not to begin with these images (`Item.number`); their batches report them as `Dropped` if not begun."""
        if self._child is None:
            return
        # What the process does not have it would remember for ever.
        here = {number for flight in self._child.flights.values() for number in flight.images}
        if wanted := [number for number in numbers if number in here]:
            await self._send(self._child, protocol.Forget(wanted))

    def look(self, *, stood_still: float) -> None:
        """Kill the process if the work in it made no progress for too long; see how much memory it has.

        `stood_still`: seconds in which this process could not read what the child said.
        """
        if (child := self._child) is None:
            return
        if stood_still:
            self._forgive(child, stood_still)
        self._end_if_stuck(child, self._clock())
        if child.process.poll() is not None:
            # Processes that a pipeline started may hold the socket open. What it said is still read.
            with contextlib.suppress(OSError):
                child.channel.shutdown(socket.SHUT_RD)
        with contextlib.suppress(psutil.Error):
            child.memory = psutil.Process(child.process.pid).memory_info().rss

    def has_outgrown(self, limit: int) -> bool:
        """Whether the process holds more than so many bytes, and that not only by what it has loaded."""
        if (child := self._child) is None or not child.memory_at_first:
            return False
        return child.memory > max(limit, GROWN * child.memory_at_first)

    # A child's life.

    async def _started(self) -> _Child:
        async with self._starting:
            if self._child is None:
                self._started_at, self._start_took = self._clock(), None
                self._child = await self._start()
                self.fault = ""
            return self._child

    async def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        for end in (ours, theirs):
            # Room for a whole batch of ordinary images, if the kernel allows that much.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        try:
            with theirs:
                if self._template is not None:
                    process = await self._template.start(theirs)
                else:
                    process = starting.start_fresh(self._settings, theirs, self._import_path)
        except OSError as error:
            ours.close()
            raise PipelineUnavailable(f"its process cannot be started: {error.strerror}") from error
        except BaseException:
            # Whoever wanted it has left.
            ours.close()
            raise
        child = _Child(process, ours, asyncio.get_running_loop().create_future())
        child.reader = asyncio.create_task(self._read(child), name="device-reader")
        try:
            # A card that went away is not replaced by the CPU: once resolved, the device stays what it is.
            await self._send(child, protocol.Start(pickle.dumps(self._settings), self.name or self._wanted))
            async with asyncio.timeout(START_TIMEOUT):
                ready = await child.ready
        except TimeoutError:
            await self._end(child)
            raise PipelineUnavailable(f"the device process did not answer within {START_TIMEOUT:.0f} s") from None
        except BaseException:
            # Whoever wanted it has left, such as a worker that is told to: nobody else knows of it yet.
            await self._end(child)
            raise
        self.name = ready.device
        logger.info("device process %d on %s (%s) for %s", process.pid, ready.device, ready.description, self._title)
        return child

    async def _end(self, child: _Child) -> None:
        """End the process: its socket closes, and it gets a moment to leave before it is killed."""
        if self._child is child:
            self._child = None
        if child.reader is not None:
            await kernel.end(child.reader)
        child.channel.close()
        await starting.ended(child.process)

    # Talking.

    async def _send(self, child: _Child, message: protocol.ToChild, attachments: Sequence[bytes] = ()) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with child.sending:
                for left in _send_at_once(child.channel, [protocol.frame(message), *attachments]):
                    await loop.sock_sendall(child.channel, left)
        except OSError as error:
            # The reader sees the end of the process as well, and fails whatever was in it.
            logger.debug("writing to the device process: %s", error)

    async def _read(self, child: _Child) -> None:
        loop = asyncio.get_running_loop()
        buffer = bytearray()
        try:
            while data := await loop.sock_recv(child.channel, 2**18):
                buffer += data
                while (body := _take_frame(buffer)) is not None:
                    self._on_message(child, protocol.from_child.decode(body))
        except OSError as error:
            logger.debug("reading from the device process: %s", error)
        except Exception as error:
            # What it says from here on cannot be understood, so it must not go on.
            logger.exception("reading from the device process")
            self._kill(child, f"it is not understood: {error}")
        await self._lost(child)

    def _on_message(self, child: _Child, message: protocol.FromChild) -> None:
        match message:
            case protocol.Moved(batch=batch, inferring=inferring):
                if flight := child.flights.get(batch):
                    flight.moved_at = self._clock()
                    if inferring and not flight.began:
                        flight.began = True
                        flight.on_begin()
            case protocol.Report(batch=batch, outcomes=outcomes):
                if any(isinstance(outcome, protocol.Done) for outcome in outcomes):
                    self._health.worked(self._process)
                self._next_may_begin(child)
                child.memory_at_first = child.memory_at_first or child.memory
                if (flight := child.flights.pop(batch, None)) and not flight.future.done():
                    flight.future.set_result(message)
            case protocol.Loaded(batch_group=batch_group, evicted=evicted, engine=engine):
                there = {one: its for one, its in child.loaded.items() if one not in evicted}
                child.loaded = {**there, batch_group: engine}
                self._in_doubt = False
                self._start_over()
                # What it takes is seen at the next look.
                child.memory = child.memory_at_first = 0
                self._next_may_begin(child)
                self._loading_over(child, batch_group, message)
            case protocol.LoadFailed(batch_group=batch_group, reason=reason, trace=trace, out_of_memory=short):
                error = PipelineUnavailable(reason, trace=trace, out_of_memory=short)
                self._loading_over(child, batch_group, error)
            case protocol.Waiting():
                self._loading_moved(child)
            case protocol.Said(level=level, logger=name, message=text):
                logging.getLogger(name).log(level, "%s", text)
                if level >= logging.ERROR and name == protocol.LOGGER:
                    child.reason = (text.splitlines() or [""])[0]
            case protocol.Ready():
                self._on_ready(child, message)

    def _on_ready(self, child: _Child, message: protocol.Ready) -> None:
        self._health.worked(STARTS)
        # Whoever started it may have left.
        if not child.ready.done():
            child.ready.set_result(message)

    def _next_may_begin(self, child: _Child) -> None:
        """The device is free for the next batch: the time that it waited does not count as being stuck."""
        for flight in child.flights.values():
            flight.moved_at = self._clock()

    def _start_over(self) -> None:
        """It has its first pipeline, or was lost before."""
        if self._start_took is None:
            self._start_took = self._clock() - self._started_at

    def _loading_moved(self, child: _Child) -> None:
        for loading in child.loadings.values():
            loading.moved_at = self._clock()

    def _loading_over(self, child: _Child, batch_group: int, outcome: protocol.Loaded | PipelineUnavailable) -> None:
        loading = child.loadings.pop(batch_group, None)
        # They are loaded one after the other.
        self._loading_moved(child)
        if loading is None or loading.future.done():
            return
        if isinstance(outcome, protocol.Loaded):
            loading.future.set_result(outcome)
        else:
            loading.future.set_exception(outcome)

    # Losing it.

    async def _lost(self, child: _Child) -> None:
        """The socket ended: fail everything that waits for the process, with the cause of its death."""
        if self._child is child:
            self._child = None
        await starting.ended(child.process)
        child.channel.close()
        status = child.process.poll()
        reason = child.reason or _cause_of_death(status)
        # Without a status the kernel cannot end it, and hangs itself.
        may_be_ours = status in (None, protocol.LOST_DEVICE, protocol.SHORT_OF_MEMORY)
        may_be_ours = may_be_ours or (status == -signal.SIGKILL and not child.killed)
        alone = len(child.flights) + len(child.loadings) <= 1
        self._in_doubt = bool(child.flights and child.loadings)
        self.losses += 1
        if status == protocol.LOST_DEVICE:
            self._health.lost(self._blamed(child), self.name or self._wanted, reason)
        self._start_over()
        self.fault = reason
        logger.warning("the device process %d (%s) is lost: %s", child.process.pid, self._title, reason)
        waiting = [child.ready, *_waiting(child)]
        child.flights.clear()
        child.loadings.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(DeviceLost(reason, may_be_ours=may_be_ours, alone=alone))
                # Marks it as retrieved: the caller may have left, and the cause is logged above.
                future.exception()

    def _blamed(self, child: _Child) -> str:
        """What lost the device: this process, or none in particular if it came no further than looking at the device.

        The PyTorch in an environment of a pipeline's own may be one that cannot use it.
        """
        return self._process if child.ready.done() or self._import_path else STARTS

    def _end_if_stuck(self, child: _Child, now: float) -> None:
        begun = [flight for flight in child.flights.values() if flight.began]
        # Batches that are not begun wait for those that are, or for a pipeline that is being loaded.
        moving = begun if begun or child.loadings else list(child.flights.values())
        if any(now - flight.moved_at > self._settings.task_timeout for flight in moving):
            self._kill(child, f"no progress for {self._settings.task_timeout:g} s")
        elif any(now - loading.moved_at > self._load_timeout for loading in child.loadings.values()):
            self._kill(child, f"loading it took more than {self._load_timeout:g} s (ANTENNA_PIPELINE_LOAD_TIMEOUT)")

    def _kill(self, child: _Child, reason: str) -> None:
        child.reason, child.killed = reason, True
        child.process.kill()

    def _forgive(self, child: _Child, seconds: float) -> None:
        for flight in child.flights.values():
            flight.moved_at += seconds
        for loading in child.loadings.values():
            loading.moved_at += seconds


def _waiting(child: _Child) -> list[asyncio.Future[Any]]:
    """What waits for the process."""
    return [flight.future for flight in child.flights.values()] + [one.future for one in child.loadings.values()]


def _send_at_once(channel: socket.socket, parts: list[bytes]) -> list[memoryview]:
    """Send at once what the socket's buffer takes, usually all of it; returns what is left."""
    views = [memoryview(part) for part in parts if part]
    try:
        sent = channel.sendmsg(views[:_MOST_PARTS])
    except BlockingIOError:
        return views
    while views and sent >= len(views[0]):
        sent -= len(views.pop(0))
    if views and sent:
        views[0] = views[0][sent:]
    return views


def _load_of(batch_group: BatchGroup) -> protocol.Load:
    origin = batch_group.spec.origin
    source = Source.of(origin) if origin.pulled else None
    return protocol.Load(batch_group.number, batch_group.slug, batch_group.config, batch_group.digest, source)


def _take_frame(buffer: bytearray) -> bytes | None:
    """Remove one whole frame from the front of the buffer; None when it is not complete yet."""
    size = protocol.LENGTH.size
    if len(buffer) < size:
        return None
    end = size + protocol.LENGTH.unpack_from(buffer)[0]
    if len(buffer) < end:
        return None
    body = bytes(memoryview(buffer)[size:end])
    del buffer[:end]
    return body


def _cause_of_death(status: int | None) -> str:
    """The meaning of a process's exit status (negative: a signal), for people."""
    if status is None:
        return "it cannot be killed"
    if status == protocol.LOST_DEVICE:
        return "the device was lost"
    if status == protocol.SHORT_OF_MEMORY:
        return "memory ran out in it"
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return f"killed by {name}" + (", out of memory perhaps" if name == "SIGKILL" else "")
    return f"it ended with status {status}"
