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
from antenna_orchestration.pipelines import colours, file_kinds, jpeg_scans, raw_files
from antenna_orchestration.pipelines.interface import RawImage

# Pillow's guard against decompression bombs warns at 89 million pixels and refuses at 179 million, whatever our setting
# says. `_open` checks the setting `MAX_PIXELS` before anything is decoded, so Pillow's guard is switched off, once.
Image.MAX_IMAGE_PIXELS = None

FORMATS: Final = ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000"]
"""Formats that are opened; JPEG includes MPO. The list keeps out formats that run other programs, such as EPS.

`HEIF` is added when the first such file is met, if the library for it is installed."""

_SHARE_OF_PIXELS: Final = {"WEBP": 0.4, "JPEG2000": 0.4}
"""Formats whose decoders take several times the memory of others for a pixel, and the share of `MAX_PIXELS` that they
may have. All other formats stay below 3 GB at 200 million pixels."""

_BEGINNING_OF_JPEG: Final = b"\xff\xd8"
_END_OF_JPEG: Final = b"\xff\xd9"

_ANY_BITS: Final = tuple(bytes((seed + 89 * n * n) % 251 for n in range(1, 65)) for seed in (0, 64, 100, 150, 200, 240))
"""Ways in which a JPEG's data may go on where the file ends; each begins with other Huffman codes."""


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

    Transparent parts become white, of several frames the first is taken, and samples of more than eight bits are scaled
    (see `colours.to_rgb`). A JPEG that lacks no more than its end marker is complete.

    Raises `ImageUnusable` if the bytes are not an image, or the image is damaged, is truncated or has more than
    `max_pixels`. With `allow_truncated`, a truncated or damaged image is decoded as far as it goes, and its missing
    part is grey or black; it is refused if nothing of it can be read.
    """
    limits = settings.get()
    allow_truncated = limits.allow_truncated if allow_truncated is None else allow_truncated
    max_pixels = limits.max_pixels if max_pixels is None else max_pixels
    if file_kinds.is_raw(data):
        if not file_kinds.reads_raw():
            raise errors.ImageUnusable(file_kinds.RAW_HELP)
        developed = raw_files.develop(data, max_pixels=max_pixels, shrink_to=shrink_to)
        if developed is not None:
            pixels, (width, height) = developed
            return DecodedImage(pixels=pixels, width=width, height=height)
    data = file_kinds.without_text(data)
    image = _open(data, max_pixels)
    width, height = image.size
    deep = data if colours.is_deep(image) else None
    if shrink_to is not None:
        _draft(image, shrink_to)
    fault = _load(image)
    if fault is not None:
        image = _rescued(image, data, fault, shrink_to=shrink_to, allow_truncated=allow_truncated)
    return DecodedImage(pixels=colours.to_rgb(image, deep=deep), width=width, height=height)


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

    It reads the header and decodes nothing. Raises `ImageUnusable` for a JPEG whose header is broken,
    and for one of more than `max_pixels` (default: the setting).
    """
    if not data.startswith(_BEGINNING_OF_JPEG):
        return None
    image = _open(data, settings.get().max_pixels if max_pixels is None else max_pixels)
    ordinary = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and not image.has_transparency_data
    # Adobe's marker with transform 0: the channels are stored as red, green and blue, not as YCbCr.
    if not ordinary or image.info.get("adobe_transform") == 0 or not data.rstrip(b"\0").endswith(_END_OF_JPEG):
        return None
    return image.width, image.height


