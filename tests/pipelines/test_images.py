"""Files are decoded to the right pixels, or refused with a reason that people understand."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from antenna_orchestration import errors
from antenna_orchestration.pipelines import images

LIMIT = 10_000_000


def picture(width: int = 320, height: int = 200) -> Image.Image:
    """Three flat colours side by side, so that a pixel in the middle of each survives any compression."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate([(200, 40, 30), (20, 180, 60), (240, 240, 240)]):
        pixels[:, index * width // 3 : (index + 1) * width // 3] = colour
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "JPEG2000"])
def test_every_format_gives_the_same_colours(form: str) -> None:
    decoded = images.decode(encoded(picture(), form), max_pixels=LIMIT)
    assert (decoded.width, decoded.height) == (320, 200)
    assert (decoded.pixels.shape, decoded.pixels.dtype) == ((200, 320, 3), np.uint8)
    assert np.abs(decoded.pixels[100, 50].astype(int) - (200, 40, 30)).max() < 12


def test_rotation_in_exif_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = images.decode(encoded(picture(), exif=exif), max_pixels=LIMIT)
    assert decoded.pixels.shape == (200, 320, 3)


@pytest.mark.parametrize(
    ("mode", "form", "expected"),
    [
        ("CMYK", "JPEG", (200, 40, 30)),
        ("L", "PNG", (86, 86, 86)),
        ("P", "PNG", (204, 51, 0)),
        ("RGBA", "PNG", (200, 40, 30)),
    ],
)
def test_colour_modes_become_rgb(mode: str, form: str, expected: tuple[int, int, int]) -> None:
    decoded = images.decode(encoded(picture().convert(mode), form), max_pixels=LIMIT)
    assert np.abs(decoded.pixels[100, 50].astype(int) - expected).max() < 12


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(8, 0)
    decoded = images.decode(encoded(Image.fromarray(grey), "PNG"), max_pixels=LIMIT)
    assert np.abs(decoded.pixels[4, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_transparent_parts_become_white() -> None:
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert (images.decode(encoded(image, "PNG"), max_pixels=LIMIT).pixels == 255).all()


def test_shrinking_keeps_the_full_size_for_the_boxes() -> None:
    data = encoded(picture(4000, 3000))
    decoded = images.decode(data, max_pixels=2 * LIMIT, shrink_to=900)
    assert (decoded.width, decoded.height) == (4000, 3000)
    assert decoded.pixels.shape == (750, 1000, 3)
    assert images.decode(data, max_pixels=2 * LIMIT, shrink_to=4000).pixels.shape == (3000, 4000, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image: the file is empty"),
        (b"Dear diary, no photograph today.", "not an image"),
        (b"\n<!DOCTYPE html><html><body>404", "not an image: the file is a web page or XML"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encoded(picture())[:20], "truncated JPEG"),
        (encoded(picture())[:-900], "truncated JPEG"),
        (encoded(picture(), progressive=True)[:-900], "truncated JPEG"),
        (encoded(picture(), "PNG")[:-200], "truncated PNG"),
        (encoded(picture(), "BMP")[:-2000], "truncated BMP"),
    ],
)
def test_what_cannot_be_used_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(errors.ImageUnusable) as caught:
        images.decode(data, max_pixels=LIMIT, allow_truncated=False)
    assert str(caught.value) == reason


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG", "TIFF", "GIF", "BMP", "JPEG2000"])
def test_damaged_bytes_never_raise_anything_else(form: str) -> None:
    whole = encoded(picture().convert("P" if form == "GIF" else "RGB"), form)
    noise = np.random.default_rng(5)
    for _ in range(60):
        data = bytearray(whole)
        for position in noise.integers(0, len(data), 6):
            data[position] = noise.integers(0, 256)
        cut = bytes(data[: noise.integers(1, len(data))])
        with contextlib.suppress(errors.ImageUnusable):
            images.decode(cut, max_pixels=LIMIT, allow_truncated=bool(noise.integers(2)))


def test_truncated_images_are_decoded_as_far_as_they_go_when_allowed() -> None:
    rows = Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 300, 3), np.uint8))
    for form in ("JPEG", "PNG"):
        data = encoded(rows, form)
        whole = images.decode(data, max_pixels=LIMIT).pixels
        part = images.decode(data[: len(data) * 2 // 3], max_pixels=LIMIT, allow_truncated=True).pixels
        assert (part[:150] == whole[:150]).all()
        assert (part[290:] == part[290, 0]).all()
    whole, allowed = (
        images.decode(encoded(rows), max_pixels=LIMIT, allow_truncated=way).pixels for way in (False, True)
    )
    assert (whole == allowed).all()


def test_one_thread_allowing_truncation_does_not_allow_it_for_another() -> None:
    data = encoded(picture())[:-900]

    def attempt(index: int) -> bool:
        try:
            images.decode(data, max_pixels=LIMIT, allow_truncated=index % 2 == 0)
        except errors.ImageUnusable:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, range(200))) == [index % 2 == 0 for index in range(200)]


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims this size, without any pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + bytes(4)
        + b"IDAT"
    )


