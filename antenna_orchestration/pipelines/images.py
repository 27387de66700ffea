"""From a file's bytes to pixels, or to a reason why not that a person understands.

All decoding of pipelines on CPU goes through `decode`; it may be called on many threads at once, so no switch of
Pillow's is turned per call. Pixels are as stored: EXIF rotation is not applied, because boxes refer to the file, not to
a viewer.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import IO, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from antenna_orchestration import errors, settings

# Pillow's own guard warns at 89 million pixels and refuses at 179 million, whatever our setting says. `_open` compares
# with the setting before anything is decoded, so the guard is switched off, once.
Image.MAX_IMAGE_PIXELS = None

FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")
"""What is opened (MPO comes with JPEG); naming them keeps out formats that run other programs, such as EPS."""

_END_OF_JPEG: Final = b"\xff\xd9"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """An image's pixels, at full size or reduced, and its size as stored."""

    # RGB, uint8, height x width x 3.
    pixels: NDArray[np.uint8]
    # Full size in pixels, whatever the reduction; boxes are given in these.
    width: int
    height: int


def decode(
    data: bytes, *, max_pixels: int | None = None, allow_truncated: bool | None = None, shrink_to: int | None = None
) -> DecodedImage:
    """Decode compressed bytes; the defaults of the limits are the settings of the same name.

    `shrink_to` lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size, the smallest whose longer side is still at least
    that many pixels; it is much faster than decoding all of it, and other formats ignore it. Transparent parts become
    white, the first frame of several is taken, 16-bit greyscale keeps its upper 8 bits.

    Raises `ImageUnusable` for bytes that are no image, a damaged or truncated one (unless `allow_truncated`: the
    missing part is then grey or black), or one of more than `max_pixels`.
    """
    limits = settings.get()
    allow_truncated = limits.allow_truncated if allow_truncated is None else allow_truncated
    image = _open(data, limits.max_pixels if max_pixels is None else max_pixels)
    width, height = image.size
    if allow_truncated and image.format in ("JPEG", "MPO"):
        # A JPEG that ends early is decoded to its end once it has an end mark; a second mark is ignored.
        image = Image.open(io.BytesIO(data + _END_OF_JPEG), formats=FORMATS)
    if shrink_to is not None:
        _draft(image, shrink_to)
    _load(image, allow_truncated=allow_truncated)
    return DecodedImage(pixels=_to_rgb(image), width=width, height=height)


def shrink(pixels: NDArray[np.uint8], longer: int) -> NDArray[np.uint8]:
    """The picture (height x width x 3) with its longer side at `longer` pixels; a smaller one stays as it is."""
    height, width = pixels.shape[:2]
    share = longer / max(height, width)
    if share >= 1:
        return pixels
    size = max(1, round(width * share)), max(1, round(height * share))
    small: NDArray[np.uint8] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small


def grey_sheet() -> bytes:
    """A small JPEG of one grey, for a pipeline to warm up with."""
    stream = io.BytesIO()
    Image.new("RGB", (640, 480), (200, 200, 200)).save(stream, "JPEG")
    return stream.getvalue()


def size_of_plain_jpeg(data: bytes, *, max_pixels: int | None = None) -> tuple[int, int] | None:
    """Width and height of a JPEG that any decoder reads alike: whole, and in colour or grey; None for all else.

    Decodes nothing. Raises `ImageUnusable` for what is no image or too large.
    """
    image = _open(data, settings.get().max_pixels if max_pixels is None else max_pixels)
    ordinary = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and not image.has_transparency_data
    # Adobe's mark for three channels that are red, green and blue already.
    if not ordinary or image.info.get("adobe_transform") == 0 or not data.rstrip(b"\0").endswith(_END_OF_JPEG):
        return None
    return image.width, image.height


def capture_time_from_exif(source: bytes | IO[bytes]) -> datetime | None:
    """When the photograph was taken by its EXIF data, in UTC; None without such a time, or when it cannot be read.

    `DateTimeOriginal` with `OffsetTimeOriginal` (or `OffsetTime`, or the older `TimeZoneOffset` in hours); a time
    without any offset is taken as UTC. Reads the header only: the first 64 kB of a file are enough as `source`.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            exif = image.getexif()
            tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    except Exception:
        # Cameras write broken EXIF in more ways than Pillow has exceptions; a missing time is no reason to stop.
        return None
    text = _text(tags.get(ExifTags.Base.DateTimeOriginal))
    try:
        # Seconds may be followed by a NUL or by fractions.
        taken = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=_zone(tags))
        return taken.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header and check it, decoding nothing."""
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
    """Ask the JPEG decoder for a reduced size whose longer side is still at least `longer` pixels."""
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
    """After a failed load: forget what is left to decode. False if the decoder had not even begun."""
    image.tile = []
    try:
        image.load()
    except Exception:
        return False
    return True


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):
        # Pillow's own conversion would clip at 255 instead of scaling.
        grey = np.asarray(image).astype(np.int64)
        grey = (grey >> 8 if grey.max() > 255 else grey).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise errors.ImageUnusable("floating-point pixels are not supported")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")


def _zone(tags: dict[int, Any]) -> timezone:
    """The camera's zone: `+02:00` in one of two tags, or whole hours; UTC when none says."""
    for tag in (ExifTags.Base.OffsetTimeOriginal, ExifTags.Base.OffsetTime):
        text = _text(tags.get(tag)).strip("\0 ")
        try:
            return datetime.strptime(text, "%z").tzinfo or UTC  # type: ignore[return-value]  # %z gives a timezone
        except ValueError:
            continue
    hours = tags.get(ExifTags.Base.TimeZoneOffset)
    hours = hours[0] if isinstance(hours, tuple) and hours else hours
    return timezone(timedelta(hours=hours)) if isinstance(hours, int) and abs(hours) <= 14 else UTC
