"""Turns drawn scenes into training examples: pictures, and the maps that the network should output for them.

Scenes are drawn once and cached in a folder. Each use of a scene rotates, mirrors and lights it differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from antenna_orchestration.pipelines.light_trap.insect_network import STRIDE
from training import scenes

TOO_SMALL: Final = 7.0
"""Insects with a longer side below this, in pixels, are ignored: the loss asks for nothing where they are."""

POSITIVE: Final = 0.6
"""Cells where the Gaussian around an insect's centre is at least this (it is 1 at the centre) learn box and kind."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """One picture and its target maps, as tensors; in a batch each has an additional first axis."""

    # 3 x side x side, uint8, RGB.
    picture: Tensor
    # cells x cells, like all maps: a Gaussian around each insect's centre, 1 at the centre.
    middle: Tensor
    # 0 where the loss ignores `middle`, else 1.
    asked: Tensor
    # 1 where the loss compares box and kind, else 0.
    positive: Tensor
    # 4 x cells x cells: x1, y1, x2, y2 in pixels, where `positive`.
    boxes: Tensor
    # 1 for a moth, 0 for other insects, where `positive`.
    moth: Tensor


class Scenes(Dataset[Example]):
    """`count` examples from `distinct` scenes of `side` x `side` pixels, cached in `folder`.

    The same seed and index give the same example.
    """

    def __init__(self, folder: Path, *, seed: int, distinct: int, count: int, side: int = 512) -> None:
        self.folder, self.seed, self.distinct, self.count, self.side = folder, seed, distinct, count, side
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        pixels, boxes, moths = self._scene(index % self.distinct)
        rng = np.random.default_rng([self.seed, index, 5])
        pixels, boxes = _turned(pixels, boxes, int(rng.integers(4)), bool(rng.integers(2)))
        if index >= self.distinct:
            values = pixels * rng.uniform(0.75, 1.15) * rng.uniform(0.93, 1.07, 3).astype(np.float32)
            pixels = values.clip(0, 255).astype(np.uint8)
        return make_example(pixels, boxes, moths)

    def _scene(self, number: int) -> tuple[NDArray[np.uint8], Floats, Floats]:
        file = self.folder / f"{self.seed}-{self.side}-{number}.npz"
        if not file.exists():
            cv2.setNumThreads(1)
            scene = scenes.draw_scene(self.seed * 1_000_003 + number, self.side)
            boxes = np.array([insect.box for insect in scene.insects], np.float32).reshape(-1, 4)
            moths = np.array([insect.kind == "moth" for insect in scene.insects], np.float32)
            whole = file.with_suffix(".part.npz")
            np.savez(whole, pixels=scene.pixels, boxes=boxes, moths=moths)
            whole.rename(file)
        with np.load(file) as kept:
            return kept["pixels"], kept["boxes"], kept["moths"]


def make_example(pixels: NDArray[np.uint8], boxes: Floats, moths: Floats) -> Example:
    """The target maps of a picture (uint8, height x width x 3, both multiples of STRIDE).

    `boxes` is n x 4 (x1, y1, x2, y2 in pixels), `moths` is n (1 for a moth, else 0).
    """
    height, width = pixels.shape[0] // STRIDE, pixels.shape[1] // STRIDE
    middle, asked = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    positive, moth = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    targets = np.zeros((4, height, width), np.float32)
    sizes = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    # Large insects first, so that a small one on the wing of a large one keeps its cells.
    for index in np.argsort(-sizes):
        x1, y1, x2, y2 = boxes[index] / STRIDE
        if sizes[index] < TOO_SMALL:
            asked[max(0, int(y1) - 1) : int(y2) + 2, max(0, int(x1) - 1) : int(x2) + 2] = 0
            continue
        column, row = min(width - 1, int((x1 + x2) / 2)), min(height - 1, int((y1 + y2) / 2))
        spread_x, spread_y = (float(np.clip(0.11 * (b - a), 0.6, 6)) for a, b in ((x1, x2), (y1, y2)))
        near = np.exp(-((xs - column) ** 2) / (2 * spread_x**2) - (ys - row) ** 2 / (2 * spread_y**2))
        middle = np.maximum(middle, near)
        mine = near >= POSITIVE
        asked[mine], positive[mine], moth[mine] = 1, 1, moths[index]
        targets[:, mine] = boxes[index][:, None]
    picture = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return Example(*(torch.from_numpy(array) for array in (picture, middle, asked, positive, targets, moth)))


def collate(examples: list[Example]) -> Example:
    """Stack examples into a batch, for `DataLoader`."""
    return Example(*(torch.stack(parts) for parts in zip(*(fields(example) for example in examples), strict=True)))


def fields(example: Example) -> tuple[Tensor, ...]:
    """The tensors of an example, in the order of its fields, without copying them."""
    return tuple(getattr(example, name) for name in Example.__slots__)


def _turned(
    pixels: NDArray[np.uint8], boxes: Floats, quarters: int, mirrored: bool
) -> tuple[NDArray[np.uint8], Floats]:
    """Rotate picture and boxes counter-clockwise by quarter turns, and optionally mirror them left to right."""
    boxes = boxes.copy()
    for _ in range(quarters):
        width = pixels.shape[1]
        pixels = np.rot90(pixels)
        boxes = np.stack([boxes[:, 1], width - boxes[:, 2], boxes[:, 3], width - boxes[:, 0]], 1)
    if mirrored:
        width = pixels.shape[1]
        pixels = pixels[:, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    return np.ascontiguousarray(pixels), boxes
