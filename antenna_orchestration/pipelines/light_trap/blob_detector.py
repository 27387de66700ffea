"""The pipeline `light_trap_blobs`: classical image processing, without a network.

It decodes and shrinks a photograph, compares it with an estimate of the empty sheet, and classifies the blobs that
differ from the sheet. The steps are in `pipelines/images.py`, `sheets`, `blobs` and `insect_shape`; `specs` says what a
job may set. Only device processes import this module.
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
from antenna_orchestration.pipelines.light_trap.candidates import Candidates, as_result

WORKING_SIDE: Final = 1600
"""Longer side, in pixels, to which photographs are shrunk. An insect of 40 pixels in 4096 then still has 16."""

LEAST_SIZE: Final = 9.0
"""Smallest longer side of a blob, in pixels of the shrunk photograph; smaller blobs have no shape to classify."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A decoded, shrunk photograph."""

    # RGB, uint8, height x width x 3; the longer side is at most WORKING_SIDE.
    pixels: NDArray[np.uint8]
    # Size of the photograph as stored, in pixels.
    width: int
    height: int


class LightTrapBlobs(Pipeline[Prepared, sheets.Departure]):
    """Runs on the CPU whatever the device; a photograph of 4096 x 2160 pixels takes about 0.2 s."""

    def prepare(self, image: RawImage) -> Prepared:
        """Raises `ImageUnusable` as `images.decode` does."""
        return self.shape(images.decode(image.data, shrink_to=WORKING_SIDE))

    def shape(self, decoded: images.DecodedImage) -> Prepared:
        """Turn a decoded photograph, at full or reduced size, into the input of `infer`."""
        return Prepared(pixels=images.shrink(decoded.pixels, WORKING_SIDE), width=decoded.width, height=decoded.height)

    def infer(self, batch: Sequence[Prepared]) -> Sequence[sheets.Departure]:
        """Compare each photograph with an estimate of its own empty sheet."""
        return [sheets.compare_with_sheet(prepared.pixels) for prepared in batch]

    def candidates(self, prepared: Prepared, raw: sheets.Departure) -> Candidates:
        """All blobs that are large enough, whatever their score."""
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
        """Detections, best score first."""
        found = self.candidates(prepared, raw)
        return as_result(found, self.spec, self.config, width=prepared.width, height=prepared.height)

    def example(self) -> RawImage:
        """A plain grey sheet."""
        return images.grey_photograph()
