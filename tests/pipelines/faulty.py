"""Pipelines that misbehave, for the tests of whoever runs pipelines: put this file on `pipeline_paths`.

`faulty` does what its job's configuration says, once it meets the image `on_image` (in `infer`, or in the stage named
by `stage`); other images give one detection. Nothing of this is shipped.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Final

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

FAULTS: Final = ("none", "raise", "hang", "segfault", "hold_gil", "kill", "exit", "memory", "kill_parent")

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
        # The image that triggers it; -1: every image.
        "on_image": -1,
        # Rather than an id, what the URI of the image ends with; for `prepare`.
        "on_uri": "",
        # `load`, `prepare`, `infer` or `finish`.
        "stage": "infer",
        # How long `hold_gil` lasts; `hang` lasts for ever.
        "seconds": 1.0,
        # A fault happens only while no file of this name exists, and makes it first: so it happens once; "": always.
        "once_file": "",
        # How long each batch takes, so that the images of the next ones gather.
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
        if once := self.config["once_file"]:
            try:
                os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        misbehave(str(self.config["fault"]), float(self.config["seconds"]))


def misbehave(fault: str, seconds: float) -> None:
    """Do the fault, in this thread, now."""
    if fault == "raise":
        raise RuntimeError("the faulty pipeline raises, as its configuration asks")
    if fault == "memory":
        raise MemoryError("the faulty pipeline says that memory is out")
    if fault == "hang":
        threading.Event().wait()
    if fault == "segfault":
        ctypes.string_at(0)
    if fault == "hold_gil":
        hold_gil(seconds)
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "kill_parent":
        # The worker itself, as the kernel does when a container's memory is out.
        os.kill(os.getppid(), signal.SIGKILL)
        threading.Event().wait()
    if fault == "exit":
        os._exit(3)
    if fault != "none" and fault not in FAULTS:
        raise ValueError(f"no fault {fault!r}; there are {', '.join(FAULTS)}")


def hold_gil(seconds: float) -> None:
    """Let no other thread of this process run Python, as a C extension that never releases the lock would."""
    # PyDLL, unlike CDLL, keeps the lock during a call. Slices, because a signal ends one sleep early.
    library = ctypes.PyDLL(None)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        library.usleep(ctypes.c_uint(min(999_999, int(left * 1e6) + 1)))
