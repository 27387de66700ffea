"""The pipeline `light_trap_blobs`: classical image processing, without a network.

It decodes and shrinks a photograph, compares it with an estimate of the empty sheet, and classifies the blobs that
differ from the sheet. The steps are in `pipelines/images.py`, `sheets`, `blobs` and `insect_shape`; `specs` says what a
job may set. Only device processes import this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

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
    """What was found in a photograph."""

    # All blobs that are large enough, whatever their score.
    found: Candidates
    # Size of the photograph as stored, in pixels.
    width: int
    height: int


class LightTrapBlobs(Pipeline[Prepared, Candidates]):
    """Works in `prepare`, on the CPU whatever the device; a photograph of 4096 x 2160 pixels takes about 0.15 s."""

    infers_side_by_side: ClassVar[bool] = True

    def prepare(self, image: RawImage) -> Prepared:
        """Raises `ImageUnusable` as `images.decode` does."""
        return self.shape(images.decode(image.data, shrink_to=WORKING_SIDE))

    def shape(self, decoded: images.DecodedImage) -> Prepared:
        """Find the blobs in a decoded photograph, at full or reduced size, by comparing it with its own empty sheet."""
        pixels = images.shrink(decoded.pixels, WORKING_SIDE)
        height, width = pixels.shape[:2]
        scale = np.array([decoded.width / width, decoded.height / height] * 2)
        least = specs.least_size(self.config, decoded.width, decoded.height)
        found = blobs.find_blobs(sheets.compare_with_sheet(pixels), max(LEAST_SIZE, least / float(scale.max())))
        candidates = Candidates(
            boxes=np.array([blob.box for blob in found], float).reshape(-1, 4) * scale,
            scores=insect_shape.insect_probability(found),
            moths=insect_shape.moth_probability(found),
        )
        return Prepared(found=candidates, width=decoded.width, height=decoded.height)

    def infer(self, batch: Sequence[Prepared]) -> Sequence[Candidates]:
        """What was found: there is nothing to do for a device."""
        return [prepared.found for prepared in batch]

    def finish(self, prepared: Prepared, raw: Candidates) -> ImageResult:
        """Detections, best score first."""
        return as_result(raw, self.spec, self.config, width=prepared.width, height=prepared.height)

    def example(self) -> RawImage:
        """A plain grey sheet."""
        return images.grey_photograph()
