"""The project's own sample photographs: lit sheets at night with insects whose places are known.

For the demo, for tests, and for tuning detectors; no real photograph is in any of it. A picture is made in the order in
which light would: sheet and lamp, what is fixed to the trap, insects with their shadows, then lens, sensor and JPEG.
Everything follows from the seeds. The insects themselves are drawn in `insects`.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from antenna_orchestration.synthetic.insects import Colour, DrawnInsect, Kind, draw_insect

NIGHT: Final = datetime(2026, 6, 12, 22, 5)  # noqa: DTZ001  a camera's local time, as its file names carry it
"""When the first of a night's samples is taken."""

INTERVAL: Final = timedelta(minutes=7)

_SHEETS: Final[tuple[Colour, ...]] = (
    (226, 226, 222),
    (206, 212, 222),
    (222, 218, 204),
    (206, 198, 212),
    (236, 236, 240),
)

DrawInsect = Callable[[np.random.Generator, float, Colour], DrawnInsect]
"""Draws one insect: generator, length in pixels of a middling moth, the sheet's colour."""

# Insects less visible than this, beyond the edge or under others, are drawn but not counted.
_MIN_VISIBLE: Final = 0.35


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueInsect:
    """One insect that was drawn."""

    # x1, y1, x2, y2 in pixels within the picture: wings, body and legs, without feelers.
    box: tuple[float, float, float, float]
    kind: Kind


def draw_capture(
    seed: int, width: int = 1600, height: int = 1200, *, insects: int | None = None, trap: int | None = None
) -> tuple[bytes, list[TrueInsect]]:
    """Draw one photograph: the JPEG's bytes, and its insects.

    `insects` is how many are drawn (default: 3 to 25 by the seed), of which those nearly out of sight are not listed.
    Photographs of the same `trap` (default: by the seed) share sheet, lamp, screws and stains.
    """
    rng = np.random.default_rng([seed, width, height])
    trap_rng = np.random.default_rng([seed if trap is None else trap, width, height, 1])
    picture, sheet = draw_trap(trap_rng, width, height)
    add_debris(picture, rng)
    count = int(rng.integers(3, 26)) if insects is None else insects
    true = add_insects(picture, rng, sheet, count)
    if trap_rng.random() < 0.5:
        add_stamp(picture, trap_rng)
    return expose(picture, rng, trap_rng), true


def write_samples(
    folder: Path, count: int, seed: int = 0, *, width: int = 1600, height: int = 1200, first: datetime = NIGHT
) -> list[Path]:
    """Write the photographs of one trap in one night, `20260612220500-00-01.jpg` and on, and `truth.json` beside them.

    The folder is made if need be; files of these names in it are replaced. Returns the photographs in order.
    `truth.json` has, for each file name, `width`, `height` and `insects`, a list of `box` and `kind`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{first + index * INTERVAL:%Y%m%d%H%M%S}-00-{index + 1:02d}.jpg" for index in range(count)]

    def write(index: int) -> list[TrueInsect]:
        data, insects = draw_capture(seed * 100_003 + index, width, height, trap=seed)
        files[index].write_bytes(data)
        return insects

    # Pillow and numpy let other threads run while they work.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        drawn = list(pool.map(write, range(count)))
    truth = {
        file.name: {"width": width, "height": height, "insects": [asdict(insect) for insect in insects]}
        for file, insects in zip(files, drawn, strict=True)
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))
    return files


def draw_trap(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, Colour]:
    """The sheet under the lamp with all that is fixed to it, and the sheet's colour."""
    sheet = _SHEETS[rng.integers(len(_SHEETS))]
    picture = Image.fromarray(_light(rng, sheet, width, height)).resize((width, height), Image.Resampling.BICUBIC)
    picture = Image.fromarray(_weave(rng, np.asarray(picture)))
    pencil = ImageDraw.Draw(picture)
    unit = max(width, height)
    for _ in range(int(rng.integers(0, 6))):
        _stain(picture, rng)
    if rng.random() < 0.4:
        radius = unit * rng.uniform(0.008, 0.016)
        left, top = rng.uniform(0.1, 0.35), rng.uniform(0.0, 0.45)
        bottom = rng.uniform(0.98, 1.02) if rng.random() < 0.3 else rng.uniform(0.6, 0.95)
        for x in (left, 1 - left):
            for y in (top, bottom):
                _screw(pencil, (x * width, y * height), radius)
    if rng.random() < 0.4:
        _scale_bar(pencil, rng, width, height)
    if rng.random() < 0.25:
        for side in range(4):
            if rng.random() < 0.5:
                _sheet_edge(picture, rng, side)
    if rng.random() < 0.12:
        _strap(picture, rng)
    return picture, sheet


