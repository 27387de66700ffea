"""Five own pipelines that misbehave, each in a file of its own, and what people should read of each.

Each imports torch when it is loaded, as a real one does: so that starting its process again costs what it costs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CODE: Final = """
import ctypes
import threading

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec

FINDER = AlgorithmSpec(key="SLUG_finder", version="1", name="Finder", task="localization")
PIPELINES = [PipelineSpec(slug="SLUG", name="SLUG", version="1", description="", factory=f"{__name__}:Bad",
                          algorithms=(FINDER,), batch_size=4)]
SCORE = 0.5
leaked = []


class Bad(Pipeline):
    def load(self, device):
        import torch
        LOAD

    def prepare(self, image):
        return image.image

    def infer(self, batch):
        INFER
        return batch

    def finish(self, prepared, raw):
        found = Detection(box=(1.0, 2.0, 9.0, 8.0), score=SCORE, algorithm=FINDER.ref)
        return ImageResult(width=64, height=48, detections=[found])
"""


@dataclass(frozen=True, kw_only=True)
class BadPipeline:
    """One of them."""

    slug: str
    # What it does when it is loaded, and for each batch.
    load: str = "pass"
    infer: str = "pass"
    score: str = "0.5"

    def write(self, folder: Path) -> None:
        """Write its file."""
        code = _CODE.replace("SCORE = 0.5", f"SCORE = {self.score}")
        for mark, value in (("SLUG", self.slug), ("LOAD", self.load), ("INFER", self.infer)):
            code = code.replace(mark, value)
        (folder / f"{self.slug}.py").write_text(code)


BROKEN: Final = BadPipeline(slug="bad_broken", load="import a_package_that_is_not_installed")
HANGING: Final = BadPipeline(slug="bad_hanging", infer="threading.Event().wait()")
CRASHING: Final = BadPipeline(slug="bad_crashing", infer="ctypes.string_at(0)")
LEAKING: Final = BadPipeline(slug="bad_leaking", infer='leaked.append(bytearray(b"x" * 50 * 2**20 * len(batch)))')
LYING: Final = BadPipeline(slug="bad_lying", score='float("nan")')

ALL: Final = (BROKEN, HANGING, CRASHING, LEAKING, LYING)
