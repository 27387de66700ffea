"""Shapes pictures for a model: from RGB of any size to the size, the order and the range of values that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from antenna_orchestration.pipelines.declared.recipe import Input, Resize, Tile
from antenna_orchestration.pipelines.published.specs import Triple

Picture = NDArray[np.uint8]
"""RGB, height x width x 3."""

CROP_SHARE: Final = 0.875
"""Share of the shorter side that a central crop shows, as is usual since ImageNet."""

_LONG: Final = 32
"""Lengths of the input that a side may have when it is resized as a whole, as all photographs of cameras are."""

_BESIDE: Final = 4
"""Pixels beside a part that the widest filter takes into account, Lanczos with three, and one for rounding."""

_OPENCV: Final = {
    "opencv-linear": cv2.INTER_LINEAR,
    "opencv-area": cv2.INTER_AREA,
    "opencv-cubic": cv2.INTER_CUBIC,
}
_PILLOW: Final = {
    "pillow-bilinear": Image.Resampling.BILINEAR,
    "pillow-bicubic": Image.Resampling.BICUBIC,
    "pillow-lanczos": Image.Resampling.LANCZOS,
    "pillow-nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True, slots=True)
class Shaped:
    """A picture at the size that the model takes."""

    # RGB, height x width x 3, 0 to 255; float32 after a resize by torch.
    pixels: NDArray[Any]
    # Pixels of the input per pixel of the picture, and what is added on the left and at the top.
    gain: tuple[float, float]
    padding: tuple[int, int]
    # Size of the picture before.
    width: int
    height: int

    def boxes_in_picture(self, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes (n x 4: x1, y1, x2, y2) of the input in pixels of the picture, cut off at its edges."""
        low = torch.tensor([*self.padding, *self.padding])
        gain = torch.tensor([*self.gain, *self.gain])
        boxes = (boxes - low) / gain
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, self.width)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, self.height)
        return boxes


class Shaper:
    """Shapes pictures as an `Input` says. The size and the rest that it leaves to the file are given here."""

    def __init__(
        self,
        given: Input,
        *,
        size: tuple[int, int] | None = None,
        mean: Triple = (0.0, 0.0, 0.0),
        std: Triple = (1.0, 1.0, 1.0),
        resize: Resize = "pillow-bilinear",
        shorter: int | None = None,
    ) -> None:
        """`size` is width and height; None if pictures keep their own."""
        self._given = given
        self.size = size
        self._resize: Resize = given.resize or resize
        self._shorter = given.shorter or shorter
        self._mean = torch.tensor(given.mean or mean)
        self._std = torch.tensor(given.std or std)

    def shaped(self, picture: Picture) -> Shaped:
        """The picture at the model's size. Thread-safe."""
        height, width = picture.shape[:2]
        if self.size is None or self._given.fit == "none":
            return Shaped(np.ascontiguousarray(picture), (1.0, 1.0), (0, 0), width, height)
        if self._given.fit == "letterbox":
            return self._letterboxed(picture, *self.size)
        if self._given.fit == "crop":
            return self._middle(picture, *self.size)
        across, down = self.size
        pixels = resized(picture, self.size, self._resize)
        return Shaped(pixels, (across / width, down / height), (0, 0), width, height)

    def tensor(self, some: Sequence[Shaped], device: torch.device) -> torch.Tensor:
        """Float32 on the device, n x 3 x height x width (or n x height x width x 3), as the model takes it."""
        pixels = torch.from_numpy(np.stack([one.pixels for one in some])).to(device)
        values = pixels.float().div_(self._given.divide)
        if self._given.bgr:
            values = values.flip(3)
        values = (values - self._mean.to(device)) / self._std.to(device)
        return values.contiguous() if self._given.channels_last else values.permute(0, 3, 1, 2).contiguous()

    def _letterboxed(self, picture: Picture, across: int, down: int) -> Shaped:
        height, width = picture.shape[:2]
        gain = min(across / width, down / height)
        inner = max(1, round(width * gain)), max(1, round(height * gain))
        # An odd pixel goes to the right and to the bottom, as in YOLO.
        left, top = (round((whole - part) / 2 - 0.1) for whole, part in zip((across, down), inner, strict=True))
        small = resized(picture, inner, self._resize)
        pixels = np.empty((down, across, 3), small.dtype)
        pixels[:] = self._given.pad
        pixels[top : top + inner[1], left : left + inner[0]] = small
        return Shaped(pixels, (inner[0] / width, inner[1] / height), (left, top), width, height)

    def _middle(self, picture: Picture, across: int, down: int) -> Shaped:
        """The shorter side resized, then the middle cut out, rounded as torchvision's transforms do."""
        height, width = picture.shape[:2]
        shorter = self._shorter or max(1, int(min(across, down) / CROP_SHARE))
        size = (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)
        of_width, of_height = _seen(width, size[0], across), _seen(height, size[1], down)
        part = picture[of_height.begin : of_height.end, of_width.begin : of_width.end]
        pixels = resized(part, (of_width.resized, of_height.resized), self._resize)
        missing = max(0, across - size[0]), max(0, down - size[1])
        if any(missing):
            before = missing[1] // 2, missing[0] // 2
            after = missing[1] - before[0], missing[0] - before[1]
            pixels = np.pad(pixels, ((before[0], after[0]), (before[1], after[1]), (0, 0)))
        left, top = round((size[0] + missing[0] - across) / 2), round((size[1] + missing[1] - down) / 2)
        x, y = left - of_width.skipped, top - of_height.skipped
        cut = np.ascontiguousarray(pixels[y : y + down, x : x + across])
        return Shaped(cut, (size[0] / width, size[1] / height), (-left, -top), width, height)


