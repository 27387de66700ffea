"""A pipeline that says what no photograph can show, image by image: put this file on `pipeline_paths`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

FINDER: Final = AlgorithmSpec(key="lying", version="1", name="Lying", task="localization")
NAMER: Final = AlgorithmSpec(
    key="lying_names", version="1", name="Names", task="classification", labels=("moth", "fly")
)

LYING: Final = PipelineSpec(
    slug="lying",
    name="Lying",
    version="1",
    description="Says what cannot be.",
    algorithms=(FINDER, NAMER),
    factory=f"{__name__}:LyingPipeline",
)

PIPELINES = [LYING]

SAID: Final[Sequence[tuple[Mapping[str, Any], Mapping[str, Any], str]]] = (
    # What it changes of the detection and of the classification, and how the image fails; first those that do not.
    ({}, {}, ""),
    ({"score": np.float32(0.5), "box": np.array([-1, 2, 3, 900], np.float32)}, {"label": np.str_("fly")}, ""),
    ({"score": float("nan")}, {}, "detections[0].score is nan, not a probability in [0, 1]"),
    ({"score": 2.5}, {}, "detections[0].score is 2.5, not a probability in [0, 1]: a logit becomes"),
    ({}, {"label": "wasp"}, "detections[0].classifications[0].label is undeclared: label 'wasp' is not among"),
    ({}, {"label": 1}, "detections[0].classifications[0].label is 1 (int), not a text: name it, labels[1] is 'fly'"),
    ({"algorithm": AlgorithmRef("lying", "2")}, {}, "detections[0].algorithm is undeclared: algorithm lying 2 is none"),
    ({}, {"top_labels": ["moth", "fly"], "top_scores": [0.1, 0.8]}, "top_scores are not descending: 0.1 comes before"),
    (
        {"box": (900.0, 2.0, 950.0, 4.0)},
        {},
        "detections[0].box is (900, 2, 950, 4), outside the photograph of 400 x 300",
    ),
    ({"box": (0.25, 0.25, 0.5, 0.5)}, {}, "detections[0].box is (0.25, 0.25, 0.5, 0.5) in a photograph of 400 x 300"),
)


class LyingPipeline(Pipeline[int, int]):
    """Says of the n-th image what `SAID` has in the n-th place; ids count from 1."""

    def prepare(self, image: RawImage) -> int:
        return image.image - 1

    def infer(self, batch: Sequence[int]) -> Sequence[int]:
        return batch

    def finish(self, prepared: int, raw: int) -> ImageResult:
        of_box, of_label, _ = SAID[raw]
        said = Classification(**{"algorithm": NAMER.ref, "label": "moth", "score": 0.8, **of_label})
        box = {"box": (1.0, 2.0, 30.0, 40.0), "score": 0.9, "algorithm": FINDER.ref, "classifications": [said]}
        return ImageResult(width=400, height=300, detections=[Detection(**{**box, **of_box})])
