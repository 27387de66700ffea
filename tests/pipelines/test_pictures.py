"""The picture for people is small and shows the boxes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection
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
