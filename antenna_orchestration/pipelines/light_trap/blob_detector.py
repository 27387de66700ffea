"""The classical pipeline at work: decode and shrink, compare with the empty sheet, judge the blobs.

Imported by device processes only. The steps themselves are in `images`, `sheets`, `blobs` and `insect_shape`; what a
job may set is in `light_trap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, RawImage
from antenna_orchestration.pipelines.light_trap import blobs, insect_shape, sheets, specs
from antenna_orchestration.pipelines.light_trap.candidates import Candidates, as_detections

WORKING_SIDE: Final = 1600
"""Photographs are shrunk to this longer side in pixels: an insect of 40 pixels at 4096 then still has 16."""

LEAST_SIZE: Final = 9.0
"""Smallest longer side in shrunk pixels: below it a blob has no shape to judge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A photograph ready to be compared."""

    # RGB, uint8, at most WORKING_SIDE on the longer side.
    pixels: NDArray[np.uint8]
    # Size of the photograph in its own pixels.
    width: int
    height: int


class LightTrapBlobs(Pipeline[Prepared, sheets.Departure]):
    """Runs on CPU whatever the device: a photograph takes a fifth of a second."""

    def prepare(self, image: RawImage) -> Prepared:
        """Raises `ImageUnusable` as `images.decode` does."""
        return self.shape(images.decode(image.data, shrink_to=WORKING_SIDE))

    def shape(self, decoded: images.DecodedImage) -> Prepared:
        """A decoded photograph, whole or reduced, as `infer` takes it."""
        return Prepared(pixels=images.shrink(decoded.pixels, WORKING_SIDE), width=decoded.width, height=decoded.height)

    def infer(self, batch: Sequence[Prepared]) -> Sequence[sheets.Departure]:
        """Compare each photograph with its own empty sheet."""
        return [sheets.compare_with_sheet(prepared.pixels) for prepared in batch]

    def candidates(self, prepared: Prepared, raw: sheets.Departure) -> Candidates:
        """All blobs that are large enough, however unlikely."""
        height, width = prepared.pixels.shape[:2]
        scale = np.array([prepared.width / width, prepared.height / height] * 2)
        least = specs.least_size(self.config, prepared.width, prepared.height)
        found = blobs.find_blobs(raw, max(LEAST_SIZE, least / float(scale.max())))
        return Candidates(
            boxes=np.array([blob.box for blob in found], float).reshape(-1, 4) * scale,
            scores=insect_shape.insect_probability(found),
            moths=insect_shape.moth_probability(found),
        )

    def finish(self, prepared: Prepared, raw: sheets.Departure) -> ImageResult:
        """Detections, most certain first."""
        detections = as_detections(
            self.candidates(prepared, raw),
            specs.BLOBS,
            specs.SHAPE,
            min_score=self.config["min_score"],
            min_size=specs.least_size(self.config, prepared.width, prepared.height),
        )
        return ImageResult(width=prepared.width, height=prepared.height, detections=detections)

    def example(self) -> RawImage:
        """An even grey sheet."""
        return RawImage(image=0, uri="example.jpg", data=images.grey_sheet())
