"""The pipeline `light_trap_network`: the trained network alone.

It decodes and shrinks a photograph, runs the network at two sizes, and keeps boxes that are likely and large enough.
The network is in `insect_network`, with its weights in `insect_network.pt` beside it; `specs` says what a job may set.
Only device processes import this module.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antenna_orchestration import errors, settings
from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, RawImage
from antenna_orchestration.pipelines.light_trap import engines, insect_network, specs
from antenna_orchestration.pipelines.light_trap.candidates import Candidates, as_result, without_duplicates

WEIGHTS: Final = "insect_network.pt"
WEIGHTS_SHA256: Final = "7ea88e663cb325133096704f01f139709ae208a329e7caf07c2a7e4779d07b1c"
"""Digest of the released weights. Results name the pipeline's version, and each version has one set of weights."""

WORKING_SIDE: Final = 1280
"""Longer side, in pixels, to which photographs are shrunk. An insect of 40 pixels in 4096 then still has 12."""

COARSE: Final = 3
"""The network also runs on the photograph shrunk by this factor more, to find insects too large for the first pass."""

HANDOVER: Final = (80.0, 115.0)
"""Longer sides of boxes, in pixels of the fine input: the coarse pass counts from the first, the fine up to the second.

Between the two sizes both passes count, and of two boxes for one insect the better one is kept.
"""

LEAST_SCORE: Final = 0.05
"""Smallest probability of an insect at which a peak of the network becomes a candidate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A photograph, prepared for the network."""

    # RGB, uint8, 3 x height x width, padded: at most WORKING_SIDE on the longer side, and that shrunk by COARSE.
    fine: Tensor
    coarse: Tensor
    # Pixels of the photograph per pixel of `fine` and of `coarse`: horizontally and vertically.
    fine_scale: tuple[float, float]
    coarse_scale: tuple[float, float]
    # Size of the photograph as stored, in pixels.
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """What the network found in each pass: boxes in pixels of that pass's input, on the CPU."""

    fine: insect_network.Peaks
    coarse: insect_network.Peaks


class LightTrapNetwork(Pipeline[Prepared, Looks]):
    """Runs the network on one photograph at a time, so results do not depend on the rest of the batch."""

    infers_side_by_side: ClassVar[bool] = True

    def load(self, device: str) -> None:
        """Load the network. Raises `InternalError` if the weights beside this module are not the released ones."""
        if device == "cpu":
            self._run = _engine_for_cpu(settings.get().cpu_engine)
        else:
            self._run = engines.Torch(_released(), torch.device(device))
        self.engine = self._run.name

    def prepare(self, image: RawImage) -> Prepared:
        """Raises `ImageUnusable` as `images.decode` does."""
        return self.shape(images.decode(image.data, shrink_to=WORKING_SIDE))

    def shape(self, decoded: images.DecodedImage) -> Prepared:
        """Turn a decoded photograph, at full or reduced size, into the input of `infer`."""
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

    @torch.inference_mode()
    def infer(self, batch: Sequence[Prepared]) -> Sequence[Looks]:
        """Run both passes on each photograph."""
        return [Looks(fine=self._look(prepared.fine), coarse=self._look(prepared.coarse)) for prepared in batch]

    def candidates(self, prepared: Prepared, raw: Looks) -> Candidates:
        """All insects above LEAST_SCORE that are nearly large enough; duplicates are not yet removed."""
        # Boxes of two detectors differ by some pixels, so the exact size limit is applied after they are merged.
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
        """Detections, best score first."""
        found = without_duplicates(self.candidates(prepared, raw))
        return as_result(found, self.spec, self.config, width=prepared.width, height=prepared.height)

    def example(self) -> RawImage:
        """A plain grey sheet."""
        return images.grey_photograph()

    def _look(self, picture: Tensor) -> insect_network.Peaks:
        found = insect_network.peaks(self._run(picture[None]), 0, LEAST_SCORE)
        return insect_network.Peaks(boxes=found.boxes.cpu(), scores=found.scores.cpu(), moths=found.moths.cpu())


@cache
def _engine_for_cpu(wanted: str) -> engines.Engine:
    """One for all configurations of a job in this process: it keeps nothing of a photograph."""
    return engines.chosen(_released(), others_for_cpu(wanted))


def others_for_cpu(wanted: str) -> list[Callable[[], engines.Engine]]:
    """What may run the released network besides torch, the best first, by the setting `cpu_engine`."""
    makers = {"auto": (engines.in_int8, engines.in_float32), "float32": (engines.in_float32,), "torch": ()}
    return [partial(make, WEIGHTS_SHA256) for make in makers[wanted]]


def _released() -> insect_network.InsectNetwork:
    return from_weights(resources.files(__package__).joinpath(WEIGHTS).read_bytes())


def from_weights(data: bytes) -> insect_network.InsectNetwork:
    """The network with these weights, in eval mode. Raises `InternalError` if they are not the released weights."""
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
    """Boxes (n x 4), scores (n) and moth probabilities (n), with boxes in pixels of the photograph, clipped to it.

    Only boxes whose longer side is from `least` to `most` of these pixels are kept.
    """
    boxes = found.boxes.double().numpy() * (*scale, *scale)
    boxes = boxes.clip(0, [prepared.width, prepared.height] * 2)
    sides = boxes[:, 2:] - boxes[:, :2]
    fits = (sides.max(1) >= least) & (sides.max(1) <= most) & (sides.min(1) > 0)
    return boxes[fits], found.scores.double().numpy()[fits], found.moths.double().numpy()[fits]