def _light(rng: np.random.Generator, sheet: Colour, width: int, height: int) -> NDArray[np.uint8]:
    """The sheet at an eighth of its size: vignette, a lamp's glow, a cast of colour across."""
    y, x = np.mgrid[-1 : 1 : max(2, height // 8) * 1j, -1 : 1 : max(2, width // 8) * 1j].astype(np.float32)
    light = 1 - rng.uniform(0.05, 0.4) * (x**2 + y**2) / 2
    glow = np.exp(-((x - rng.uniform(-0.3, 0.3)) ** 2 + (y - rng.uniform(-0.5, 0.3)) ** 2) / rng.uniform(0.1, 0.6))
    light += rng.uniform(0, 0.25) * glow
    cast = x[..., None] * rng.normal(0, 4, 3).astype(np.float32) + y[..., None] * rng.normal(0, 4, 3).astype(np.float32)
    lit: NDArray[np.float32] = light[..., None] * np.array(sheet, np.float32) + cast
    return lit.clip(0, 245).astype(np.uint8)


def _weave(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Threads of the cloth, or the grain of a painted board."""
    height, width = pixels.shape[:2]
    noise = rng.standard_normal((height // 2 + 1, width // 2 + 1), np.float32) * rng.uniform(1, 7)
    grain = noise.repeat(2, 0)[:height].repeat(2, 1)[:, :width]
    if rng.random() < 0.5:
        period = rng.uniform(3, 7)
        grain += rng.uniform(1, 4) * np.sin(np.arange(height, dtype=np.float32) * (2 * np.pi / period))[:, None]
        grain += rng.uniform(1, 3) * np.sin(np.arange(width, dtype=np.float32) * (2 * np.pi / period))[None]
    return _with_grain(pixels, grain)


def _with_grain(pixels: NDArray[np.uint8], grain: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Add the same grain to all three channels; in small integers, which is several times faster than in floats."""
    sums = pixels.astype(np.int16) + grain.astype(np.int16)[..., None]
    return sums.clip(0, 255, out=sums).astype(np.uint8)


def _stain(picture: Image.Image, rng: np.random.Generator) -> None:
    """A pale brown drop with a soft edge, which is no insect."""
    size = int(max(picture.size) * rng.uniform(0.004, 0.02)) + 4
    mask = Image.new("L", (3 * size, 3 * size), 0)
    ImageDraw.Draw(mask).ellipse(
        (size, size, 2 * size, int(size * rng.uniform(1.7, 2.3))), fill=int(rng.integers(25, 90))
    )
    mask = mask.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.1, 0.3)))
    place = (int(rng.integers(0, picture.width)), int(rng.integers(0, picture.height)))
    picture.paste((178, 140, 100), place, mask)


def _screw(pencil: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    for share, grey in ((1.0, 34), (0.8, 58), (0.72, 26), (0.34, 140), (0.24, 60), (0.1, 220)):
        pencil.ellipse(
            (x - radius * share, y - radius * share, x + radius * share, y + radius * share), fill=(grey,) * 3
        )


def _scale_bar(pencil: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int) -> None:
    """A ruler of black and white fields along an edge, with patches of colour beside it."""
    field = width * rng.uniform(0.01, 0.02)
    x, y = width * rng.uniform(0.05, 0.5), height * (0.03 if rng.random() < 0.5 else 0.94)
    for index in range(10):
        shade = (20, 20, 20) if index % 2 else (240, 240, 240)
        pencil.rectangle(
            (x + index * field, y, x + (index + 1) * field, y + field * 0.8), fill=shade, outline=(20, 20, 20)
        )
    for index, colour in enumerate(((190, 40, 40), (50, 140, 70), (40, 60, 160), (230, 200, 40))):
        left = x + (12 + 1.6 * index) * field
        pencil.rectangle((left, y - field * 0.3, left + field * 1.4, y + field * 1.1), fill=colour)


def _sheet_edge(picture: Image.Image, rng: np.random.Generator, side: int) -> None:
    """The sheet ends before the picture does on one side (0 to 3: left, top, right, bottom), and the night begins."""
    width, height = picture.size if side % 2 == 0 else picture.size[::-1]
    at, slant = width * rng.uniform(0.02, 0.12), width * rng.normal(0, 0.01)
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).polygon([(0, 0), (at, 0), (at + slant, height), (0, height)], fill=255)
    mask = mask.filter(ImageFilter.BoxBlur(width * 0.002))
    if side:
        turns = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_90}
        mask = mask.transpose(turns[side])
    picture.paste((26, 24, 30), (0, 0), mask)


