"""The trained network of the default pipeline: where insects are, how large, and whether each is a moth.

A small residual trunk with a feature pyramid (torchvision's blocks) whose head says at every fourth pixel how likely an
insect has its middle there, how far it reaches to each side, and how likely it is a moth. It is trained by
`training/train_detector.py` on drawn scenes alone. No thresholds here: `network_detector` decides what counts.
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
"""The head has one cell for each square of this many pixels."""

MULTIPLE: Final = 32
"""Height and width of the input are multiples of this; `as_input` makes them so."""

WIDTHS: Final = (16, 32, 64, 96, 160)
"""Channels of the stem and of the four levels, at 1/2 to 1/32 of the input's size."""

REACH: Final = 16.0
"""Distances to a box's sides are predicted as logarithms of their ratio to this many pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Maps:
    """What the network says about a batch; every map is at 1/STRIDE of the input's size."""

    # batch x height x width: logits that an insect's middle lies in the cell.
    middle: Tensor
    # batch x 4 x height x width: distances in pixels from the cell's centre to left, top, right and bottom.
    reach: Tensor
    # batch x height x width: logits that the insect whose middle this is is a moth.
    moth: Tensor


class InsectNetwork(nn.Module):
    """Input: batch x 3 x height x width, RGB from 0 to 1, sides multiples of MULTIPLE."""

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
        # Nearly all cells are empty: beginning there keeps the first steps of the training from being wasted.
        nn.init.constant_(self.middle.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Maps:
        """Maps of a batch."""
        features = self.stem((pictures - 0.5) / 0.25)
        found = {}
        for name, level in zip("abcd", self.levels, strict=True):
            features = level(features)
            found[name] = features
        # Only the finest map of the pyramid is used: by then it has heard from all the coarser ones.
        shared = self.head(self.pyramid(found)["a"])
        return Maps(
            middle=self.middle(shared).squeeze(1).float(),
            reach=REACH * torch.exp(self.reach(shared).float().clamp(-5, 5)),
            moth=self.moth(shared).squeeze(1).float(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Peaks:
    """The insects that one picture's maps show, most certain first."""

    # n x 4: x1, y1, x2, y2 in pixels of the network's input.
    boxes: Tensor
    # n: probability of an insect.
    scores: Tensor
    # n: probability that it is a moth.
    moths: Tensor


def peaks(maps: Maps, index: int, least: float, most: int = 1000) -> Peaks:
    """The cells of picture `index` that are as likely as `least` and no less likely than their neighbours."""
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
    """A picture (height x width x 3) as 3 x height x width, its edges repeated until both sides are multiples."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)), mode="edge")
    return torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))


def _block(inputs: int, outputs: int, stride: int) -> BasicBlock:
    shortcut = None
    if stride > 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return BasicBlock(inputs, outputs, stride, shortcut)
