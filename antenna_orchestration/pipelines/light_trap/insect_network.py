"""The network of the default pipeline: it says where insects are, how large they are, and whether each is a moth.

A small residual network with a feature pyramid, built of torchvision's blocks. Like CenterNet, it has one output cell
per 4 x 4 pixels, which predicts the probability that the centre of an insect is there, the distances from there to the
four sides of its box, and the probability that it is a moth. `training/train_detector.py` trains it on drawn scenes
only. Thresholds are not part of the network; `network_detector` applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork

STRIDE: Final = 4
"""Pixels of the input per output cell, in each direction."""

MULTIPLE: Final = 32
"""Height and width of the input must be multiples of this; `as_input` pads to them."""

WIDTHS: Final = (16, 32, 64, 96, 160)
"""Channels of the stem (at 1/2 of the input's size) and of the four levels (at 1/4 to 1/32)."""

MEAN: Final = 0.5
SPREAD: Final = 0.25
"""The mean that is taken from pixels, in [0, 1], and what the rest is divided by, before the first layer."""

REACH: Final = 16.0
"""Unit of the predicted distances: the network outputs log(distance / REACH), with the distance in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Maps:
    """The network's output for a batch, float32. Height and width are those of the input divided by STRIDE."""

    # batch x height x width: logits that the centre of an insect is in the cell.
    middle: Tensor
    # batch x 4 x height x width: distances from the cell's centre to the left, top, right and bottom side, in pixels.
    reach: Tensor
    # batch x height x width: logits that the insect centred in the cell is a moth.
    moth: Tensor


class InsectNetwork(nn.Module):
    """Takes batch x 3 x height x width, RGB, float in [0, 1], with height and width multiples of MULTIPLE."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        stem, first, second, third, fourth = widths
        self.stem = nn.Sequential(
            Conv2dNormActivation(3, stem, 3, stride=2), Conv2dNormActivation(stem, first, 3, stride=2)
        )
        self.levels = nn.ModuleList(
            [
                nn.Sequential(_block(first, first, 1)),
                nn.Sequential(_block(first, second, 2), _block(second, second, 1)),
                nn.Sequential(_block(second, third, 2), _block(third, third, 1)),
                nn.Sequential(_block(third, fourth, 2), _block(fourth, fourth, 1)),
            ]
        )
        self.pyramid = FeaturePyramidNetwork([first, second, third, fourth], first)
        self.head = nn.Sequential(
            Conv2dNormActivation(first, 2 * first, 3), Conv2dNormActivation(2 * first, 2 * first, 3)
        )
        self.middle = nn.Conv2d(2 * first, 1, 1)
        self.reach = nn.Conv2d(2 * first, 4, 1)
        self.moth = nn.Conv2d(2 * first, 1, 1)
        # Nearly all cells are empty, so training starts from a low probability everywhere (as in RetinaNet).
        nn.init.constant_(self.middle.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Maps:
        """The maps of a batch."""
        shared = self.shared((pictures - MEAN) / SPREAD)
        return as_maps(self.middle(shared), self.reach(shared), self.moth(shared))

    def shared(self, normal: Tensor) -> Tensor:
        """What the three last layers take, for a batch from which the mean was taken, divided by the spread."""
        features = self.stem(normal)
        found = {}
        for name, level in zip("abcd", self.levels, strict=True):
            features = level(features)
            found[name] = features
        # Only the finest map of the pyramid is used. It includes what the coarser ones have found.
        shared: Tensor = self.head(self.pyramid(found)["a"])
        return shared


def as_maps(middle: Tensor, reach: Tensor, moth: Tensor) -> Maps:
    """The maps of a batch from what the last layers give: 1, 4 and 1 channels."""
    return Maps(
        middle=middle.squeeze(1).float(),
        reach=REACH * torch.exp(reach.float().clamp(-5, 5)),
        moth=moth.squeeze(1).float(),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Peaks:
    """The n insects in the maps of one image, best score first."""

    # n x 4: x1, y1, x2, y2 in pixels of the network's input.
    boxes: Tensor
    # n: the probability that there is an insect.
    scores: Tensor
    # n: the probability that it is a moth, given that it is an insect.
    moths: Tensor


def peaks(maps: Maps, index: int, least: float, most: int = 1000) -> Peaks:
    """The insects in image `index` of a batch: at most `most` cells with a probability of at least `least`.

    A cell counts only if none of its eight neighbours has a higher probability.
    """
    probability = maps.middle[index].sigmoid()
    around = functional.max_pool2d(probability[None], 3, 1, 1)[0]
    candidates = torch.where(probability == around, probability, 0.0).flatten()
    scores, cells = candidates.topk(min(most, candidates.numel()))
    cells = cells[scores >= least]
    width = probability.shape[1]
    x = (cells % width + 0.5) * STRIDE
    y = (torch.div(cells, width, rounding_mode="floor") + 0.5) * STRIDE
    left, top, right, bottom = maps.reach[index].flatten(1)[:, cells]
    return Peaks(
        boxes=torch.stack([x - left, y - top, x + right, y + bottom], 1),
        scores=scores[: len(cells)],
        moths=maps.moth[index].flatten()[cells].sigmoid(),
    )


def as_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Convert uint8 pixels (height x width x 3) to a uint8 tensor (3 x height x width).

    Edge pixels are repeated at the right and at the bottom until height and width are multiples of MULTIPLE.
    """
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)), mode="edge")
    return torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))


def _block(inputs: int, outputs: int, stride: int) -> BasicBlock:
    shortcut = None
    if stride > 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return BasicBlock(inputs, outputs, stride, shortcut)