def _strap(picture: Image.Image, rng: np.random.Generator) -> None:
    """Something dark in a corner, much too near to be sharp."""
    width, height = picture.size
    mask = Image.new("L", (width // 16, height // 16), 0)
    x, y = mask.width * int(rng.integers(2)), mask.height * int(rng.integers(2))
    reach = rng.uniform(0.1, 0.3) * mask.width
    slope = rng.uniform(0.3, 1.5)
    corners = [(x - reach, y + slope * reach), (x + reach, y - slope * reach)]
    ImageDraw.Draw(mask).line(corners, fill=int(rng.integers(120, 240)), width=int(rng.integers(3, 12)))
    mask = mask.filter(ImageFilter.GaussianBlur(mask.width * rng.uniform(0.015, 0.04)))
    picture.paste((40, 26, 30), (0, 0), mask.resize(picture.size, Image.Resampling.BICUBIC))


def add_stamp(picture: Image.Image, rng: np.random.Generator) -> None:
    """Date and time in a corner, as many cameras burn them in."""
    size = int(picture.width * rng.uniform(0.003, 0.012)) + 4
    font = ImageFont.load_default(size)
    lines = f"{NIGHT:%Y-%m-%d}\n{NIGHT:%H:%M}:{int(rng.integers(60)):02d}"
    if rng.random() < 0.3:
        lines = f"CAM {int(rng.integers(1, 20)):02d}  {lines}".replace("\n", " ")
    pencil = ImageDraw.Draw(picture)
    left, top, right, bottom = pencil.multiline_textbbox((0, 0), lines, font=font, spacing=1)
    x = 4 if rng.random() < 0.4 else picture.width - (right - left) - 4
    y = 4 if rng.random() < 0.3 else picture.height - (bottom - top) - 4
    stroke = 1 if rng.random() < 0.7 else 0
    place = (x - left, y - top)
    pencil.multiline_text(place, lines, fill="white", font=font, spacing=1, stroke_width=stroke, stroke_fill="black")


def add_debris(picture: Image.Image, rng: np.random.Generator) -> None:
    """Dust, scales and fibres: dark, but too small or too thin to be counted."""
    pencil = ImageDraw.Draw(picture)
    unit = max(picture.size)
    for _ in range(int(rng.integers(5, 120))):
        x, y = rng.uniform(0, picture.width), rng.uniform(0, picture.height)
        size = unit * rng.uniform(0.0003, 0.0016)
        pencil.ellipse((x, y, x + size, y + size * rng.uniform(0.5, 1.5)), fill=(int(rng.integers(50, 170)),) * 3)
    for _ in range(int(rng.integers(0, 12)) if rng.random() < 0.4 else 0):
        _crumbs(pencil, rng, (rng.uniform(0, picture.width), rng.uniform(0, picture.height)), unit)
    for _ in range(int(rng.integers(0, 6))):
        x, y, turn = rng.uniform(0, picture.width), rng.uniform(0, picture.height), rng.uniform(0, 2 * np.pi)
        reach = unit * rng.uniform(0.005, 0.025)
        points = [(x + t * reach * np.cos(turn + t), y + t * reach * np.sin(turn + t)) for t in np.linspace(0, 1, 6)]
        pencil.line([(float(a), float(b)) for a, b in points], fill=(int(rng.integers(110, 180)),) * 3, width=1)


def _crumbs(pencil: ImageDraw.ImageDraw, rng: np.random.Generator, place: tuple[float, float], unit: int) -> None:
    """A loose heap of scratches and dirt, as rough boards collect them."""
    spread = unit * rng.uniform(0.003, 0.012)
    grey = int(rng.integers(90, 170))
    for _ in range(int(rng.integers(6, 40))):
        x, y = place[0] + rng.normal(0, spread), place[1] + rng.normal(0, spread)
        reach = unit * 0.002 * rng.standard_normal(2)
        pencil.line((x, y, x + float(reach[0]), y + float(reach[1])), fill=(grey,) * 3, width=1 + unit // 2000)


def add_insects(
    picture: Image.Image,
    rng: np.random.Generator,
    sheet: Colour,
    count: int,
    *,
    middling: float | None = None,
    draw: DrawInsect = draw_insect,
) -> list[TrueInsect]:
    """Place insects, cut by the edge or touching each other now and then, and list those that can be seen.

    `middling` is the length of a middling moth in pixels; by default that of a usual trap.
    """
    # Which insect, counted from 1, each pixel shows.
    owner = np.zeros((picture.height, picture.width), np.int32)
    placed: list[tuple[DrawnInsect, tuple[int, int]]] = []
    if middling is None:
        middling = max(picture.size) * rng.uniform(0.03, 0.055)
    for number in range(1, count + 1):
        insect = draw(rng, middling, sheet)
        corner = _free_place(owner, rng, insect)
        _paste(picture, owner, insect, corner, number=number, rng=rng)
        placed.append((insect, corner))
    return [
        TrueInsect(box=box, kind=insect.kind)
        for number, (insect, corner) in enumerate(placed, start=1)
        if (box := _visible_box(owner, insect, corner, number)) is not None
    ]


def _free_place(owner: NDArray[np.int32], rng: np.random.Generator, insect: DrawnInsect) -> tuple[int, int]:
    """A corner where the insect covers little of others, as a rule; some of it may be out of the picture."""
    height, width = owner.shape
    w, h = insect.picture.size
    overlap_allowed = 0.3 if rng.random() < 0.1 else 0.02
    # One in four sits down beside another, often touching it.
    taken = np.argwhere(owner[::8, ::8] > 0) * 8 if rng.random() < 0.25 else np.empty((0, 2), np.intp)
    x = y = 0
    for _ in range(20):
        if len(taken):
            beside = taken[rng.integers(len(taken))]
            x = int(beside[1] - w / 2 + rng.normal(0, w / 2))
            y = int(beside[0] - h / 2 + rng.normal(0, h / 2))
        else:
            x = int(rng.integers(-w // 5, max(1, width - 4 * w // 5)))
            y = int(rng.integers(-h // 5, max(1, height - 4 * h // 5)))
        under = owner[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)]
        if under.size > 0.6 * w * h and (under > 0).mean() <= overlap_allowed:
            break
    return x, y


def _paste(
    picture: Image.Image,
    owner: NDArray[np.int32],
    insect: DrawnInsect,
    corner: tuple[int, int],
    *,
    number: int,
    rng: np.random.Generator,
) -> None:
    """Put the insect and its shadow down, and mark its pixels with its number."""
    x, y = corner
    w, h = insect.picture.size
    reach = max(1.0, max(w, h) * rng.uniform(0.01, 0.05))
    margin = int(3 * reach) + 1
    dark = int(rng.integers(20, 110))
    shadow = Image.new("L", (w + 2 * margin, h + 2 * margin), 0)
    shadow.paste(insect.outline.point(lambda value: value * dark // 255), (margin, margin))
    # A shadow has no detail: blurred at a third of its size, it looks the same and takes a tenth of the time.
    shadow = shadow.reduce(3).filter(ImageFilter.GaussianBlur(reach / 3)).resize(shadow.size, Image.Resampling.BILINEAR)
    offset = int(rng.normal(0, reach)), int(abs(rng.normal(0, reach)))
    picture.paste((30, 26, 34), (x - margin + offset[0], y - margin + offset[1]), shadow)
    picture.paste(insect.picture, (x, y), insect.picture)
    inside, solid = _in_picture(owner, insect, corner)
    owner[inside][solid] = number


def _in_picture(
    owner: NDArray[np.int32], insect: DrawnInsect, corner: tuple[int, int]
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """The part of the picture that an insect's rectangle covers, and where in that part its outline is solid."""
    x, y = corner
    height, width = owner.shape
    solid = np.asarray(insect.outline) > 127
    solid = solid[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
    top, left = max(0, y), max(0, x)
    return (slice(top, top + solid.shape[0]), slice(left, left + solid.shape[1])), solid


def _visible_box(
    owner: NDArray[np.int32], insect: DrawnInsect, corner: tuple[int, int], number: int
) -> tuple[float, float, float, float] | None:
    """The box round what can be seen of an insect; None when that is too little."""
    inside, _ = _in_picture(owner, insect, corner)
    mine = owner[inside] == number
    whole = int((np.asarray(insect.outline) > 127).sum())
    if not mine.any() or mine.sum() < _MIN_VISIBLE * whole:
        return None
    rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
    top, left = inside[0].start, inside[1].start
    return float(left + columns[0]), float(top + rows[0]), float(left + columns[-1] + 1), float(top + rows[-1] + 1)


def expose(picture: Image.Image, rng: np.random.Generator, trap_rng: np.random.Generator) -> bytes:
    """Lens, sensor and file: blur or sharpening, noise, exposure and JPEG artefacts."""
    if trap_rng.random() < 0.5:
        picture = picture.filter(ImageFilter.BoxBlur(float(trap_rng.uniform(0.2, 1.0))))
    else:
        edge = -float(trap_rng.uniform(0.1, 0.5))
        picture = picture.filter(ImageFilter.Kernel((3, 3), [0, edge, 0, edge, 1 - 4 * edge, edge, 0, edge, 0], 1))
    exposure = float(rng.uniform(0.85, 1.05))
    picture = picture.point(lambda value: min(255, round(value * exposure)))
    noise = rng.standard_normal((picture.height, picture.width), np.float32) * trap_rng.uniform(0.5, 4)
    stream = io.BytesIO()
    Image.fromarray(_with_grain(np.asarray(picture), noise)).save(
        stream, "JPEG", quality=int(trap_rng.integers(72, 95))
    )
    return stream.getvalue()
