"""A9, point 4: files as cameras, copies and programs leave them, each with its right answer: its pixels or its reason.

Every file is made of `SCENE`, so that the right pixels are known.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from antenna_orchestration import errors
from antenna_orchestration.pipelines import file_kinds, images, interface, registry
from tests.pipelines import odd_files

LIMIT = 10_000_000

GREY = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(48, 0)
"""A ramp from black on the left to white on the right."""

COLOURS = np.stack([GREY, GREY[:, ::-1], np.full_like(GREY, 90)], axis=2)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def deep(pixels: NDArray[np.uint8], bits: int) -> NDArray[np.uint16]:
    """The same picture as a camera with so many bits stores it: in the lower ones of 16."""
    return (pixels.astype(int) * (2**bits - 1) // 255).astype(np.uint16)


def with_text(**options: Any) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * 3_000_000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "b" * 3_000_000, zip=True)
    return saved(Image.fromarray(COLOURS), "PNG", pnginfo=info, **options)


def palette(**options: Any) -> bytes:
    image = Image.fromarray((GREY > 127).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    return saved(image, "PNG", **options)


def frames() -> list[Image.Image]:
    return [Image.new("RGB", (64, 48), colour) for colour in ("blue", "black")]


HALVES = np.where(GREY[:, :, None] > 127, np.array([200, 100, 50]), np.array([10, 20, 30]))
LEFT_WHITE = np.where(GREY[:, :, None] > 127, np.array([200, 100, 50]), 255)
AS_GREY = GREY[:, :, None].repeat(3, 2)
TURNED = Image.Exif()
TURNED[0x0112] = 6
BIG_PROFILE = bytes(3_000_000)


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    return saved(image or Image.fromarray(COLOURS), "JPEG", quality=95, **options)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        *[(saved(Image.fromarray(deep(GREY, bits)), "PNG"), AS_GREY) for bits in (10, 12, 14, 16)],
        *[(saved(Image.fromarray(deep(GREY, bits)), "TIFF"), AS_GREY) for bits in (10, 12, 14, 16)],
        (odd_files.twelve_bit_tiff(deep(GREY, 12)), AS_GREY),
        (odd_files.twelve_bit_tiff(deep(GREY, 10)), AS_GREY / 4),
        (saved(Image.fromarray(GREY.astype(np.int32) << 12), "TIFF"), AS_GREY),
        *[(odd_files.deep_png(deep(COLOURS, bits)), COLOURS) for bits in (10, 12, 16)],
        (with_text(), COLOURS),
        (with_text(icc_profile=BIG_PROFILE), COLOURS),
        (jpeg(icc_profile=BIG_PROFILE), COLOURS),
        (jpeg()[:-2], COLOURS),
        (jpeg()[:-1], COLOURS),
        (jpeg(restart_marker_blocks=2)[:-2], COLOURS),
        (jpeg(Image.fromarray(GREY))[:-2], AS_GREY),
        (jpeg(Image.fromarray(COLOURS).convert("CMYK")), COLOURS),
        (jpeg(Image.fromarray(COLOURS).convert("CMYK"))[:-2], COLOURS),
        (saved(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), COLOURS),
        (palette(), HALVES),
        (palette(transparency=0), LEFT_WHITE),
        (saved(Image.fromarray(np.stack([GREY, np.full_like(GREY, 255)], 2), "LA"), "PNG"), AS_GREY),
        (saved(Image.fromarray(np.stack([GREY, np.zeros_like(GREY)], 2), "LA"), "PNG"), np.full_like(COLOURS, 255)),
        (jpeg(exif=TURNED), COLOURS),
        (saved(Image.fromarray(COLOURS), "MPO", save_all=True, append_images=frames(), quality=95), COLOURS),
        (saved(Image.fromarray(COLOURS), "PNG", save_all=True, append_images=frames()), COLOURS),
        (saved(Image.fromarray(COLOURS), "WEBP", save_all=True, append_images=frames(), lossless=True), COLOURS),
        (saved(Image.fromarray(COLOURS), "TIFF", save_all=True, append_images=frames()), COLOURS),
        (saved(Image.fromarray(GREY), "GIF", save_all=True, append_images=frames()), AS_GREY),
    ],
)  # fmt: skip
def test_odd_files_have_the_right_pixels(data: bytes, expected: Any) -> None:
    decoded = images.decode(data, max_pixels=LIMIT, allow_truncated=False)
    assert (decoded.width, decoded.height) == (64, 48)
    assert np.abs(decoded.pixels.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("slug", ["light_trap_network", "light_trap_blobs"])
def test_one_pixel_is_an_image_for_every_detector(slug: str) -> None:
    pipeline = interface.build(registry.get(slug, ()), {})
    pipeline.load("cpu")
    for size in ((1, 1), (2000, 1), (1, 2000)):
        image = interface.RawImage(image=0, uri="a.jpg", data=jpeg(Image.new("RGB", size, (200, 200, 190))))
        prepared = pipeline.prepare(image)
        found = pipeline.finish(prepared, pipeline.infer([prepared])[0])
        assert (found.width, found.height) == size


@pytest.mark.parametrize("options", [{}, {"subsampling": 2}, {"restart_marker_blocks": 3}, {"progressive": True}])
def test_a_jpeg_that_lacks_pixels_is_never_taken_for_whole(options: dict[str, Any]) -> None:
    whole = jpeg(Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 40, 3), np.uint8)), **options)
    right = images.decode(whole, max_pixels=LIMIT).pixels
    refused = 0
    for missing in range(1, 120):
        try:
            decoded = images.decode(whole[:-missing], max_pixels=LIMIT, allow_truncated=False)
        except errors.ImageUnusable as error:
            assert str(error) == "truncated JPEG"
            refused += 1
        else:
            assert (decoded.pixels == right).all()
    assert refused >= 115


def test_a_broken_stream_is_kept_as_far_as_it_goes_when_allowed() -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 255, (200, 200, 3), np.uint8))
    broken = bytearray(jpeg(noise))
    middle = len(broken) // 2
    broken[middle : middle + 40] = b"\xff\xc0" * 20
    torn = bytearray(saved(noise, "PNG"))
    torn[len(torn) // 2 : len(torn) // 2 + 30] = bytes(30)
    for data, form in ((bytes(broken), "JPEG"), (bytes(torn), "PNG")):
        with pytest.raises(errors.ImageUnusable, match=f"damaged {form}: broken data stream"):
            images.decode(data, max_pixels=LIMIT, allow_truncated=False)
        part = images.decode(data, max_pixels=LIMIT, allow_truncated=True).pixels
        whole = images.decode(saved(noise, form, quality=95), max_pixels=LIMIT).pixels
        assert (part[:60] == whole[:60]).all()


def test_a_picture_without_one_readable_row_is_refused_even_when_allowed() -> None:
    with pytest.raises(errors.ImageUnusable, match="truncated PNG"):
        images.decode(saved(Image.fromarray(COLOURS), "PNG")[:50], max_pixels=LIMIT, allow_truncated=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(70_000), "not an image: the file begins with zeros, as after a failed copy"),
        (saved(Image.fromarray(COLOURS), "TIFF", compression="tiff_lzw")[:900], "a truncated or unusual TIFF"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2", "not an image: a video, or a kind of picture"),
        (b"RIFF\0\0\0\0AVI LIST", "not an image: a video, or a kind of picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS; fetch the file with"),
        (saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "floating-point pixels are not supported"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_says_what_to_do(data: bytes, reason: str) -> None:
    with pytest.raises(errors.ImageUnusable, match=reason):
        images.decode(data, max_pixels=LIMIT, allow_truncated=False)


def heic(**options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(COLOURS)).save(stream, quality=95, **options)
    return stream.getvalue()


def test_heic_is_read_where_its_library_is_installed() -> None:
    decoded = images.decode(heic(), max_pixels=LIMIT)
    assert np.abs(decoded.pixels.astype(int) - COLOURS).mean() < 6
    with pytest.raises(errors.ImageUnusable, match="64x48 pixels, over MAX_PIXELS"):
        images.decode(heic(), max_pixels=100)
    with pytest.raises(errors.ImageUnusable):
        images.decode(heic()[:-300], max_pixels=LIMIT)


def test_camera_raw_is_developed_where_its_library_is_installed() -> None:
    pytest.importorskip("rawpy")
    decoded = images.decode(odd_files.dng(), max_pixels=LIMIT)
    red, green, blue = decoded.pixels.reshape(-1, 3).mean(0)
    assert (decoded.width, decoded.height) == (64, 48)
    assert green > 100 > 10 * max(red, blue) / 10
    small = images.decode(odd_files.dng(), max_pixels=LIMIT, shrink_to=32)
    assert (small.width, small.height, small.pixels.shape) == (64, 48, (24, 32, 3))
    with pytest.raises(errors.ImageUnusable, match="64x48 pixels, over MAX_PIXELS"):
        images.decode(odd_files.dng(), max_pixels=100)


@pytest.mark.parametrize(
    ("module", "make", "reason"),
    [
        (
            "pillow_heif",
            heic,
            "HEIC is not read by this worker; pip install pillow-heif there, or convert it",
        ),
        (
            "rawpy",
            odd_files.dng,
            "camera raw is not read by this worker; pip install rawpy there, or convert it",
        ),
    ],
)
def test_without_a_library_the_reason_names_what_helps(
    monkeypatch: pytest.MonkeyPatch, module: str, make: Callable[[], bytes], reason: str
) -> None:
    data = make()
    # What the import system looks up for a package that is not installed.
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(errors.ImageUnusable, match=reason):
        images.decode(data, max_pixels=LIMIT)
    assert not {".heic", ".dng"} <= set(file_kinds.extra_suffixes())


def test_a_tiff_with_pages_is_no_raw_file() -> None:
    assert not file_kinds.is_raw(saved(Image.fromarray(COLOURS), "TIFF", save_all=True, append_images=frames()))
    assert file_kinds.is_raw(b"II*\0\x10\0\0\0CR\2\0")
    assert file_kinds.is_raw(b"FUJIFILMCCD-RAW 0201")
    assert not file_kinds.is_raw(b"II*\0\xff\xff\xff\xff")
