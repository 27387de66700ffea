"""M8: what a small file may cost when it is decoded."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from antenna_orchestration import errors
from antenna_orchestration.pipelines import colours, images, jpeg_scans

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))


def encoded(kind: str, image: Image.Image = NOISE, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is there again and again, as decoders allow."""
    plain = encoded("JPEG", progressive=True)
    own = jpeg_scans.count(plain, 1000)
    last = plain.rfind(b"\xff\xda")
    return plain[:last] + plain[last:-2] * (scans - own + 1) + plain[-2:]


@pytest.mark.parametrize("read", [images.decode, images.size_of_plain_jpeg])
def test_a_jpeg_of_thousands_of_scans_is_refused_undecoded(read: object) -> None:
    """M8: 2,000 scans were not decoded in 90 s."""
    with pytest.raises(errors.ImageUnusable, match="a JPEG of more than 100 scans"):
        read(with_scans(2000))  # type: ignore[operator]
    assert images.decode(with_scans(100)).pixels.shape == (60, 80, 3)


def test_scans_are_counted_as_decoders_read_them() -> None:
    progressive = encoded("JPEG", progressive=True)
    counted = jpeg_scans.count(progressive, 1000)
    assert 5 < counted < 15
    assert jpeg_scans.count(with_scans(77), 1000) == 77
    # A camera's: one scan, with restarts, fill bytes, and a thumbnail of many scans in its EXIF data.
    exif = b"Exif\0\0" + progressive
    for data in (encoded("JPEG"), encoded("JPEG", exif=exif), encoded("JPEG", restart_marker_rows=1)):
        assert jpeg_scans.count(data, 1000) == 1
        assert jpeg_scans.count(data[:2] + b"\xff" * 9 + data[2:], 1000) == 1
    # One scan for each colour, as some encoders write them: all are read.
    separate = encoded("JPEG").replace(b"\xff\xda\0\x0c\x03", b"\xff\xda\0\x0c\x01")
    assert jpeg_scans.count(separate[:-2] + b"\xff\xda\0\x08\x01\x02\0\0\x3f\0" * 50, 1000) == 51
    for cut in range(0, len(progressive), 97):
        assert jpeg_scans.count(progressive[:cut], 1000) <= counted


def test_large_photographs_of_cameras_have_room() -> None:
    assert jpeg_scans.limit(20_000, 10_000) == 25
    assert jpeg_scans.limit(30_000, 3_000) > 50
    assert jpeg_scans.limit(1, 1) == 100


def test_decoders_that_take_more_memory_may_have_fewer_pixels() -> None:
    """M8: a WebP of 341 kB took 4 GB."""
    for kind in ("WEBP", "JPEG2000"):
        data = encoded(kind)
        with pytest.raises(errors.ImageUnusable, match=f"80x60 pixels, over 40% of MAX_PIXELS .*{kind}"):
            images.decode(data, max_pixels=10_000)
        assert images.decode(data, max_pixels=12_000).width == 80
    for kind in ("JPEG", "PNG", "TIFF"):
        assert images.decode(encoded(kind), max_pixels=4_800).width == 80


def test_strips_make_the_same_pixels_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """M8: transparency and 16 bits were converted whole, in up to forty bytes a pixel."""
    alpha = Image.fromarray(np.random.default_rng(1).integers(0, 255, (60, 80), np.uint8))
    clear = NOISE.copy()
    clear.putalpha(alpha)
    samples = np.random.default_rng(2).integers(0, 4000, (61, 83), np.uint16)
    deep = Image.fromarray(samples)
    palette = NOISE.quantize(16)
    files = [encoded("PNG", clear), encoded("PNG", deep), encoded("PNG", palette, transparency=3)]
    whole = [images.decode(data).pixels for data in files]
    monkeypatch.setattr(colours, "_rows_at_once", lambda width: 7)
    for before, data in zip(whole, files, strict=True):
        assert np.array_equal(before, images.decode(data).pixels)
    white = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    assert np.array_equal(whole[0], np.asarray(white))
