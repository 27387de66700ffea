"""A pipeline of bright spots that is right, and ones that are wrong in one way each: for tests of the test kit."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from antenna_orchestration.domain.messages import Classification, Detection
from antenna_orchestration.pipelines import helpers, images
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

FINDER = AlgorithmSpec(key="spot", version="1", name="Spot", task="localization")
NAMER = AlgorithmSpec(key="tone", version="1", name="Tone", task="classification", labels=("bright", "dark"))


def spec(ways: str = "", **changes: Any) -> PipelineSpec:
    """The pipeline that is wrong in the way that a comment below names, or right."""
    values: dict[str, Any] = {
        "slug": "spots", "name": "Spots", "version": "1", "description": "One spot.", "algorithms": (FINDER, NAMER),
        "factory": f"{__name__}:Spots", "default_config": {"wrong": ways}, "batch_size": 4,
    }  # fmt: skip
    return PipelineSpec(**{**values, **changes})


class Spots(Pipeline[Any, Any]):
    """Finds the middle of a photograph, and says how bright it is."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.wrong = self.config["wrong"]
        self.calls = 0
        self.last = 0

    def load(self, device: str) -> None:
        if self.wrong == "exits":
            sys.exit(3)
        if self.wrong == "does not load":
            raise RuntimeError("the weights do not fit:\n  fc.weight is 3 x 4, and 3 x 5 is wanted")

    def prepare(self, image: RawImage) -> Any:
        if self.wrong == "takes anything":
            return np.full((8, 8, 3), 9.0), (8, 8), image.detections
        if self.wrong == "own error":
            try:
                decoded = images.decode(image.data)
            except Exception as error:
                raise ValueError("cannot read") from error
        else:
            decoded = images.decode(image.data)
        if self.wrong == "two sizes" and min(decoded.pixels.shape[:2]) == 1:
            raise ZeroDivisionError("division by zero")
        size = (decoded.width, decoded.height)
        if self.wrong == "turned" and images.orientation(image.data) == 6:
            size = (decoded.height, decoded.width)
        self.last = decoded.width * decoded.height
        if self.wrong == "shares":
            # This is the fault: state that threads share, kept long enough for another one to come between.
            time.sleep(0.01)
        return decoded.pixels.astype(float), (self.last, 1) if self.wrong == "shares" else size, image.detections

    def infer(self, batch: Sequence[Any]) -> Sequence[Any]:
        self.calls += 1
        tones = [pixels.mean() / 255 for pixels, _, _ in batch]
        if self.wrong == "one less" and len(batch) > 1:
            return tones[1:]
        if self.wrong == "batch":
            return [tone / len(batch) for tone in tones]
        if self.wrong == "order":
            return [tone * (1 - place / 10) for place, tone in enumerate(tones)]
        if self.wrong == "changes":
            for item in batch:
                np.multiply(item[0], 0.5, out=item[0])
        if self.wrong == "random":
            return [tone / self.calls for tone in tones]
        return tones

    def finish(self, prepared: Any, raw: Any) -> ImageResult:
        _, (width, height), given = prepared
        label = helpers.top_k(NAMER, [raw, 1 - raw], self.top_k)
        if self.wrong == "logits":
            label = Classification(algorithm=NAMER.ref, label="bright", score=4.5)
        boxes = [one.box for one in given or ()] if given is not None else [(0.0, 0.0, width / 2, height / 2)]
        if self.wrong == "own boxes" and given is not None:
            boxes = [(0.0, 0.0, 1.0, 1.0)]
        return ImageResult(
            width=width,
            height=height,
            detections=[Detection(box=box, score=0.5, algorithm=FINDER.ref, classifications=[label]) for box in boxes],
        )