def test_too_many_pixels_are_refused_before_decoding() -> None:
    with pytest.raises(errors.ImageUnusable, match="24000x24000 pixels, over MAX_PIXELS"):
        images.decode(png_header(24_000, 24_000), max_pixels=200_000_000)


def test_our_limit_counts_not_pillows() -> None:
    # Pillow itself would warn (an error in tests) at 90 million pixels, and refuse 180 million.
    for width in (9_000, 18_000):
        with pytest.raises(errors.ImageUnusable, match="truncated PNG"):
            images.decode(png_header(width, 10_000), max_pixels=200_000_000)


def stamped(**tags: Any) -> bytes:
    exif = Image.Exif()
    inner = exif.get_ifd(0x8769)
    names = {"original": 0x9003, "offset_original": 0x9011, "offset": 0x9010}
    for name, value in tags.items():
        if name == "hours":
            exif[0x882A] = value
        else:
            inner[names[name]] = value
    return encoded(picture(), exif=exif)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"original": "2022:08:10 23:26:37"}, datetime(2022, 8, 10, 23, 26, 37, tzinfo=UTC)),
        (
            {"original": "2022:08:10 23:26:37", "offset_original": "+02:00"},
            datetime(2022, 8, 10, 21, 26, 37, tzinfo=UTC),
        ),
        ({"original": "2022:08:10 23:26:37", "offset": "-05:00"}, datetime(2022, 8, 11, 4, 26, 37, tzinfo=UTC)),
        ({"original": "2023:11:10 21:45:39", "hours": 2}, datetime(2023, 11, 10, 19, 45, 39, tzinfo=UTC)),
        (
            {"original": "2022:08:10 23:26:37", "offset_original": "   :  "},
            datetime(2022, 8, 10, 23, 26, 37, tzinfo=UTC),
        ),
        ({"original": "0000:00:00 00:00:00"}, None),
        ({"original": "    :  :     :  :  "}, None),
        ({}, None),
    ],
)
def test_capture_time_from_exif(tags: dict[str, Any], expected: datetime | None) -> None:
    data = stamped(**tags)
    for source in (data, io.BytesIO(data)):
        taken = images.exif_time(source)
        assert (taken.utc if taken else None) == expected


def test_capture_time_from_the_beginning_of_a_file_and_from_none() -> None:
    data = stamped(original="2022:08:10 23:26:37")
    assert images.exif_time(data[:2000]) == (datetime(2022, 8, 10, 23, 26, 37), None)
    assert images.exif_time(b"no image") is None


def test_capture_time_survives_exif_of_wrong_types() -> None:
    exif = Image.Exif()
    exif[0x882A] = TiffImagePlugin.IFDRational(1, 0)
    exif.get_ifd(0x8769)[0x9003] = 12
    assert images.exif_time(encoded(picture(), exif=exif)) is None


@pytest.mark.long
def test_a_header_that_finds_no_memory_says_nothing_of_the_photograph() -> None:
    """It was said to be no image, for good. A process of its own has the limit, just below what reading takes."""
    code = """
import io, resource
from pathlib import Path
from PIL import Image
from antenna_orchestration.pipelines import images

file = io.BytesIO()
Image.new("RGB", (8, 8)).save(file, "PNG", exif=b"x" * 60_000_000)
data = file.getvalue()
images.decode(data, max_pixels=64)
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 20_000_000,) * 2)
try:
    images.decode(data, max_pixels=64)
except MemoryError:
    print("short of memory")
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.stdout == "short of memory\n", said.stderr
