"""A pipeline that misbehaves, for tests of the code that runs pipelines: put this file on `pipeline_paths`.

`faulty` has the fault that the job's configuration names when it gets the image `on_image`, in the method `stage`. For
other images it returns one detection. It is not part of the package.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

FAULTS: Final = (
    "none", "raise", "quit", "hang", "wait", "segfault", "hold_gil", "kill", "exit", "memory", "leak", "kill_parent",
    "import", "orphan",
)  # fmt: skip

_leaked: list[bytearray] = []

FAULTY = PipelineSpec(
    slug="faulty",
    name="Faulty",
    version="1",
    description="Breaks on purpose.",
    algorithms=(AlgorithmSpec(key="faulty_detector", version="1", name="Faulty detector", task="localization"),),
    factory=f"{__name__}:FaultyPipeline",
    default_config={
        # One of FAULTS.
        "fault": "none",
        # Id of the image that triggers the fault; -1 for every image.
        "on_image": -1,
        # For `prepare`, instead of an id: how the URI of the image ends.
        "on_uri": "",
        # `load`, `prepare`, `infer` or `finish`.
        "stage": "infer",
        # How long `hold_gil` and `wait` last; `hang` never ends.
        "seconds": 1.0,
        # The fault creates this file and happens only if it does not exist yet, so it happens once. "": every time.
        "once_file": "",
        # The fault happens only while this file exists; "": always.
        "while_file": "",
        # What `raise` says; "": what size does not fit.
        "text": "",
        # How long each batch takes, so that images for the next batches accumulate.
        "delay_ms": 0,
    },
    batch_size=4,
)

PIPELINES = [FAULTY]


class FaultyPipeline(Pipeline[int, int]):
    """Passes image ids through its stages."""

    def load(self, device: str) -> None:
        self._maybe("load", None)

    def prepare(self, image: RawImage) -> int:
        named = self.config["on_uri"]
        if not named or image.uri.endswith(named):
            self._maybe("prepare", image.image)
        return image.image

    def infer(self, batch: Sequence[int]) -> Sequence[int]:
        time.sleep(self.config["delay_ms"] / 1000)
        for image in batch:
            self._maybe("infer", image)
        return batch

    def finish(self, prepared: int, raw: int) -> ImageResult:
        self._maybe("finish", prepared)
        box = Detection(box=(1.0, 2.0, 3.0, 4.0), score=0.9, algorithm=self.spec.algorithms[0].ref)
        return ImageResult(width=8, height=8, detections=[box])

    def _maybe(self, stage: str, image: int | None) -> None:
        wanted = int(self.config["on_image"])
        if stage != self.config["stage"] or (image is not None and wanted not in (-1, image)):
            return
        if (needed := self.config["while_file"]) and not os.path.exists(needed):
            return
        if once := self.config["once_file"]:
            try:
                os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        if self.config["fault"] == "raise" and (text := self.config["text"]):
            raise RuntimeError(text)
        misbehave(str(self.config["fault"]), float(self.config["seconds"]))


def misbehave(fault: str, seconds: float) -> None:
    """Cause the fault, now and on this thread."""
    if fault == "raise":
        raise RuntimeError("the faulty pipeline raises, as its configuration asks:\n\tsize mismatch for fc.weight")
    if fault == "memory":
        raise MemoryError("the faulty pipeline says that memory is out")
    if fault == "quit":
        raise SystemExit(3)
    if fault == "wait":
        time.sleep(seconds)
    if fault == "import":
        import_module("tensorflow")
    if fault == "leak":
        # Written to, or the kernel would only promise the memory.
        _leaked.append(bytearray(b"x" * 20 * 2**20))
    if fault == "hang":
        threading.Event().wait()
    if fault == "segfault":
        ctypes.string_at(0)
    if fault == "hold_gil":
        hold_gil(seconds)
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "kill_parent":
        # Kills the worker itself, as the kernel does when a container runs out of memory.
        os.kill(os.getppid(), signal.SIGKILL)
        threading.Event().wait()
    if fault == "exit":
        os._exit(3)
    if fault == "orphan":
        # Another process of the pipeline has all that is open, and outlives this one.
        if os.fork() == 0:
            # It does nothing but to be there for so long.
            time.sleep(seconds)
            os._exit(0)
        os._exit(3)
    if fault != "none" and fault not in FAULTS:
        raise ValueError(f"no fault {fault!r}; there are {', '.join(FAULTS)}")


def hold_gil(seconds: float) -> None:
    """Keep other threads of this process from running Python, like a C extension that does not release the GIL."""
    # PyDLL, unlike CDLL, holds the GIL during a call. A signal ends a sleep early, so it sleeps in slices.
    library = ctypes.PyDLL(None)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        library.usleep(ctypes.c_uint(min(999_999, int(left * 1e6) + 1)))
