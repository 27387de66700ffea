"""The device process: prepares on threads, infers on one thread, finishes on threads.

On the CPU, pipelines that say `infers_side_by_side` have whole photographs on each of the threads instead, prepared,
inferred and finished there: then no thread waits for another's part of a network.

A crash, a hang or a plug-in that holds the GIL costs this process and nothing else: leases, image loading and results
are the parent's. It ends with its parent, by the end of the socket and by the kernel's parent-death signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import pickle
import queue
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from antenna_orchestration import errors, kernel, settings
from antenna_orchestration.domain import told_errors
from antenna_orchestration.pipelines import device_errors, outcomes, runtimes, weights
from antenna_orchestration.pipelines.device_errors import Fault
from antenna_orchestration.pipelines.interface import RawImage
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.models import Model, Models

# By its full name: run with `-m`, this module is `__main__`.
logger = logging.getLogger(protocol.LOGGER)

MOVED_EVERY: Final = 0.5
"""Seconds between two `Moved` messages while a batch is prepared."""

MOST_OF_ENGINE: Final = 80
"""Characters of an engine's name that are told."""

WAITING_EVERY: Final = 1.0
"""Seconds between two `Waiting` messages."""


_NO_CARD: Final = (34, 100)
"""What the driver's library says where there is no card: a stub library, no device."""

CONTEXT: Final = 2**30
"""Bytes of a GPU that this process may hold beside torch's own allocations: the context, cuDNN, nvJPEG."""


@dataclass(slots=True)
class _Image:
    item: protocol.Item
    # Compressed; None once prepared.
    data: bytes | None
    # What the pipeline's `prepare` and `infer` returned for it.
    prepared: Any = None
    is_prepared: bool = False
    raw: Any = None
    outcome: protocol.Done | protocol.Failed | protocol.Dropped | None = None
    # Memory ran out with it: it is tried again when nothing else is at work.
    short: bool = False
    # Seconds.
    decode: float = 0.0
    infer: float = 0.0


@dataclass(slots=True)
class _Batch:
    number: int
    batch_group: int
    images: list[_Image]
    preparing: list[Future[None]] = field(default_factory=list)
    # Seconds that the device waited for its images.
    starved: float = 0.0


