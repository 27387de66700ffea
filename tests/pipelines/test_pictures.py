"""The picture for people is small and shows the boxes."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ExifTags, Image, ImageOps

from antenna_orchestration import errors
from antenna_orchestration.domain import masks
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection, RotatedBox
from antenna_orchestration.pipelines import pictures
from antenna_orchestration.synthetic import captures

ALGORITHM = AlgorithmRef("a", "1")


def detection(box: tuple[float, float, float, float], label: str | None, score: float | None = 0.87) -> Detection:
    steps = [] if label is None else [Classification(algorithm=ALGORITHM, label=label, score=0.9)]
    return Detection(box=box, score=score, algorithm=ALGORITHM, classifications=steps)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image


def test_boxes_are_drawn_where_they_are_in_the_smaller_picture() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (4000, 2000), "white").save(stream, "JPEG")
    boxes = [detection((1000, 800, 1400, 1200), "moth"), detection((2800, 800, 3200, 1200), "nonmoth")]
    picture = opened(pictures.draw_boxes(stream.getvalue(), boxes, 1000))
    assert picture.size == (1000, 500)
    pixels = np.asarray(picture).astype(int)
    orange, blue = pixels[250, 246:252].min(0), pixels[250, 696:702].min(0)
    assert orange[2] < 100 < orange[0]
    assert blue[0] < 100 < blue[2]
    assert pixels[250, 300].min() > 240
    # The label's strip above the box.
    assert pixels[190:197, 252:290].min() < 120


def test_the_picture_stays_within_the_limit_even_when_everything_is_noise() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), np.uint8))
    stream = io.BytesIO()
    noise.save(stream, "JPEG", quality=95)
    boxes = [detection((x, y, x + 90, y + 90), "moth", 0.5) for x in range(0, 1900, 100) for y in range(0, 1400, 100)]
    data = pictures.draw_boxes(stream.getvalue(), boxes)
    assert len(data) <= pictures.MAX_BYTES
    assert opened(data).width > 100


def test_a_usual_capture_keeps_its_width() -> None:
    data, insects = captures.draw_capture(7, 1600, 1200)
    boxes = [
        detection(insect.box, None if index % 3 else "Noctua pronuba", None if index % 2 else 0.87)
        for index, insect in enumerate(insects)
    ]
    picture = opened(pictures.draw_boxes(data, boxes))
    assert picture.size == (1024, 768)


@pytest.mark.parametrize("box", [(0, 0, 5, 5), (-3, -3, 700, 500), (639, 479, 640, 480), (10, 10, 10, 10)])
def test_boxes_at_the_edge_are_no_trouble(box: tuple[float, float, float, float]) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (640, 480), "grey").save(stream, "PNG")
    assert opened(pictures.draw_boxes(stream.getvalue(), [detection(box, "a label that is rather long")])).size == (
        640,
        480,
    )


def test_no_image_no_picture() -> None:
    with pytest.raises(errors.ImageUnusable):
        pictures.draw_boxes(b"", [])


def lying(turn: int, size: tuple[int, int] = (400, 300)) -> bytes:
    """Grey, with a red bar of 60 x 20 at (40, 30), as a camera stores it that was held in some way."""
    image = Image.new("RGB", size, (128, 128, 128))
    image.paste((255, 0, 0), (40, 30, 100, 50))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif, quality=95, subsampling=0)
    return stream.getvalue()


SMALL = lying(1, (40, 30))


def where_red(image: Image.Image) -> tuple[int, int, int, int]:
    pixels = np.asarray(image.convert("RGB")).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 30))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_people_see_photographs_upright_with_their_boxes(turn: int) -> None:
    photograph = lying(turn)
    with Image.open(io.BytesIO(photograph)) as image:
        upright = ImageOps.exif_transpose(image)
    picture = opened(pictures.draw_boxes(photograph, [detection((40, 30, 100, 50), "moth", None)], max_bytes=None))
    assert picture.size == upright.size
    x1, y1, x2, y2 = where_red(upright)
    np.testing.assert_allclose(where_red(picture), (x1, y1, x2, y2), atol=1)
    # The box is around the bar: its lines are orange.
    for x, y in (
        (x1 - 2, (y1 + y2) // 2),
        (x2 + 1, (y1 + y2) // 2),
        ((x1 + x2) // 2, y1 - 2),
        ((x1 + x2) // 2, y2 + 1),
    ):
        red, green, blue = picture.getpixel((x, y))  # type: ignore[misc]
        assert red > 180 and 80 < green < 190 and blue < 90, (x, y)

    [crop] = pictures.crop_boxes(photograph, [(40, 30, 100, 50)])
    assert opened(crop).size == (x2 - x1, y2 - y1)
    assert where_red(opened(crop)) == (0, 0, x2 - x1, y2 - y1)


def shaped(turn: int, **shape: Any) -> Image.Image:
    """A grey photograph with the bar's place in some other shape, and no text."""
    found = msgspec.structs.replace(detection((40, 30, 100, 50), None, None), **shape)
    return opened(pictures.draw_boxes(lying(turn), [found], max_bytes=None))


