"""A pipeline that says all there is to say of an image: put this file on `pipeline_paths`.

Each photograph has labels and attributes of its own, and two detections: one with a mask, a rotated box and attributes,
and a plain one. A photograph whose name holds `plain` has the plain one and nothing else, one with `nothing` its labels
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from antenna_orchestration.domain import masks
from antenna_orchestration.domain.messages import Classification, Detection, Mask, RotatedBox
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

OUTLINER = AlgorithmSpec(key="outliner", version="1", name="Outliner", task="localization")
SORTER = AlgorithmSpec(
    key="sorter", version="2", name="Sorter", task="classification", labels=("Noctua pronuba", "empty", "rain")
)

MORE_THAN_BOXES: Final = PipelineSpec(
    slug="more_than_boxes",
    name="More than boxes",
    version="1",
    description="Masks, rotated boxes, labels of whole photographs and attributes.",
    algorithms=(OUTLINER, SORTER),
    factory=f"{__name__}:MoreThanBoxes",
)

PIPELINES = [MORE_THAN_BOXES]

HEIGHT, WIDTH = 48, 64
BOX: Final = (8.0, 4.0, 40.0, 28.0)
PLAIN: Final = (50.0, 30.0, 60.0, 40.0)
ROTATED: Final = RotatedBox(24.0, 16.0, 28.0, 10.0, 30.0)
ATTRIBUTES: Final = {"sex": "f", "wing_length_mm": 17.5, "legs": 6, "damaged": False}
OF_IMAGE: Final = {"blur": 0.25, "lamp": "on"}


def mask() -> Mask:
    """An ellipse that fills `BOX`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    x1, y1, x2, y2 = BOX
    across, down = (2 * x - x1 - x2) / (x2 - x1), (2 * y - y1 - y2) / (y2 - y1)
    return masks.of_array(across**2 + down**2 <= 1)


def outlined() -> Detection:
    """A moth with all there is to say of it."""
    return Detection(
        box=BOX,
        score=0.75,
        algorithm=OUTLINER.ref,
        classifications=[_said("Noctua pronuba", 0.875)],
        mask=mask(),
        rotated=ROTATED,
        attributes=dict(ATTRIBUTES),
    )


def plain() -> Detection:
    """A moth of which there is nothing but its box and its label."""
    return Detection(box=PLAIN, score=0.5, algorithm=OUTLINER.ref, classifications=[_said("Noctua pronuba", 0.5)])


def labels() -> list[Classification]:
    """What a photograph as a whole shows: the first is a step before the others."""
    return [_said("empty", 0.25, terminal=False), _said("rain", 0.5), _said("Noctua pronuba", 0.75)]


def _said(label: str, score: float, *, terminal: bool = True) -> Classification:
    return Classification(
        algorithm=SORTER.ref, label=label, score=score, top_labels=[label], top_scores=[score], terminal=terminal
    )


class MoreThanBoxes(Pipeline[str, str]):
    """Passes the names of the photographs through its stages."""

    def load(self, device: str) -> None:
        """There is nothing to load."""

    def prepare(self, image: RawImage) -> str:
        return PurePosixPath(image.uri).name

    def infer(self, batch: Sequence[str]) -> Sequence[str]:
        return batch

    def finish(self, prepared: str, raw: str) -> ImageResult:
        if "plain" in raw:
            return ImageResult(width=WIDTH, height=HEIGHT, detections=[plain()])
        found = [] if "nothing" in raw else [outlined(), plain()]
        return ImageResult(width=WIDTH, height=HEIGHT, detections=found, labels=labels(), attributes=OF_IMAGE)