class DeviceProcess:
    """The child's side of the socket, and its threads."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._batches: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        self._to_load: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._device_lock = threading.Lock()
        self._forgotten: set[int] = set()
        self._at_work = _AtWork()

    def run(self) -> None:
        """Serve until the parent closes the socket."""
        start = self._receive()
        if not isinstance(start, protocol.Start):
            raise errors.InternalError("the parent did not begin with Start")
        given: settings.Settings = pickle.loads(start.settings)  # noqa: S301  our own parent wrote it
        settings.give(given)
        self._log_to_parent()
        try:
            device, description = resolve_device(start.device)
        except errors.InternalError as error:
            self.complain(str(error))
            os._exit(protocol.LOST_DEVICE)
        threads = given.worker_threads or kernel.usable_cpus()
        self._models = Models(settings=given, device=device, device_lock=self._device_lock)
        self._on_cpu = device == "cpu"
        self._threads = threads
        self._prepare_threads = max(2, threads)
        self._preparers = ThreadPoolExecutor(self._prepare_threads, thread_name_prefix="prepare")
        self._finishers = ThreadPoolExecutor(2, thread_name_prefix="finish")
        self._send(protocol.Ready(device, description))
        threading.Thread(target=self._infer_forever, name="infer", daemon=True).start()
        threading.Thread(target=self._load_forever, name="load", daemon=True).start()
        while (message := self._receive()) is not None:
            match message:
                case protocol.Load(batch_group=batch_group, slug=slug, config=config, digest=digest, source=source):
                    self._models.know(batch_group, slug, config, digest, source)
                    self._to_load.put(batch_group)
                case protocol.Run():
                    self._accept(message)
                case protocol.Forget(numbers=numbers):
                    self._forgotten.update(numbers)
                case protocol.Start():
                    raise errors.InternalError("the parent said Start twice")

    # The socket.

    def complain(self, reason: str) -> None:
        """Tell the parent why this process ends."""
        self._send(protocol.Said(logging.ERROR, logger.name, reason))

    def _receive(self) -> protocol.ToChild | None:
        head = self._channel.recv(protocol.LENGTH.size, socket.MSG_WAITALL)
        if len(head) < protocol.LENGTH.size:
            return None
        message: protocol.ToChild = protocol.to_child.decode(self._receive_bytes(protocol.LENGTH.unpack(head)[0]))
        return message

    def _receive_bytes(self, size: int) -> bytes:
        data = self._channel.recv(size, socket.MSG_WAITALL) if size else b""
        while len(data) < size:
            # A signal may cut MSG_WAITALL short.
            more = self._channel.recv(size - len(data), socket.MSG_WAITALL)
            if not more:
                raise EOFError
            data += more
        return data

    def _send(self, message: protocol.FromChild) -> None:
        frame = protocol.frame(message)
        with self._sending:
            self._channel.sendall(frame)

    def _log_to_parent(self) -> None:
        logging.captureWarnings(True)
        root = logging.getLogger()
        root.handlers = [_ToParent(self._send)]
        root.setLevel(logging.WARNING)
        logging.getLogger("antenna_orchestration").setLevel(logging.INFO)

    # Preparing.

    def _accept(self, run: protocol.Run) -> None:
        """Read the images of a batch, begin to prepare them, and queue the batch for the device."""
        images = [_Image(item, self._receive_bytes(item.size)) for item in run.items]
        batch = _Batch(run.batch, run.batch_group, images)
        self._begin_to_prepare(batch)
        self._batches.put(batch)

    def _begin_to_prepare(self, batch: _Batch) -> None:
        """Prepare while other batches are inferred; if the pipeline is not loaded, the infer thread loads it first."""
        model = self._models.peek(batch.batch_group)
        if model is None or batch.preparing:
            return
        waiting = deque(batch.images)
        progress = _Progress(self._send, batch.number)
        work, threads = self._prepare, self._prepare_threads
        if self._takes_whole_images(model):
            work, threads = self._process_whole, self._threads
        batch.preparing = [
            self._preparers.submit(work, model, waiting, progress) for _ in range(min(len(batch.images), threads))
        ]

    def _takes_whole_images(self, model: Model) -> bool:
        return self._on_cpu and model.pipeline.infers_side_by_side

    def _prepare(self, model: Model, waiting: deque[_Image], progress: _Progress) -> None:
        """Prepare images of one batch until none is left; several threads share `waiting`."""
        self._prepare_each(model, waiting, progress, _prepare_one)

    def _process_whole(self, model: Model, waiting: deque[_Image], progress: _Progress) -> None:
        """Take images of one batch through all of the pipeline until none is left; several threads share `waiting`."""
        _use_threads_of_torch(1)
        self._prepare_each(model, waiting, progress, _process_one)

    def _prepare_each(
        self,
        model: Model,
        waiting: deque[_Image],
        progress: _Progress,
        work: Callable[[Model, _Image], None],
    ) -> None:
        while True:
            try:
                image = waiting.popleft()
            except IndexError:
                return
            if image.item.number in self._forgotten:
                image.outcome = protocol.Dropped(image.item.number)
                continue
            with self._at_work.beside_others():
                try:
                    work(model, image)
                except BaseException as error:
                    self._note(image, error)
            progress.tick()

    # The device.

    def _load_forever(self) -> None:
        with _no_further():
            while True:
                self._load(self._to_load.get())

    def _infer_forever(self) -> None:
        with _no_further():
            while True:
                self._infer_batch(self._batches.get())

    def _load(self, batch_group: int) -> Model | None:
        started = time.monotonic()
        over = threading.Event()
        threading.Thread(target=self._tell_of_waiting, args=(over,), name="waiting", daemon=True).start()
        try:
            model = self._models.get(batch_group)
            engine = str(model.pipeline.engine)[:MOST_OF_ENGINE]
        except BaseException as error:
            fault = device_errors.fault_of(error)
            if fault is Fault.LOST:
                end_lost(error)
            reason, trace = told_errors.in_a_line(error), told_errors.trace(error)
            self._send(protocol.LoadFailed(batch_group, reason, trace, fault is Fault.MEMORY))
            return None
        finally:
            over.set()
        self._send(protocol.Loaded(batch_group, time.monotonic() - started, self._models.take_evicted(), engine))
        return model

    def _tell_of_waiting(self, over: threading.Event) -> None:
        """While a pipeline is being loaded: say that it downloads weights or imports a library such as PyTorch."""
        latest = time.monotonic() + runtimes.IMPORT_LIMIT
        while not over.wait(WAITING_EVERY):
            if weights.is_downloading() or (runtimes.is_importing() and time.monotonic() < latest):
                self._send(protocol.Waiting())

    def _infer_batch(self, batch: _Batch) -> None:
        model = self._models.peek(batch.batch_group) or self._load(batch.batch_group)
        if model is None:
            numbers = [image.item.number for image in batch.images]
            self._forgotten.difference_update(numbers)
            self._send(protocol.Report(batch.number, [protocol.Dropped(number) for number in numbers]))
            return
        self._models.touch(batch.batch_group)
        self._begin_to_prepare(batch)
        waiting_since = time.monotonic()
        if whole := self._takes_whole_images(model):
            # The parent sends the next batch now, and the threads go on to it without a gap.
            self._send(protocol.Moved(batch.number, inferring=True))
        for future in batch.preparing:
            future.result()
        if not whole:
            batch.starved = time.monotonic() - waiting_since
            for image in batch.images:
                if image.outcome is None and image.item.number in self._forgotten:
                    image.outcome = protocol.Dropped(image.item.number)
            self._send(protocol.Moved(batch.number, inferring=True))
        _use_threads_of_torch(self._threads)
        with self._device_lock:
            self._infer(model, batch, [image for image in batch.images if image.outcome is None and not image.short])
            for image in batch.images:
                if image.outcome is None and image.short:
                    self._infer_short(model, batch, image)
        self._finishers.submit(self._finish, model, batch)

    def _infer_short(self, model: Model, batch: _Batch, image: _Image) -> None:
        """Take an image for which memory ran out while others were at work through all of the pipeline, alone."""
        logger.info("image %d is tried alone: memory ran out with it beside others", image.item.image)
        with self._at_work.alone():
            device_errors.free_cached_memory()
            try:
                if not image.is_prepared:
                    _prepare_one(model, image)
            except BaseException as error:
                self._note(image, error)
            else:
                self._infer(model, batch, [image])
            if image.outcome is None:
                self._finish_one(model, image)
        self._send(protocol.Moved(batch.number))

    def _note(self, image: _Image, error: BaseException) -> None:
        """An error met with this image alone: its failure, or, once, lack of memory that others may have caused."""
        fault = device_errors.fault_of(error)
        if fault is Fault.LOST:
            end_lost(error)
        if fault is Fault.MEMORY:
            device_errors.free_after(error)
            if not image.short:
                image.short = True
                return
            shared = _is_shared(self._models.device)
            reason = "does not fit into the device's memory" + (" beside what others hold of it" if shared else "")
            image.outcome = protocol.Failed(
                image.item.number, reason, retryable=True, out_of_memory=True, shared=shared
            )
            return
        image.outcome = _failed(image, error)

    def _infer(self, model: Model, batch: _Batch, images: list[_Image]) -> None:
        """Infer as many at once as the device holds; afterwards each image has its raw result or its outcome."""
        parts = deque([images] if images else [])
        while parts:
            part = parts.popleft()
            limit = model.at_once.limit
            if limit is not None and len(part) > limit:
                parts.appendleft(part[limit:])
                part = part[:limit]
            started = time.monotonic()
            try:
                results = _inferred(model, part)
            except BaseException as error:
                parts.extendleft(reversed(self._split(model, part, error)))
            else:
                model.at_once.fitted(len(part))
                for image, raw in zip(part, results, strict=True):
                    image.raw = raw
                    image.infer = (time.monotonic() - started) / len(part)
            if parts:
                self._send(protocol.Moved(batch.number))

    def _split(self, model: Model, part: list[_Image], error: BaseException) -> list[list[_Image]]:
        """Split a failed part of a batch to infer it again: in halves when memory ran out, else into single images."""
        if len(part) == 1:
            self._note(part[0], error)
            return []
        fault = device_errors.fault_of(error)
        if fault is Fault.LOST:
            end_lost(error)
        if fault is not Fault.MEMORY:
            return [[image] for image in part]
        device_errors.free_after(error)
        half = model.at_once.ran_out(len(part))
        slug = model.pipeline.spec.slug
        logger.warning("pipeline %s: %d images do not fit into memory, %d at once for now", slug, len(part), half)
        return [part[:half], part[half:]]

    # Finishing.

    def _finish(self, model: Model, batch: _Batch) -> None:
        with _no_further():
            for image in batch.images:
                if image.outcome is None:
                    self._finish_one(model, image)
                if image.outcome is None:
                    with self._device_lock, self._at_work.alone():
                        self._finish_one(model, image)
                image.data = image.prepared = image.raw = None
            self._forgotten.difference_update(image.item.number for image in batch.images)
            outcomes = [image.outcome for image in batch.images if image.outcome is not None]
            self._send(protocol.Report(batch.number, outcomes, model.at_once.limit, batch.starved))

    def _finish_one(self, model: Model, image: _Image) -> None:
        """Finish an image: it has no outcome afterwards if memory ran out for the first time."""
        try:
            image.outcome = _finished(model, image)
        except BaseException as error:
            self._note(image, error)


def _prepare_one(model: Model, image: _Image) -> None:
    """Prepare an image, and drop its compressed bytes. Raises whatever the pipeline raises."""
    item, started = image.item, time.monotonic()
    raw = RawImage(
        image=item.image,
        uri=item.uri,
        data=image.data or b"",
        captured_at=item.captured_at,
        deployment=item.deployment,
        detections=item.detections,
    )
    try:
        image.prepared = model.pipeline.prepare(raw)
    finally:
        image.decode = time.monotonic() - started
    image.data, image.is_prepared = None, True


def _process_one(model: Model, image: _Image) -> None:
    """Prepare, infer and finish an image. Raises whatever the pipeline raises."""
    _prepare_one(model, image)
    started = time.monotonic()
    [image.raw] = _inferred(model, [image])
    image.infer = time.monotonic() - started
    image.outcome = _finished(model, image)
    # Others of its batch are still at work.
    image.prepared = image.raw = None


def _inferred(model: Model, images: Sequence[_Image]) -> Sequence[Any]:
    """The raw results of prepared images, one each. Raises whatever the pipeline raises."""
    results = model.pipeline.infer([image.prepared for image in images])
    if len(results) != len(images):
        raise errors.InternalError(f"the pipeline gave {len(results)} results for {len(images)} images")
    return results


def _use_threads_of_torch(count: int) -> None:
    """Have torch use so many threads for what this thread asks of it: whole images side by side need one each.

    What the variable OMP_NUM_THREADS says is the most.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    count = min(count, int(said)) if said.isdecimal() and int(said) else count
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def _finished(model: Model, image: _Image) -> protocol.Done:
    """What was found in an inferred image. Raises whatever the pipeline raises, and what `outcomes.checked` does."""
    started = time.monotonic()
    said = model.pipeline.finish(image.prepared, image.raw)
    result = outcomes.checked(said, model.declared, given=image.item.detections)
    detections = msgspec.Raw(protocol.encoder.encode(result.detections))
    timings = {"decode": image.decode, "infer": image.infer, "finish": time.monotonic() - started}
    return protocol.Done(
        image.item.number,
        result.width,
        result.height,
        detections,
        timings,
        labels=list(result.labels) or msgspec.UNSET,
        attributes=dict(result.attributes) or msgspec.UNSET,
    )