@pytest.mark.parametrize("turn", [1, 3, 5, 6])
def test_masks_and_rotated_boxes_turn_with_their_photograph(turn: int) -> None:
    pixels = np.zeros((300, 400), bool)
    pixels[200:260, 100:300] = True
    rotated = RotatedBox(200.0, 150.0, 160.0, 60.0, 30.0)
    plain, tinted = shaped(turn), shaped(turn, mask=masks.of_array(pixels))
    turned = shaped(turn, rotated=rotated)
    assert plain.size == tinted.size == turned.size
    # In the pixels of the file again, whose corners are known.
    back = {1: None, 3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90}[turn]
    plain, tinted, turned = (one if back is None else one.transpose(back) for one in (plain, tinted, turned))
    changed = np.abs(np.asarray(tinted, int) - np.asarray(plain, int)).max(2) > 20
    assert changed[204:256, 104:296].all()
    assert not changed[:190].any() and not changed[:, :90].any() and not changed[:, 310:].any()
    lines = np.abs(np.asarray(turned, int) - np.asarray(plain, int)).max(2) > 40
    corners = masks.corners_of(rotated)
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        x, y = int((x1 + x2) / 2), int((y1 + y2) / 2)
        assert lines[y - 2 : y + 3, x - 2 : x + 3].any(), (x, y)
    assert not lines[148:153, 195:206].any(), "its middle is empty"


@settings(max_examples=30, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 30), st.integers(1, 40))), st.integers(1, 60))
def test_any_mask_is_drawn_on_any_size(pixels: np.ndarray[Any, np.dtype[np.bool_]], width: int) -> None:
    found = msgspec.structs.replace(detection((0, 0, 4, 4), "moth"), mask=masks.of_array(pixels))
    assert opened(pictures.draw_boxes(SMALL, [found], width)).width == min(width, 40)
    left, part = masks.columns_of(found.mask)
    whole = np.zeros_like(pixels)
    whole[:, left : left + part.shape[1]] = part
    assert np.array_equal(whole, pixels)


EDGE = st.floats(-50, 450)


@settings(max_examples=40, deadline=None)
@given(EDGE, EDGE, EDGE, EDGE, st.floats(0, 2), st.integers(1, 200))
def test_no_box_gives_more_than_the_photograph(
    left: float, top: float, right: float, bottom: float, margin: float, longest: int
) -> None:
    box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
    [crop] = pictures.crop_boxes(SMALL, [box], margin=margin, longest=longest)
    assert bool(crop) == (box[0] < 40 and box[1] < 30 and box[2] > 0 and box[3] > 0)
    if crop:
        width, height = opened(crop).size
        assert 1 <= width <= min(40, longest) and 1 <= height <= min(30, longest)


@pytest.mark.parametrize(
    ("box", "margin", "longest", "size"),
    [
        ((40, 30, 100, 50), 0.0, None, (60, 20)),
        # Fractions of pixels belong to it.
        ((40.5, 30.2, 99.5, 49.5), 0.0, None, (60, 20)),
        ((40, 30, 100, 50), 0.5, None, (120, 80)),
        ((-5, -1, 20, 10), 0.0, None, (20, 10)),
        ((380, 290, 500, 400), 1.0, None, (140, 130)),
        ((40, 30, 40, 30), 0.0, None, (1, 1)),
        ((40, 30, 100, 50), 0.0, 30, (30, 10)),
        ((40, 30, 100, 50), 0.0, 100, (60, 20)),
        ((400, 0, 410, 10), 0.5, None, None),
        ((-9, 0, 0, 10), 0.0, None, None),
    ],
)
def test_a_crop_is_the_part_of_the_box_in_the_photograph(
    box: pictures.Box, margin: float, longest: int | None, size: tuple[int, int] | None
) -> None:
    [crop] = pictures.crop_boxes(lying(1), [box], margin=margin, longest=longest)
    assert (opened(crop).size if crop else None) == size
