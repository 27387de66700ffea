"""A pipeline whose `infer` may be called on several threads at once, and which counts on it."""

from __future__ import annotations

import threading
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
        default_config={"meet": 0, "raises": -1, "short": -1},
    )
]
PATIENCE = 30.0


class SideBySide(Pipeline[int, str]):
    """Image `raises` fails, image `short` is once short of memory, and the first `meet` images wait for each other."""

    infers_side_by_side: ClassVar[bool] = True

    def load(self, device: str) -> None:
        self._met = threading.Barrier(max(1, self.config["meet"]))
        self._refused = False

    def prepare(self, image: RawImage) -> int:
        return image.image

    def infer(self, batch: Sequence[int]) -> Sequence[str]:
        [image] = batch
        if image == self.config["raises"]:
            raise ValueError("this one is bad")
        if image == self.config["short"] and not self._refused:
            self._refused = True
            raise MemoryError
        if self.config["meet"] and image < self.config["meet"]:
            self._met.wait(PATIENCE)
        return [threading.current_thread().name]

    def finish(self, prepared: int, raw: str) -> ImageResult:
        found = Detection(box=(1.0, 2.0, 9.0, 8.0), score=0.5, algorithm=FINDER.ref)
        return ImageResult(width=64, height=48, detections=[found], attributes={"thread": raw})
