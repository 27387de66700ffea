"""Alters photographs as if other traps had taken them: darker, in other light, blurred, on a wrinkled or smaller sheet.

There are annotated photographs of few sites. The altered ones show how much a pipeline's accuracy depends on the even
light and sharp cameras of these sites. No photograph is used for training, altered or not.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Altered = tuple[Pixels, tuple[int, int]]
"""Pixels, and how far everything moved right and down, in pixels."""


def alter(data: bytes, name: str) -> tuple[bytes, tuple[int, int]]:
    """Apply one of ALTERATIONS; returns a JPEG, and how far everything moved right and down, in pixels."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    altered, moved = ALTERATIONS[name](pixels)
    stream = io.BytesIO()
    Image.fromarray(altered).save(stream, "JPEG", quality=90)
    return stream.getvalue(), moved


def dim(pixels: Pixels) -> Altered:
    """A third of the light, and the noise that comes with it."""
    noise = np.random.default_rng(1).normal(0, 5, (*pixels.shape[:2], 1)).astype(np.float32)
    return _bytes(0.35 * pixels + noise), (0, 0)


def violet(pixels: Pixels) -> Altered:
    """Ultraviolet tubes: blue and red, little green."""
    return _bytes(pixels * np.array([0.85, 0.6, 1.0], np.float32)), (0, 0)


def soft(pixels: Pixels) -> Altered:
    """Slightly out of focus."""
    return cv2.GaussianBlur(pixels, (0, 0), 0.0015 * max(pixels.shape)), (0, 0)


def coarse(pixels: Pixels) -> Altered:
    """A camera of a megapixel and strong compression, enlarged again."""
    height, width = pixels.shape[:2]
    share = 1280 / max(height, width)
    small = cv2.resize(pixels, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)
    stream = io.BytesIO()
    Image.fromarray(small).save(stream, "JPEG", quality=50)
    return cv2.resize(np.array(Image.open(stream)), (width, height), interpolation=cv2.INTER_CUBIC), (0, 0)


def wrinkled(pixels: Pixels) -> Altered:
    """A hanging cloth with folds."""
    y, x = _grid(pixels)
    along = x + 0.06 * np.sin(5 * y) + 0.3 * y
    folds = np.sin(23 * along) ** 3 + 0.6 * np.sin(61 * along + 3 * y) ** 3
    return _bytes(pixels * (1 + 0.05 * folds)[..., None]), (0, 0)


def shaded(pixels: Pixels) -> Altered:
    """A soft shadow over a third of the sheet."""
    y, x = _grid(pixels)
    shadow = 1 / (1 + np.exp(-(x + 0.4 * y - 0.85) * 40))
    return _bytes(pixels * (1 - 0.5 * shadow)[..., None]), (0, 0)


def framed(pixels: Pixels) -> Altered:
    """The sheet does not fill the picture: something dark and rough lies round it."""
    height, width = pixels.shape[:2]
    border = round(0.1 * max(height, width))
    rng = np.random.default_rng(2)
    size = width + 2 * border, height + 2 * border
    rough = cv2.resize(rng.normal(45, 12, (size[1] // 12, size[0] // 12)).astype(np.float32), size)
    whole = _bytes(np.repeat(rough[..., None], 3, 2))
    whole[border : border + height, border : border + width] = pixels
    return whole, (border, border)


def _grid(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows and columns, each from 0 to 1."""
    y, x = np.mgrid[0 : 1 : pixels.shape[0] * 1j, 0 : 1 : pixels.shape[1] * 1j].astype(np.float32)
    return y, x


def _bytes(values: NDArray[np.float32]) -> Pixels:
    return values.clip(0, 255).astype(np.uint8)


ALTERATIONS: dict[str, Callable[[Pixels], Altered]] = {
    function.__name__: function for function in (dim, violet, soft, coarse, wrinkled, shaded, framed)
}
