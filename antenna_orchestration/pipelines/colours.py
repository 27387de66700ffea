"""From what a decoder gives (grey, palettes, transparency, ten to sixteen bits) to plain RGB in eight bits."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from antenna_orchestration import errors

_DEPTHS: Final = (8, 10, 12, 14, 16, 20, 24, 32)
"""Bits that a camera's samples may have; those of 10, 12 and 14 bits are stored in 16."""

_BITS_PER_SAMPLE: Final = 258
_LARGEST_SAMPLE: Final = 281


def is_deep(image: Image.Image) -> bool:
    """Whether an image that is opened and not yet loaded holds colours (or transparency) in 16 bits each."""
    if image.format not in ("PNG", "TIFF") or image.mode.startswith("I"):
        return False
    tile: Any = getattr(image, "tile", None) or [("", (), 0, "")]
    layout = tile[0][3]
    return ";16" in str(layout[0] if isinstance(layout, tuple) else layout)


def to_rgb(image: Image.Image, *, deep: bytes | None = None) -> NDArray[np.uint8]:
    """RGB, uint8, height x width x 3, of a loaded image.

    Transparent parts become white. Samples of more than eight bits are scaled by the depth that the file declares, or
    else by the smallest depth that holds the brightest of them: cameras store 10 and 12 bits in 16. `deep` is the file
    of an image with `is_deep`. Raises `ImageUnusable` for pixels that have no colour.
    """
    if image.mode.startswith("I"):
        return np.repeat(_eight_bits(np.asarray(image), _declared(image))[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise errors.ImageUnusable("floating-point pixels are not supported; convert it to 8 or 16 bits")
    rgb = _flat(image)
    if deep is not None and rgb.max(initial=0) < 64 and (deeper := _read_deep(deep, rgb.shape)) is not None:
        return deeper
    return rgb


def _flat(image: Image.Image) -> NDArray[np.uint8]:
    try:
        if image.has_transparency_data:
            return _on_white(image)
        return np.asarray(image.convert("RGB"))
    except ValueError as error:
        raise errors.ImageUnusable(f"pixels of the kind {image.mode} are not supported: {error}") from error


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    """A transparent image on white. Strip by strip: whole, each of the steps would take four bytes a pixel more."""
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    rows = _rows_at_once(image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        rgb[top : top + rows] = np.asarray(Image.alpha_composite(white, strip).convert("RGB"))
    return rgb


def _rows_at_once(width: int) -> int:
    return max(1, 2**20 // max(1, width))


def _declared(image: Image.Image) -> int | None:
    """The largest sample that a TIFF declares; None if it says nothing, or no more than that samples have 16 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    for value in (tags.get(_LARGEST_SAMPLE), tags.get(_BITS_PER_SAMPLE)):
        number = value[0] if isinstance(value, tuple) and value else value
        if value is tags.get(_BITS_PER_SAMPLE) and isinstance(number, int):
            number = 2**number - 1 if number < 16 else None
        if isinstance(number, int) and number >= 255:
            return number
    return None


def _eight_bits(samples: NDArray[Any], largest: int | None = None) -> NDArray[np.uint8]:
    brightest = int(samples.max(initial=0))
    if largest is None or brightest > largest:
        largest = next((2**bits - 1 for bits in _DEPTHS if brightest < 2**bits), brightest)
    # Some rows at a time: numbers that are wide enough take eight bytes each.
    made = np.empty(samples.shape, np.uint8)
    rows = _rows_at_once(samples.shape[1] if samples.ndim > 1 else 1)
    for top in range(0, len(samples), rows):
        made[top : top + rows] = samples[top : top + rows].astype(np.int64).clip(0) * 255 // largest
    return made


def _read_deep(data: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """All 16 bits of a colour image, which Pillow cuts to the upper eight; None if OpenCV cannot read it either."""
    try:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3 or samples.shape[:2] != shape[:2]:
        return None
    if samples.shape[2] not in (3, 4):
        return None
    rgb = _eight_bits(samples[:, :, 2::-1])
    if samples.shape[2] == 4:
        rows = _rows_at_once(rgb.shape[1])
        for top in range(0, len(rgb), rows):
            opaque = samples[top : top + rows, :, 3:] / 65535
            rgb[top : top + rows] = rgb[top : top + rows] * opaque + 255 * (1 - opaque)
    return rgb
