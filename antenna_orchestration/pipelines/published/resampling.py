"""Crops of a photograph as squares of one size, in a few operations: on a GPU a loop over crops takes the longest.

Bilinear with antialiasing, as `scoring.stretched` does it for one picture. Source of the weights: ATen's
`UpSampleKernel.cpp`, `_compute_indices_weights_aa`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in whole pixels within the photograph; at least one pixel."""

PIXELS: Final = 2**22
"""Pixels of all crops of one operation, each as large as the largest of them: 50 MB in float32, and some 200 MB with
the weights and what the products give."""


def squares(photograph: torch.Tensor, boxes: Sequence[Box], side: int) -> torch.Tensor:
    """Crops (boxes x 3 x side x side) of a float photograph (3 x height x width), on its device."""
    result = photograph.new_empty(len(boxes), 3, side, side)
    for some in _alike(boxes):
        chosen = [boxes[index] for index in some]
        result[torch.tensor(some, device=photograph.device)] = _squares_at_once(photograph, chosen, side)
    return result


def _alike(boxes: Sequence[Box]) -> Iterator[list[int]]:
    """Indices of boxes, the largest first, so many at once as the bound allows."""
    some: list[int] = []
    most = 0
    for index in sorted(range(len(boxes)), key=lambda index: -_longest(boxes[index])):
        if some and (len(some) + 1) * most > PIXELS:
            yield some
            some = []
        if not some:
            # As padded: no box that follows is longer.
            most = _longest(boxes[index]) ** 2
        some.append(index)
    if some:
        yield some


def _longest(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])


def _squares_at_once(photograph: torch.Tensor, boxes: Sequence[Box], side: int) -> torch.Tensor:
    left, top, right, bottom = torch.tensor(boxes, device=photograph.device).unbind(1)
    width = max(box[2] - box[0] for box in boxes)
    height = max(box[3] - box[1] for box in boxes)
    columns = _reaching(left, right, width)
    rows = _reaching(top, bottom, height)
    # 3 x boxes x height x width; what lies beyond a box has no weight.
    pixels = photograph[:, rows[:, :, None], columns[:, None, :]]
    across = _weights(right - left, width, side)
    down = _weights(bottom - top, height, side)
    return (down.transpose(1, 2) @ (pixels @ across)).transpose(0, 1)


def _reaching(first: torch.Tensor, end: torch.Tensor, most: int) -> torch.Tensor:
    """Indices (boxes x most) from `first` on; beyond the end of a box its last one again."""
    steps = torch.arange(most, device=first.device)
    return torch.minimum(first[:, None] + steps, end[:, None] - 1)


def _weights(sizes: torch.Tensor, most: int, side: int) -> torch.Tensor:
    """What each pixel along a box gives to each one of the square: boxes x most x side; columns add up to 1."""
    scale = (sizes.float() / side)[:, None, None]
    reach = scale.clamp(min=1.0)
    centre = scale * (torch.arange(side, device=sizes.device) + 0.5)
    pixel = torch.arange(most, device=sizes.device)[None, :, None]
    first = (centre - reach + 0.5).floor().clamp(min=0)
    end = torch.minimum((centre + reach + 0.5).floor(), sizes[:, None, None])
    weight = (1 - ((pixel - centre + 0.5) / reach).abs()).clamp(min=0) * ((pixel >= first) & (pixel < end))
    return weight / weight.sum(dim=1, keepdim=True)