def _failed(image: _Image, error: BaseException) -> protocol.Failed:
    """The report on an image that failed alone: retryable unless the image itself is unusable."""
    if isinstance(error, errors.ImageUnusable):
        return protocol.Failed(image.item.number, str(error), retryable=False)
    logger.warning("image %d failed: %s", image.item.image, told_errors.in_a_line(error), exc_info=error)
    return protocol.Failed(
        image.item.number, f"the pipeline failed on it: {told_errors.in_a_line(error)}", retryable=True
    )


def end_lost(error: BaseException) -> NoReturn:
    """End this process, whose device is unusable from here on, as after an illegal memory access."""
    try:
        logger.error("the device is lost: %s", told_errors.in_a_line(error))
    finally:
        os._exit(protocol.LOST_DEVICE)


@contextlib.contextmanager
def _no_further(status: int = protocol.LOST_DEVICE) -> Iterator[None]:
    """End this process after an error of neither a pipeline nor an image: it can no longer be relied on."""
    try:
        yield
    except BaseException as error:
        if device_errors.is_out_of_memory(error):
            status = protocol.SHORT_OF_MEMORY
        try:
            logger.error("the device process stops: %s", told_errors.in_a_line(error), exc_info=error)
        finally:
            os._exit(status)


def _is_shared(device: str) -> bool:
    """Whether other processes hold memory of the device. On the CPU nobody knows: all of them share this machine's."""
    torch = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None:
        return False
    free, total = torch.cuda.mem_get_info(device)
    return bool(total - free - torch.cuda.memory_reserved(device) > CONTEXT)


