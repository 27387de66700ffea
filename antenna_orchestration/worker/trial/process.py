"""The trial's process: loads one pipeline and runs batches through it, as a device process does, and tells all.

Everything runs on one thread, stage by stage, so that times are those of the pipeline alone and a trace shows it alone.
Whether stages may overlap is for the test kit to find out (`antenna_orchestration.testing`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import logging
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple

import psutil

from antenna_orchestration import errors, kernel, settings
from antenna_orchestration.domain import told_errors
from antenna_orchestration.pipelines import device_errors, interface, outcomes, registry, runtimes
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, RawImage
from antenna_orchestration.worker.device.process import resolve_device
from antenna_orchestration.worker.trial import messages
from antenna_orchestration.worker.trial.messages import Began, Ended, Loaded, Note, Photograph, Refused, Tried
from antenna_orchestration.worker.trial.opened import Opened

_OWN = str(Path(__file__).parents[2])
"""Our own code, which a trace need not show before it reaches the pipeline's."""

_LOOK_EVERY: Final = 0.1
"""Seconds between two looks at what is being imported: a small part of any limit."""


class _Failure(NamedTuple):
    """In which step a photograph failed, and the cause."""

    step: str
    error: BaseException


class _TrialProcess:
    """One trial; `send` takes what it has to say."""

    def __init__(self, order: messages.Order, send: Callable[[messages.FromTrial], None]) -> None:
        self._order = order
        self._send = send
        # Of the batch in hand, by photograph.
        self._seconds: dict[int, dict[str, float]] = {}
        self._failures: dict[int, _Failure] = {}

    def load(self) -> bool:
        """Import, build and load the pipeline as a worker does; whether it is loaded."""
        order, seconds = self._order, dict[str, float]()
        step = "device"
        try:
            # The description's: the code itself is imported below, and watched from here on.
            self._spec = registry.get(order.slug)
            self._opened = Opened(self._spec)
            device, name = resolve_device(order.device)
            before = _memory(device)
            step = "import"
            with self._timed_without_imports(step, seconds):
                self._spec = registry.imported(order.slug)
                pipeline = interface.build(self._spec, order.config, top_k=settings.get().top_k)
            step = "load"
            with self._timed_without_imports(step, seconds):
                pipeline.load(device)
            step = "warm-up"
            if (example := pipeline.example()) is not None:
                with self._timed_without_imports(step, seconds):
                    prepared = pipeline.prepare(example)
                    [raw] = _inferred(pipeline, [prepared])
                    pipeline.finish(prepared, raw)
        # SystemExit and KeyboardInterrupt are the pipeline's errors, too: nobody presses keys here.
        except BaseException as error:
            self._send(Refused(step, *self._told(error)))
            return False
        self._pipeline, self._device = pipeline, device
        self._declared = outcomes.declared_by(self._spec)
        self._send(Loaded(device, name, self._spec.batch_size, seconds, max(0, _memory(device) - before)))
        return True

    def run(self, photographs: Sequence[Photograph]) -> None:
        """Process a batch, and tell what came of each photograph, in their order."""
        self._seconds = {one.number: {} for one in photographs}
        self._failures = {}
        prepared: dict[int, Any] = {}
        for one in photographs:
            with self._step("prepare", [one.number]):
                prepared[one.number] = self._prepare(one)
        raw = self._infer(prepared)
        found: dict[int, ImageResult] = {}
        for number, result in raw.items():
            with self._step("finish", [number]):
                found[number] = outcomes.checked(self._pipeline.finish(prepared[number], result), self._declared)
        for one in photographs:
            self._send(self._tried(one.number, found.get(one.number)))

    def end(self) -> None:
        """Tell what it took in all."""
        torch = sys.modules.get("torch")
        on_gpu = torch is not None and self._device.startswith("cuda")
        peak = kernel.most_memory()
        device_peak = int(torch.cuda.max_memory_allocated(self._device)) if torch is not None and on_gpu else None
        self._send(Ended(peak, device_peak, self._opened.unnamed()))

    # The steps.

    def _prepare(self, one: Photograph) -> Any:
        return self._pipeline.prepare(
            RawImage(
                image=one.number,
                uri=one.uri,
                data=one.data,
                captured_at=one.captured_at,
                deployment=one.deployment,
            )
        )

    def _infer(self, prepared: Mapping[int, Any]) -> dict[int, Any]:
        """Infer a batch; if that fails, its photographs one by one, or half of them at once where memory ran out."""
        numbers = list(prepared)
        if not numbers:
            return {}
        with self._step("infer", numbers):
            return dict(zip(numbers, _inferred(self._pipeline, [*prepared.values()]), strict=True))
        if len(numbers) == 1:
            return {}
        error = self._failures[numbers[0]].error
        is_short = device_errors.is_out_of_memory(error)
        self._send(
            Note(
                f"infer fails with {len(numbers)} photographs at once and is tried with "
                f"{'half as many' if is_short else 'each alone'}: {told_errors.in_a_line(error)}"
            )
        )
        if is_short:
            device_errors.free_after(error)
        size = (len(numbers) + 1) // 2 if is_short else 1
        raw: dict[int, Any] = {}
        for start in range(0, len(numbers), size):
            part = numbers[start : start + size]
            for number in part:
                del self._failures[number]
            raw |= self._infer({number: prepared[number] for number in part})
        return raw

    @contextlib.contextmanager
    def _step(self, step: str, numbers: Sequence[int]) -> Iterator[None]:
        """One step of these photographs, which fail with it if it raises."""
        taken: dict[str, float] = {}
        try:
            with self._timed(step, taken, numbers):
                yield
        except BaseException as error:
            self._failures.update(dict.fromkeys(numbers, _Failure(step, error)))
        for number in numbers:
            self._seconds[number][step] = self._seconds[number].get(step, 0.0) + taken[step] / len(numbers)

    def _tried(self, number: int, result: ImageResult | None) -> Tried:
        seconds = self._seconds[number]
        if result is None:
            failure = self._failures[number]
            reason, where, trace = self._told(failure.error)
            return Tried(number, seconds, failed=failure.step, reason=reason, where=where, trace=trace)
        return Tried(
            number,
            seconds,
            width=result.width,
            height=result.height,
            detections=list(result.detections),
            labels=list(result.labels),
            attributes=dict(result.attributes),
        )

    @contextlib.contextmanager
    def _timed(self, step: str, seconds: dict[str, float], numbers: Sequence[int] = ()) -> Iterator[None]:
        """Beyond the limit the interpreter writes where all its threads are, and ends, whoever holds the GIL."""
        self._begin(step, numbers)
        started = time.monotonic()
        try:
            yield
        finally:
            seconds[step] = time.monotonic() - started
            faulthandler.cancel_dump_traceback_later()

    @contextlib.contextmanager
    def _timed_without_imports(self, step: str, seconds: dict[str, float]) -> Iterator[None]:
        """As `_timed`, and the limit begins anew while a library such as PyTorch is being imported."""
        over = threading.Event()
        watch = threading.Thread(target=self._forgive_imports, args=(step, over), name="imports", daemon=True)
        with self._timed(step, seconds):
            watch.start()
            try:
                yield
            finally:
                over.set()
                watch.join()

    def _forgive_imports(self, step: str, over: threading.Event) -> None:
        latest = time.monotonic() + runtimes.IMPORT_LIMIT
        while not over.wait(_LOOK_EVERY) and time.monotonic() < latest:
            if runtimes.is_importing():
                self._begin(step)

    def _begin(self, step: str, numbers: Sequence[int] = ()) -> None:
        """The limit counts from here, also for the parent."""
        self._send(Began(step, list(numbers)))
        faulthandler.dump_traceback_later(self._order.time_limit, exit=True)

    # Errors.

    def _told(self, error: BaseException) -> tuple[str, str, str]:
        """The line that helps, where in the pipeline's own code it was, and the whole trace from there."""
        theirs = _beyond_ours(error.__traceback__)
        own = getattr(getattr(self, "_spec", None), "origin", None)
        passed = [frame for frame in traceback.extract_tb(theirs) if own and frame.filename in (*own.files, own.name)]
        where = f"{passed[-1].filename}, line {passed[-1].lineno}, in {passed[-1].name}" if passed else ""
        # A photograph's own fault says all in its line, and so does a result that is refused.
        is_plain = isinstance(error, errors.ImageError) or (
            isinstance(error, errors.AntennaError) and not where and error.__cause__ is None
        )
        trace = "" if is_plain else "".join(traceback.format_exception(type(error), error, theirs))
        return told_errors.in_a_line(error), where, trace


