"""Pictures for people: a photograph with its detections drawn in, or what is in each box.

Boxes are in pixels of the photograph as stored. People get it upright: turned as its EXIF data say, boxes with it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from antenna_orchestration.domain import masks
from antenna_orchestration.domain.messages import Detection, Mask
from antenna_orchestration.pipelines import images

MAX_BYTES: Final = 60_000
"""Largest picture in bytes. Dagster stores it in its event log, so it must be small."""

MARGIN: Final = 10
"""Pixels outside of the picture at which a box that goes on is cut."""

LONGEST_TEXT: Final = 60
"""Characters of a label that are written."""

FULL_WIDTH: Final = 8192
"""Width of a picture in full size, at most: wider photographs are rare, and one of them takes much memory."""

_SHADE: Final = 100
"""Of 255: how much of a mask's colour covers the photograph."""

_MOTH: Final = (255, 140, 0)
_OTHER: Final = (0, 120, 255)
_UNCLASSIFIED: Final = (230, 0, 60)


CROP_QUALITY: Final = 92

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a photograph upright, by its EXIF orientation; from 5 on, width and height change places."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of a photograph as stored."""


def draw_boxes(
    data: bytes, detections: Sequence[Detection], max_width: int = 1024, *, max_bytes: int | None = MAX_BYTES
) -> bytes:
    """Draw the detections on a photograph; returns a JPEG at most `max_width` pixels wide and `max_bytes` large.

    `data` is the photograph as the pipeline got it. A mask tints its pixels; a rotated box stands in the place of the
    box around it. Each box is labelled with its score in per cent, if it has one, and
    its terminal label. Raises `ImageUnusable` as `images.decode` does.
    """
    decoded = images.decode(data, shrink_to=max_width)
    turn = images.orientation(data)
    photograph = Image.fromarray(decoded.pixels)
    lies = turn >= 5
    width = min(max_width, photograph.height if lies else photograph.width)
    while True:
        # Shrink before drawing, so that lines and letters stay sharp.
        scale = width / (photograph.height if lies else photograph.width)
        size = (
            (max(1, int(photograph.width * scale)), width) if lies else (width, max(1, int(photograph.height * scale)))
        )
        picture = photograph.resize(size, Image.Resampling.BOX)
        for one in detections:
            if one.mask:
                _shade(picture, one.mask, _colour(_label(one)))
        picture = _upright(picture, turn)
        boxes = [_upright_box(one.box, turn, decoded.width, decoded.height) for one in detections]
        rotated = [_upright_corners(one, turn, decoded.width, decoded.height) for one in detections]
        _draw(picture, detections, boxes, rotated, width / (decoded.height if lies else decoded.width))
        for quality in (80, 65, 50, 40):
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
            if max_bytes is None or stream.tell() <= max_bytes:
                return stream.getvalue()
        width = width * 4 // 5


def crop_boxes(data: bytes, boxes: Sequence[Box], *, margin: float = 0.0, longest: int | None = None) -> list[bytes]:
    """What is in each box, as JPEG, with a margin as a share of the box's longer side, within the photograph.

    A crop is at most `longest` pixels on its longer side. A box that has nothing of the photograph in it gives no
    bytes. Raises `ImageUnusable` as `images.decode` does.
    """
    decoded = images.decode(data)
    turn = images.orientation(data)
    return [_crop(decoded.pixels, box, turn, margin=margin, longest=longest) for box in boxes]


def _crop(pixels: NDArray[np.uint8], box: Box, turn: int, *, margin: float, longest: int | None) -> bytes:
    height, width = pixels.shape[:2]
    left, top, right, bottom = box
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return b""
    more = margin * max(right - left, bottom - top)
    x1, y1 = max(0, math.floor(left - more)), max(0, math.floor(top - more))
    # At least one pixel, also of a box that is a line.
    x2 = max(x1 + 1, min(width, math.ceil(right + more)))
    y2 = max(y1 + 1, min(height, math.ceil(bottom + more)))
    picture = Image.fromarray(np.ascontiguousarray(pixels[y1:y2, x1:x2]))
    if longest is not None and longest < max(picture.size):
        picture.thumbnail((longest, longest), Image.Resampling.BOX)
    stream = io.BytesIO()
    _upright(picture, turn).save(stream, "JPEG", quality=CROP_QUALITY, subsampling=0)
    return stream.getvalue()


