"""The classical pipeline at work: decode and shrink, compare with the empty sheet, judge the blobs.

Imported by device processes only. The steps themselves are in `images`, `sheets`, `blobs` and `insect_shape`; what a
job may set is in `light_trap`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from antenna_orchestration.pipelines import blobs, images, insect_shape, light_trap, sheets
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, RawImage
from antenna_orchestration.pipelines.moth_or_not import moth_or_not

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
        decoded = images.decode(image.data, shrink_to=WORKING_SIDE)
        return Prepared(pixels=images.shrink(decoded.pixels, WORKING_SIDE), width=decoded.width, height=decoded.height)

    def infer(self, batch: Sequence[Prepared]) -> Sequence[sheets.Departure]:
        """Compare each photograph with its own empty sheet."""
        return [sheets.compare_with_sheet(prepared.pixels) for prepared in batch]

    def finish(self, prepared: Prepared, raw: sheets.Departure) -> ImageResult:
        """Detections, most certain first."""
        height, width = prepared.pixels.shape[:2]
        scale = np.array([prepared.width / width, prepared.height / height] * 2)
        least = float(self.config["min_size"]) or light_trap.AUTOMATIC_SIZE * max(prepared.width, prepared.height)
        found = blobs.find_blobs(raw, max(LEAST_SIZE, least / float(scale.max())))
        scores = insect_shape.insect_probability(found)
        moths = insect_shape.moth_probability(found)
        detections = [
            moth_or_not(np.array(blob.box) * scale, float(score), float(moth), light_trap.BLOBS, light_trap.SHAPE)
            for blob, score, moth in sorted(zip(found, scores, moths, strict=True), key=lambda item: -item[1])
            if score >= self.config["min_score"]
        ]
        return ImageResult(width=prepared.width, height=prepared.height, detections=detections)

    def example(self) -> RawImage:
        """An even grey sheet."""
        stream = io.BytesIO()
        Image.new("RGB", (640, 480), (200, 200, 200)).save(stream, "JPEG")
        return RawImage(image=0, uri="example.jpg", data=stream.getvalue())