def _inferred(pipeline: Pipeline[Any, Any], batch: list[Any]) -> list[Any]:
    results = list(pipeline.infer(batch))
    if len(results) != len(batch):
        raise errors.InternalError(f"the pipeline gave {len(results)} results for {len(batch)} images")
    return results


def _beyond_ours(trace: TracebackType | None) -> TracebackType | None:
    """The trace from the first frame that is neither ours nor the import machinery's; all of it if every frame is."""
    theirs = trace
    while theirs is not None and theirs.tb_frame.f_code.co_filename.startswith((_OWN, "<frozen ", importlib.__file__)):
        theirs = theirs.tb_next
    return theirs or trace


def _memory(device: str) -> int:
    """Bytes allocated on the GPU, or without one the resident memory of this process."""
    torch = sys.modules.get("torch")
    if device.startswith("cuda"):
        return int(torch.cuda.memory_allocated(device)) if torch is not None else 0
    return int(psutil.Process().memory_info().rss)


def _received(stream: BinaryIO) -> messages.ToTrial | None:
    head = stream.read(messages.LENGTH.size)
    if len(head) < messages.LENGTH.size:
        return None
    message: messages.ToTrial = messages.to_trial.decode(stream.read(messages.LENGTH.unpack(head)[0]))
    return message


def main() -> None:
    """Serve the parent: orders on the standard input, answers where the standard output was."""
    kernel.die_with_parent(int(sys.argv[1]))
    faulthandler.enable()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # What a pipeline prints is for people, and is not an answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    orders = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")

    def send(message: messages.FromTrial) -> None:
        answers.write(messages.frame(message))
        answers.flush()

    order = _received(orders)
    if not isinstance(order, messages.Order):
        raise errors.InternalError("the parent did not begin with an order")
    settings.give(pickle.loads(order.settings))  # noqa: S301  our own parent wrote it
    trial = _TrialProcess(order, send)
    if trial.load():
        while isinstance(batch := _received(orders), messages.Batch):
            trial.run(batch.photographs)
        trial.end()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without waiting for threads, which may hang.
    os._exit(0)


if __name__ == "__main__":
    main()
