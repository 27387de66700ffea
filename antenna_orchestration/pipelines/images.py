"""Decodes image files to pixels, or says in plain words why a file cannot be decoded.

Pipelines decode on the CPU with `decode` only. It is thread-safe: it never changes Pillow's global switches per call.
Pixels are as stored in the file. EXIF rotation is not applied, and boxes refer to the unrotated pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from antenna_orchestration import errors, settings
from antenna_orchestration.domain import capture_time
from antenna_orchestration.pipelines.interface import RawImage

# Pillow's guard against decompression bombs warns at 89 million pixels and refuses at 179 million, whatever our setting
# says. `_open` checks the setting `MAX_PIXELS` before anything is decoded, so Pillow's guard is switched off, once.
Image.MAX_IMAGE_PIXELS = None

FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")
"""Formats that are opened; JPEG includes MPO. The list keeps out formats that run other programs, such as EPS."""

_END_OF_JPEG: Final = b"\xff\xd9"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """An image's pixels, at full or reduced size, and its full size."""

    # RGB, uint8, height x width x 3; smaller than the full size if `shrink_to` reduced it.
    pixels: NDArray[np.uint8]
    # Full size in pixels, as stored. Detections give their boxes in pixels of this size.
    width: int
    height: int


def decode(
    data: bytes, *, max_pixels: int | None = None, allow_truncated: bool | None = None, shrink_to: int | None = None
) -> DecodedImage:
    """Decode a compressed image.

    `max_pixels` and `allow_truncated` default to the settings of the same names. With `shrink_to`, a JPEG is decoded at
    1/2, 1/4 or 1/8 of its size: the smallest of these whose longer side still has at least `shrink_to` pixels. That is
    much faster than decoding it in full. Other formats ignore `shrink_to`.

    Transparent parts become white, of several frames the first is taken, and 16-bit greyscale keeps its upper 8 bits.

    Raises `ImageUnusable` if the bytes are not an image, or the image is damaged, is truncated or has more than
    `max_pixels`. With `allow_truncated`, a truncated image is decoded, and its missing part is grey or black.
    """
    limits = settings.get()
    allow_truncated = limits.allow_truncated if allow_truncated is None else allow_truncated
    image = _open(data, limits.max_pixels if max_pixels is None else max_pixels)
    width, height = image.size
    if allow_truncated and image.format in ("JPEG", "MPO"):
        # With an end-of-image marker, a JPEG that ends early is decoded as far as it goes; a second marker is ignored.
        image = Image.open(io.BytesIO(data + _END_OF_JPEG), formats=FORMATS)
    if shrink_to is not None:
        _draft(image, shrink_to)
    _load(image, allow_truncated=allow_truncated)
    return DecodedImage(pixels=_to_rgb(image), width=width, height=height)


def shrink(pixels: NDArray[np.uint8], longer: int) -> NDArray[np.uint8]:
    """Shrink an image (uint8, height x width x 3) to `longer` pixels on its longer side; never enlarges."""
    height, width = pixels.shape[:2]
    share = longer / max(height, width)
    if share >= 1:
        return pixels
    size = max(1, round(width * share)), max(1, round(height * share))
    small: NDArray[np.uint8] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small


def grey_photograph(width: int = 640, height: int = 480) -> RawImage:
    """A JPEG of plain grey, for a pipeline's `example` to return: it warms the models up and holds no insects."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (200, 200, 200)).save(stream, "JPEG")
    return RawImage(image=0, uri="example.jpg", data=stream.getvalue())


def size_of_plain_jpeg(data: bytes, *, max_pixels: int | None = None) -> tuple[int, int] | None:
    """Width and height in pixels of a complete RGB or grey JPEG, which all decoders read alike; None for anything else.

    It reads the header and decodes nothing. Raises `ImageUnusable` if the bytes are not an image or it has more than
    `max_pixels` (default: the setting).
    """
    image = _open(data, settings.get().max_pixels if max_pixels is None else max_pixels)
    ordinary = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and not image.has_transparency_data
    # Adobe's marker with transform 0: the channels are stored as red, green and blue, not as YCbCr.
    if not ordinary or image.info.get("adobe_transform") == 0 or not data.rstrip(b"\0").endswith(_END_OF_JPEG):
        return None
    return image.width, image.height


def exif_time(source: bytes | IO[bytes]) -> capture_time.Taken | None:
    """The capture time in the EXIF data, read by `domain.capture_time`; None if there is none or it cannot be read.

    Only the header is read: the first 64 kB of a file are enough as `source`.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            exif = image.getexif()
            return capture_time.from_exif({**exif, **exif.get_ifd(ExifTags.IFD.Exif)})
    except Exception:
        # Broken EXIF data raises many kinds of exceptions in Pillow. An image without a capture time is still fine.
        return None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read and check the header; decodes nothing."""
    if not data:
        raise errors.ImageUnusable("not an image: the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        if data.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
            raise errors.ImageUnusable("not an image: the file is a web page or XML") from error
        if data.startswith(b"\xff\xd8\xff"):
            raise errors.ImageUnusable("truncated JPEG") from error
        raise errors.ImageUnusable("not an image") from error
    if image.width * image.height > max_pixels:
        raise errors.ImageUnusable(f"{image.width}x{image.height} pixels, over MAX_PIXELS ({max_pixels})")
    return image


def _draft(image: Image.Image, longer: int) -> None:
    """Ask the JPEG decoder for the smallest size whose longer side is still at least `longer` pixels."""
    whole = max(image.size)
    divisor = next((n for n in (8, 4, 2) if whole // n >= longer), 1)
    if divisor > 1:
        image.draft(None, (image.width // divisor, image.height // divisor))


def _load(image: Image.Image, *, allow_truncated: bool) -> None:
    name = image.format or "image"
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        truncated = "truncated" in str(error) or "incomplete" in str(error) or isinstance(error, EOFError)
        if truncated and allow_truncated and _keep_what_was_decoded(image):
            return
        if truncated:
            raise errors.ImageUnusable(f"truncated {name}") from error
        raise errors.ImageUnusable(f"damaged {name}: {error}") from error


def _keep_what_was_decoded(image: Any) -> bool:
    """After a failed load, keep the part that was decoded. False if the decoder had not begun."""
    image.tile = []
    try:
        image.load()
    except Exception:
        return False
    return True


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):
        # Pillow's conversion to 8 bits would clip at 255; this scales.
        grey = np.asarray(image).astype(np.int64)
        grey = (grey >> 8 if grey.max() > 255 else grey).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise errors.ImageUnusable("floating-point pixels are not supported")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    return np.asarray(image.convert("RGB"))
