"""The trained pipeline at work: decode and shrink, run the network at two sizes, keep the boxes that count.

Imported by device processes only. The network is in `insect_network`, its weights in the file beside it, and what a
job may set in `light_trap`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antenna_orchestration import errors
from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, RawImage
from antenna_orchestration.pipelines.light_trap import insect_network, specs
from antenna_orchestration.pipelines.light_trap.candidates import Candidates, as_detections, without_doubles

WEIGHTS: Final = "insect_network.pt"
WEIGHTS_SHA256: Final = "7ea88e663cb325133096704f01f139709ae208a329e7caf07c2a7e4779d07b1c"
"""What the weights must be: results name a version, and a version is one set of weights."""

WORKING_SIDE: Final = 1280
"""Photographs are shrunk to this longer side in pixels: an insect of 40 pixels at 4096 then still has 12."""

COARSE: Final = 3
"""The network looks a second time at the photograph, shrunk by this more, for insects too large for the first look."""

HANDOVER: Final = (80.0, 115.0)
"""Longer sides in working pixels: the coarse look's boxes count from the first on, the fine look's up to the second.

Between them both count, and the more certain one of two that are the same insect stays.
"""

LEAST_SCORE: Final = 0.05
"""What is less likely to be an insect is no candidate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A photograph ready for the network."""

    # RGB, uint8, 3 x height x width: at most WORKING_SIDE on the longer side, and that shrunk by COARSE; both padded.
    fine: Tensor
    coarse: Tensor
    # Pixels of the photograph per pixel of `fine` and of `coarse`, across and down.
    fine_scale: tuple[float, float]
    coarse_scale: tuple[float, float]
    # Size of the photograph in its own pixels.
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """What the network found in each look, as yet in that look's pixels, on the CPU."""

    fine: insect_network.Peaks
    coarse: insect_network.Peaks


class LightTrapNetwork(Pipeline[Prepared, Looks]):
    """Results do not depend on what else is in the batch: each photograph passes the network by itself."""

    def load(self, device: str) -> None:
        """Raises `InternalError` when the weights beside this module are not the ones it was released with."""
        network = from_weights(resources.files(__package__).joinpath(WEIGHTS).read_bytes())
        self._device = torch.device(device)
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, image: RawImage) -> Prepared:
        """Raises `ImageUnusable` as `images.decode` does."""
        return self.shape(images.decode(image.data, shrink_to=WORKING_SIDE))

    def shape(self, decoded: images.DecodedImage) -> Prepared:
        """A decoded photograph, whole or reduced, as `infer` takes it."""
        fine = images.shrink(decoded.pixels, WORKING_SIDE)
        coarse = images.shrink(fine, max(1, round(max(fine.shape) / COARSE)))

        def scale(pixels: NDArray[np.uint8]) -> tuple[float, float]:
            return decoded.width / pixels.shape[1], decoded.height / pixels.shape[0]

        return Prepared(
            fine=insect_network.as_input(fine),
            coarse=insect_network.as_input(coarse),
            fine_scale=scale(fine),
            coarse_scale=scale(coarse),
            width=decoded.width,
            height=decoded.height,
        )

    def infer(self, batch: Sequence[Prepared]) -> Sequence[Looks]:
        """Both looks at each photograph."""
        return [Looks(fine=self._look(prepared.fine), coarse=self._look(prepared.coarse)) for prepared in batch]

    def candidates(self, prepared: Prepared, raw: Looks) -> Candidates:
        """All that the network finds more likely than LEAST_SCORE and nearly large enough, doubles among it."""
        # Boxes of two detectors differ by some pixels: what counts is decided when they have become one.
        least = 0.75 * specs.least_size(self.config, prepared.width, prepared.height)
        per_working_pixel = max(prepared.fine_scale)
        boxes, scores, moths = (
            np.concatenate(parts)
            for parts in zip(
                _in_photograph(
                    raw.fine, prepared.fine_scale, prepared, least=least, most=HANDOVER[1] * per_working_pixel
                ),
                _in_photograph(
                    raw.coarse, prepared.coarse_scale, prepared, least=max(least, HANDOVER[0] * per_working_pixel)
                ),
                strict=True,
            )
        )
        return Candidates(boxes=boxes, scores=scores, moths=moths)

    def finish(self, prepared: Prepared, raw: Looks) -> ImageResult:
        """Detections, most certain first."""
        detections = as_detections(
            without_doubles(self.candidates(prepared, raw)),
            specs.NETWORK,
            specs.NETWORK_MOTHS,
            min_score=self.config["min_score"],
            min_size=specs.least_size(self.config, prepared.width, prepared.height),
        )
        return ImageResult(width=prepared.width, height=prepared.height, detections=detections)

    def example(self) -> RawImage:
        """An even grey sheet."""
        return RawImage(image=0, uri="example.jpg", data=images.grey_sheet())

    @torch.inference_mode()
    def _look(self, picture: Tensor) -> insect_network.Peaks:
        batch = (picture.to(self._device)[None].float() / 255).contiguous(memory_format=torch.channels_last)
        found = insect_network.peaks(self._network(batch), 0, LEAST_SCORE)
        return insect_network.Peaks(boxes=found.boxes.cpu(), scores=found.scores.cpu(), moths=found.moths.cpu())


def from_weights(data: bytes) -> insect_network.InsectNetwork:
    """The network, ready to look. Raises `InternalError` when the bytes are not those of the released weights."""
    if (digest := hashlib.sha256(data).hexdigest()) != WEIGHTS_SHA256:
        raise errors.InternalError(f"{WEIGHTS} has sha256 {digest}, expected {WEIGHTS_SHA256}: reinstall the package")
    network = insect_network.InsectNetwork()
    network.load_state_dict(torch.load(io.BytesIO(data), weights_only=True))
    return network.eval()


def _in_photograph(
    found: insect_network.Peaks,
    scale: tuple[float, float],
    prepared: Prepared,
    *,
    least: float,
    most: float = float("inf"),
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Boxes in the photograph's pixels, cut at its edges, with scores and moths; only those of the sizes asked."""
    boxes = found.boxes.double().numpy() * (*scale, *scale)
    boxes = boxes.clip(0, [prepared.width, prepared.height] * 2)
    sides = boxes[:, 2:] - boxes[:, :2]
    fits = (sides.max(1) >= least) & (sides.max(1) <= most) & (sides.min(1) > 0)
    return boxes[fits], found.scores.double().numpy()[fits], found.moths.double().numpy()[fits]
