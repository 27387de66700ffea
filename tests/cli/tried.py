"""A pipeline to be tried: it does to each photograph what the photograph's name says. Its weights lie beside it."""

from __future__ import annotations

import ctypes
import importlib
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from antenna_orchestration.domain.messages import Classification, Detection
from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

FINDER = AlgorithmSpec(key="tried", version="1", name="Tried", task="localization")
NAMER = AlgorithmSpec(key="tried_names", version="1", name="Names", task="classification", labels=("moth", "fly"))

PIPELINES = [
    PipelineSpec(
        slug="tried",
        name="Tried",
        version="3",
        description="Does as the photograph's name says.",
        algorithms=(FINDER, NAMER),
        factory=f"{__name__}:Tried",
        default_config={"load": ""},
        batch_size=8,
    )
]


class Tried(Pipeline[Any, Any]):
    """What it takes and gives are the image's name and size."""

    def load(self, device: str) -> None:
        if self.config["load"] == "weights":
            np.load(Path(__file__).with_name("weights.npy"))
            if (package := Path(__file__).with_name("tried_notes")).is_dir():
                importlib.import_module("tried_notes")
                (package / "log.txt").write_text("loaded")
        elif self.config["load"] == "mismatch":
            raise RuntimeError(
                "Error(s) in loading state_dict for ResNet:\n\tsize mismatch for fc.weight: copying a param with shape "
                "torch.Size([7, 512]) from checkpoint, the shape in current model is torch.Size([1000, 512])."
            )
        elif self.config["load"] == "exit":
            sys.exit(3)
        elif self.config["load"] == "hang":
            threading.Event().wait()

    def prepare(self, image: RawImage) -> Any:
        name = Path(image.uri).stem
        print("seen", name)
        decoded = images.decode(image.data)
        if name == "raises":
            raise KeyError("no such thing")
        return name, decoded.width, decoded.height

    def infer(self, batch: Sequence[Any]) -> Sequence[Any]:
        if any(name == "alone" for name, _, _ in batch) and len(batch) > 1:
            raise RuntimeError("Guard failed: x.size()[0] == 1")
        if any(name == "crashes" for name, _, _ in batch):
            ctypes.string_at(0)
        return batch

    def finish(self, prepared: Any, raw: Any) -> ImageResult:
        name, width, height = prepared
        score = float("nan") if name == "nan" else np.float32(0.5)
        said = Classification(algorithm=NAMER.ref, label="moth", score=0.75)
        whole = [Classification(algorithm=NAMER.ref, label="fly", score=0.25)] if name == "whole" else []
        found = Detection(box=(1, 2, width - 1, 20), score=score, algorithm=FINDER.ref, classifications=[said])
        return ImageResult(width=width, height=height, detections=[found], labels=whole)