def _upright(picture: Image.Image, turn: int) -> Image.Image:
    return picture.transpose(_TURNS[turn]) if turn in _TURNS else picture


def _upright_box(box: Box, turn: int, width: int, height: int) -> Box:
    """The box on the photograph after it was turned; `width` and `height` are those before."""
    x1, y1, x2, y2 = box
    if turn in (2, 3, 7, 8):
        x1, x2 = width - x2, width - x1
    if turn in (3, 4, 6, 7):
        y1, y2 = height - y2, height - y1
    return (y1, x1, y2, x2) if turn >= 5 else (x1, y1, x2, y2)


def _upright_corners(detection: Detection, turn: int, width: int, height: int) -> list[masks.Point]:
    """The corners of its rotated box likewise; none if it has no such."""
    corners = masks.corners_of(detection.rotated) if detection.rotated else []
    return [_upright_box((x, y, x, y), turn, width, height)[:2] for x, y in corners]


def _shade(picture: Image.Image, mask: Mask, colour: tuple[int, int, int]) -> None:
    """Tint the pixels of a mask on a picture of the photograph as stored, whatever its size."""
    left, pixels = masks.columns_of(mask)
    rows = np.flatnonzero(pixels.any(axis=1))
    if not len(rows):
        return
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    across, down = picture.width / mask.width, picture.height / mask.height
    x1, y1 = int(left * across), int(top * down)
    x2 = max(x1 + 1, math.ceil((left + pixels.shape[1]) * across))
    y2 = max(y1 + 1, math.ceil(bottom * down))
    shade = Image.fromarray(pixels[top:bottom].astype(np.uint8) * _SHADE)
    picture.paste(colour, (x1, y1, x2, y2), shade.resize((x2 - x1, y2 - y1), Image.Resampling.BOX))


def _label(detection: Detection) -> str:
    return next((step.label for step in reversed(detection.classifications) if step.terminal), "")


def _colour(label: str) -> tuple[int, int, int]:
    return {"moth": _MOTH, "nonmoth": _OTHER}.get(label, _UNCLASSIFIED if not label else _MOTH)


def _draw(
    picture: Image.Image,
    detections: Sequence[Detection],
    boxes: Sequence[Box],
    rotated: Sequence[Sequence[masks.Point]],
    scale: float,
) -> None:
    """Draw boxes with scores and labels; `scale` is pixels of the picture per pixel of the photograph."""
    pencil = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(9, picture.width // 110))
    # The best scores are drawn last, on top.
    drawn = sorted(zip(detections, boxes, rotated, strict=True), key=lambda one: one[0].score or 0.0)
    for detection, box, corners in drawn:
        # Drawing takes time by the length of a line, also outside of the picture.
        x1, y1, x2, y2 = (
            min(max(value * scale, -MARGIN), side + MARGIN) for value, side in zip(box, 2 * picture.size, strict=True)
        )
        label = _label(detection)
        colour = _colour(label)
        if corners:
            pencil.polygon([_near(x * scale, y * scale, picture) for x, y in corners], outline=colour, width=2)
        else:
            pencil.rectangle((x1 - 2, y1 - 2, x2 + 1, y2 + 1), outline=colour, width=2)
        score = "" if detection.score is None else f"{detection.score * 100:.0f}"
        text = f"{score} {label[:LONGEST_TEXT]}".strip()
        if text:
            _write(pencil, font, text, box=(x1, y1, x2, y2), colour=colour, width=picture.width)


def _near(x: float, y: float, picture: Image.Image) -> masks.Point:
    """A corner, not farther outside of the picture than it is wide and high."""
    width, height = picture.size
    return min(max(x, -width), 2 * width), min(max(y, -height), 2 * height)


def _write(
    pencil: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    *,
    box: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    width: int,
) -> None:
    """Write white text on a strip of the box's colour, above the box, or below it if there is no room above."""
    _, top, right, bottom = pencil.textbbox((0, 0), text, font=font)
    height = bottom - top + 2
    x = max(0, min(box[0] - 2, width - right - 2))
    y = box[1] - 2 - height
    if y < 0:
        y = box[3] + 2
    pencil.rectangle((x, y, x + right + 2, y + height), fill=colour)
    pencil.text((x + 1, y + 1 - top), text, fill="white", font=font)