class _AtWork:
    """The images that are at work on the threads beside the one that infers, or none of them while one is alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._is_alone = False

    @contextlib.contextmanager
    def beside_others(self) -> Iterator[None]:
        """Be one of them; waits until nobody is alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone)
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until none is at work, and let none begin. One caller at a time, which holds the device's lock."""
        with self._changed:
            self._is_alone = True
            self._changed.wait_for(lambda: not self._count)
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()


class _Progress:
    """Sends `Moved` for a batch that is being prepared, at most once in `MOVED_EVERY` seconds."""

    def __init__(self, send: Callable[[protocol.FromChild], None], batch: int) -> None:
        self._send = send
        self._batch = batch
        self._said_at = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._said_at >= MOVED_EVERY:
            self._said_at = now
            self._send(protocol.Moved(self._batch))


class _ToParent(logging.Handler):
    """Sends log records to the parent, which knows where logs go."""

    def __init__(self, send: Callable[[protocol.FromChild], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self._send(protocol.Said(record.levelno, record.name, self.format(record)))


def resolve_device(wanted: str) -> tuple[str, str]:
    """The device's full name, and a description for people. Torch is imported only where there is a GPU.

    `auto` is the first GPU that torch can use, else the CPU. Raises `InternalError` for a GPU that does not exist.
    """
    if wanted == "cpu" or (wanted == "auto" and not _has_card()):
        return "cpu", f"{kernel.usable_cpus()} CPUs"
    import torch

    usable = torch.cuda.is_available()
    if usable and wanted == "auto" and (why := _refusal("cuda:0")):
        logger.warning("there is a GPU, but %s: working on the CPU", why)
        return "cpu", f"{kernel.usable_cpus()} CPUs"
    if not usable:
        if wanted == "auto":
            logger.warning("there is a GPU, but this installation of torch cannot use it: working on the CPU")
            return "cpu", f"{kernel.usable_cpus()} CPUs"
        raise errors.InternalError(f"device {wanted}: torch {torch.__version__} sees no GPU here")
    index = int(wanted.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise errors.InternalError(f"device {wanted}: there are {torch.cuda.device_count()} GPUs here")
    if why := _refusal(f"cuda:{index}"):
        raise errors.InternalError(f"device {wanted}: {why}")
    return f"cuda:{index}", torch.cuda.get_device_name(index)


def _refusal(device: str) -> str:
    """Why torch has no code for this GPU; empty if it has. Anything else that is wrong with it is raised."""
    import torch

    try:
        torch.zeros(1, device=device).add_(1).item()
    except RuntimeError as error:
        if device_errors.fault_of(error) is not Fault.PIPELINE:
            raise errors.InternalError(f"device {device}: {told_errors.in_a_line(error)}") from error
        return f"torch {torch.__version__} has no code for it ({told_errors.in_a_line(error)})"
    return ""


def _has_card() -> bool:
    """Ask the driver itself, which takes milliseconds; importing torch takes seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    status, count = driver.cuInit(0), ctypes.c_int(0)
    if status not in (0, *_NO_CARD) and any(Path("/dev").glob("nvidia[0-9]*")):
        raise errors.InternalError(
            f"there is a GPU, but its driver does not start (CUDA error {status}): see nvidia-smi; "
            "--device cpu (ANTENNA_DEVICE=cpu) works without the GPU"
        )
    return bool(status == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0)


def serve(channel: socket.socket, parent: int) -> NoReturn:
    """Be a device process, until its worker closes the socket. `parent` is the process that this one ends with."""
    # While a thread holds the GIL nobody notices the socket's end, so the kernel kills this process with its parent.
    kernel.die_with_parent(parent)
    # Programs that a pipeline starts are not to keep it open.
    channel.set_inheritable(False)
    # The worker has the leases, so when memory is short this process is to be killed first.
    kernel.be_the_first_to_die()
    # Ctrl-C and a batch system's SIGTERM reach the whole process group; the worker decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    process = DeviceProcess(channel)
    # Each way ends without waiting for threads, which may hang.
    with _no_further(1):
        try:
            process.run()
        except errors.AntennaError as error:
            process.complain(str(error))
            os._exit(1)
        except (EOFError, ConnectionError):
            # The worker is gone.
            os._exit(0)
    os._exit(0)


def main() -> None:
    """Serve the worker that started this. Arguments: the socket's file descriptor, the worker's process id."""
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))


if __name__ == "__main__":
    main()
