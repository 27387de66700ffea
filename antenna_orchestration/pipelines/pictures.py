"""Draws detections on a photograph: in full size, or as a JPEG small enough for a page of Dagster or an e-mail."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import images

MAX_BYTES: Final = 60_000
"""Largest picture in bytes. Dagster stores it in its event log, so it must be small."""

FULL_WIDTH: Final = 8192
"""Width of a picture in full size, at most: wider photographs are rare, and one of them takes much memory."""

_MOTH: Final = (255, 140, 0)
_OTHER: Final = (0, 120, 255)
_UNCLASSIFIED: Final = (230, 0, 60)


def draw_boxes(
    data: bytes, detections: Sequence[Detection], max_width: int = 1024, *, max_bytes: int | None = MAX_BYTES
) -> bytes:
    """Draw the detections on a photograph; returns a JPEG at most `max_width` pixels wide and `max_bytes` large.

    `data` is the photograph as the pipeline got it, and the boxes are in its pixels as stored. Each box is labelled
    with its score in per cent, if it has one, and its terminal label. Raises `ImageUnusable` as `images.decode` does.
    """
    decoded = images.decode(data, shrink_to=max_width)
    photograph = Image.fromarray(decoded.pixels)
    width = min(max_width, photograph.width)
    while True:
        # Shrink before drawing, so that lines and letters stay sharp.
        picture = photograph.resize(
            (width, max(1, photograph.height * width // photograph.width)), Image.Resampling.BOX
        )
        _draw(picture, detections, width / decoded.width)
        for quality in (80, 65, 50, 40):
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
            if max_bytes is None or stream.tell() <= max_bytes:
                return stream.getvalue()
        width = width * 4 // 5


def _draw(picture: Image.Image, detections: Sequence[Detection], scale: float) -> None:
    """Draw boxes with scores and labels; `scale` is pixels of the picture per pixel of the photograph."""
    pencil = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(9, picture.width // 110))
    # The best scores are drawn last, on top.
    for detection in sorted(detections, key=lambda detection: detection.score or 0.0):
        x1, y1, x2, y2 = (value * scale for value in detection.box)
        label = next((step.label for step in reversed(detection.classifications) if step.terminal), "")
        colour = {"moth": _MOTH, "nonmoth": _OTHER}.get(label, _UNCLASSIFIED if not label else _MOTH)
        pencil.rectangle((x1 - 2, y1 - 2, x2 + 1, y2 + 1), outline=colour, width=2)
        score = "" if detection.score is None else f"{detection.score * 100:.0f}"
        text = f"{score} {label}".strip()
        if text:
            _write(pencil, font, text, box=(x1, y1, x2, y2), colour=colour, width=picture.width)


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