def orientation(data: bytes) -> int:
    """How the EXIF data say that a photograph is to be turned for people, from 1 (not at all) to 8.

    1 if nothing is said or it cannot be read, and for HEIC, which `decode` turns as its container says.
    """
    try:
        with Image.open(io.BytesIO(file_kinds.without_text(data)), formats=FORMATS) as image:
            turn = image.getexif().get(ExifTags.Base.Orientation, 1)
            return turn if turn in range(1, 9) else 1
    except Exception:
        # As below. A photograph that lies on its side is still one.
        return 1


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
    if file_kinds.is_heic(data):
        if not file_kinds.reads_heic():
            raise errors.ImageUnusable(file_kinds.HEIC_HELP)
        _learn_heic()
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        raise errors.ImageUnusable(file_kinds.why_not_an_image(data)) from error
    if image.width * image.height > max_pixels:
        raise errors.ImageUnusable(f"{image.width}x{image.height} pixels, over MAX_PIXELS ({max_pixels})")
    share = _SHARE_OF_PIXELS.get(image.format or "", 1)
    if image.width * image.height > max_pixels * share:
        raise errors.ImageUnusable(
            f"{image.width}x{image.height} pixels, over {share:.0%} of MAX_PIXELS ({max_pixels}), the most that "
            f"{image.format} may have because of its decoder's memory"
        )
    if image.format in ("JPEG", "MPO"):
        most = jpeg_scans.limit(*image.size)
        if jpeg_scans.count(data, most) > most:
            raise errors.ImageUnusable(f"a JPEG of more than {most} scans, each of which takes the time of a decoding")
    return image


def _learn_heic() -> None:
    """Let Pillow read HEIC from now on; a repetition changes nothing."""
    import pillow_heif

    if "HEIF" not in FORMATS:
        pillow_heif.register_heif_opener()
        FORMATS.append("HEIF")


def _draft(image: Image.Image, longer: int) -> None:
    """Ask the JPEG decoder for the smallest size whose longer side is still at least `longer` pixels."""
    whole = max(image.size)
    divisor = next((n for n in (8, 4, 2) if whole // n >= longer), 1)
    if divisor > 1:
        image.draft(None, (max(1, image.width // divisor), max(1, image.height // divisor)))


def _load(image: Image.Image) -> errors.ImageUnusable | None:
    """Decode an opened image. Returns what is wrong with it, if anything is."""
    name = image.format or "image"
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        if "truncated" in str(error) or "incomplete" in str(error) or isinstance(error, EOFError):
            return errors.ImageUnusable(f"truncated {name}")
        return errors.ImageUnusable(f"damaged {name}: {error}")
    return None


def _rescued(
    image: Image.Image, data: bytes, fault: errors.ImageUnusable, *, shrink_to: int | None, allow_truncated: bool
) -> Image.Image:
    """The image whose loading failed with `fault`, if nothing of it is missing, or if a part is enough.

    Raises `fault` otherwise, and if nothing of the image can be read.
    """
    if image.format in ("JPEG", "MPO"):
        # Half of an end marker may be there.
        begun = data.rstrip(b"\xff")
        if "progressive" not in image.info:
            ways = (_ended(begun + bits + _next_restart(begun) + bits, shrink_to) for bits in _ANY_BITS)
            first = next(ways)
            # If the data may go on in any way, the pixels do not depend on what is missing.
            if first is not None and all(way == first for way in ways):
                return first
        image = _ended(begun, shrink_to) or image
    if allow_truncated and _keep_what_was_decoded(image):
        return image
    raise fault


def _next_restart(jpeg: bytes) -> bytes:
    """The marker before the next part of a JPEG, if it comes in parts that decode alone; else nothing changes by it."""
    last = max(range(8), key=lambda number: jpeg.rfind(bytes((0xFF, 0xD0 + number))))
    return bytes((0xFF, 0xD0 + (last + 1) % 8))


def _ended(jpeg: bytes, shrink_to: int | None) -> Image.Image | None:
    """A JPEG decoded with an end marker after it, which makes its missing part grey; None if it is damaged."""
    image = Image.open(io.BytesIO(jpeg + _END_OF_JPEG), formats=FORMATS)
    if shrink_to is not None:
        _draft(image, shrink_to)
    return image if _load(image) is None else None


def _keep_what_was_decoded(image: Any) -> bool:
    """After a failed load, keep the part that was decoded. False if there is none, but one flat colour."""
    image.tile = []
    try:
        image.load()
        pixels = np.asarray(image)
    except MemoryError:
        raise
    except Exception:
        return False
    return bool((pixels != pixels[:1, :1]).any())