class _Seen(NamedTuple):
    """Which part of a side is resized before the middle is cut out of it."""

    begin: int
    end: int
    # Its length then, and pixels before it that the whole side would have had then.
    resized: int
    skipped: int


def _seen(length: int, whole: int, wanted: int) -> _Seen:
    """`length` pixels become `whole`, of which `wanted` are in the middle: all of them, unless they are very many.

    A strip of 1 x 30,000 pixels takes gigabytes when its shorter side is resized to 256. Of such sides the part is
    resized that the middle is made of, with what a filter sees beside it; that is right to a pixel of the input.
    """
    if whole <= _LONG * wanted:
        return _Seen(0, length, whole, 0)
    gain = whole / length
    beside = math.ceil(_BESIDE * max(1.0, 1.0 / gain))
    begin = max(0, math.floor((whole - wanted) / 2 / gain) - beside)
    end = min(length, math.ceil((whole + wanted) / 2 / gain) + beside)
    return _Seen(begin, end, max(1, round((end - begin) * gain)), round(begin * gain))


def resized(picture: Picture, size: tuple[int, int], how: Resize) -> NDArray[Any]:
    """The picture at `size` (width, height): uint8, or float32 from torch."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return np.ascontiguousarray(picture)
    if how in _OPENCV:
        small: NDArray[Any] = cv2.resize(np.ascontiguousarray(picture), size, interpolation=_OPENCV[how])
        return small
    if how in _PILLOW:
        image = Image.fromarray(np.ascontiguousarray(picture))
        return np.asarray(image.resize(size, _PILLOW[how]))
    planes = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float()[None]
    mode = "bilinear" if how == "torch-bilinear" else "bicubic"
    grown = torch.nn.functional.interpolate(
        planes, size=(size[1], size[0]), mode=mode, align_corners=False, antialias=True
    )
    values: NDArray[Any] = grown[0].permute(1, 2, 0).numpy()
    return values


def tiles(tile: Tile, width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The tiles of a photograph as left, top, right, bottom; the whole of it first if `tile.whole` says so.

    All are of `tile.size` and lie within the photograph, unless it is smaller.
    """
    boxes = [
        (left, top, min(left + tile.size, width), min(top + tile.size, height))
        for top in _starts(height, tile)
        for left in _starts(width, tile)
    ]
    return [(0, 0, width, height), *boxes] if tile.whole and len(boxes) > 1 else boxes


def _starts(length: int, tile: Tile) -> list[int]:
    """Where tiles begin along a side, so that they overlap at least as much as asked, all about equally."""
    rest = length - tile.size
    if rest <= 0:
        return [0]
    step = max(1, int(tile.size * (1 - tile.overlap)))
    count = -(-rest // step) + 1
    return [round(rest * number / (count - 1)) for number in range(count)]


def crop(picture: Picture, box: Sequence[float], given: Input) -> Picture | None:
    """What a box shows, with margin and squared as `given` says, truncated to whole pixels.

    None if less than a pixel of the picture is in the box.
    """
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    across, down = (x2 - x1) * given.margin, (y2 - y1) * given.margin
    if not (int(x2) > max(0, int(x1)) and int(y2) > max(0, int(y1)) and int(x1) < width and int(y1) < height):
        return None
    x1, y1, x2, y2 = x1 - across, y1 - down, x2 + across, y2 + down
    if given.square:
        more = (y2 - y1) - (x2 - x1)
        x1, x2 = (x1 - more / 2, x2 + more / 2) if more > 0 else (x1, x2)
        y1, y2 = (y1 + more / 2, y2 - more / 2) if more < 0 else (y1, y2)
    return picture[max(0, int(y1)) : int(y2), max(0, int(x1)) : int(x2)]
