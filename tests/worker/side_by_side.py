"""A pipeline whose `infer` may be called on several threads at once, and which counts on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import ClassVar

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

FINDER = AlgorithmSpec(key="finder", version="1", name="Finder", task="localization")
PIPELINES = [
    PipelineSpec(
        slug="side_by_side",
        name="Side by side",
        version="1",
        description="",
        factory=f"{__name__}:SideBySide",
        algorithms=(FINDER,),
        default_config={"meet": 0, "raises": -1, "short": -1, "short_at": "infer", "slow": 0},
    )
]
PATIENCE = 30.0


class SideBySide(Pipeline[int, str]):
    """Image `raises` fails, image `short` is once short of memory, and the first `meet` images wait for each other.

    Image `short` is short of memory in `short_at`, and later again while other images are at work, each of which takes
    `slow` milliseconds.
    """

    infers_side_by_side: ClassVar[bool] = True

    def load(self, device: str) -> None:
        self.engine = "abacus 1.2"
        self._met = threading.Barrier(max(1, self.config["meet"]))
        self._refused = False
        self._at_work = 0
        self._changing = threading.Lock()

    def prepare(self, image: RawImage) -> int:
        return image.image

    def infer(self, batch: Sequence[int]) -> Sequence[str]:
        [image] = batch
        if image == self.config["raises"]:
            raise ValueError("this one is bad")
        if image != self.config["short"]:
            self._count(1)
            # Work that takes so long, for which no fact could be waited for.
            time.sleep(self.config["slow"] / 1000)
            self._count(-1)
        else:
            self._refuse("infer")
        if self.config["meet"] and image < self.config["meet"]:
            self._met.wait(PATIENCE)
        return [threading.current_thread().name]

    def _count(self, change: int) -> None:
        with self._changing:
            self._at_work += change

    def _refuse(self, at: str) -> None:
        if at == self.config["short_at"] and (not self._refused or self._at_work):
            self._refused = True
            raise MemoryError

    def finish(self, prepared: int, raw: str) -> ImageResult:
        if prepared == self.config["short"]:
            self._refuse("finish")
        found = Detection(box=(1.0, 2.0, 9.0, 8.0), score=0.5, algorithm=FINDER.ref)
        return ImageResult(width=64, height=48, detections=[found], attributes={"thread": raw})
