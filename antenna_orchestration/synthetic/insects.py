"""Draws single insects from polygons, with colour, texture and legs, for `captures` to place on its sheets.

A species is a function that draws on a `Canvas` in unit coordinates: x to the right, y downwards, head up, symmetric
about x = 0, from -1 to 1. To add a species, write such a function and list it in `SPECIES`. Sheets, light and shadows
are not drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw

Kind = Literal["moth", "other"]
Point = tuple[float, float]
Colour = tuple[int, int, int]

_SUPERSAMPLING: Final = 2

MOTH_COLOURS: Final[tuple[Colour, ...]] = (
    (92, 66, 46), (60, 48, 42), (128, 98, 66), (150, 84, 44), (196, 128, 40), (112, 104, 96), (40, 32, 32),
    (176, 150, 110), (138, 120, 92), (84, 72, 84), (168, 70, 48), (70, 80, 60),
)  # fmt: skip
_DARK_COLOURS: Final[tuple[Colour, ...]] = ((28, 24, 22), (48, 34, 24), (70, 44, 24), (22, 28, 34), (90, 66, 40))


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnInsect:
    """A picture of one insect, cropped to it."""

    # Mode RGBA; transparent where the insect is not.
    picture: Image.Image
    # Mode L, same size: 255 where wings, body and legs are. Antennae, as thin as hairs, are not part of it.
    outline: Image.Image
    kind: Kind


def draw_insect(
    rng: np.random.Generator, unit: float, sheet: Colour, all_species: Sequence[Species] | None = None
) -> DrawnInsect:
    """Draw an insect of a random species, rotated and tilted at random, on a transparent background.

    `unit` is the length of a medium-sized moth in pixels; each species has its own usual length, which varies. `sheet`
    is the colour of the background that it will be placed on; some moths are nearly as pale. `all_species` (default:
    `SPECIES`) are the species to choose from.
    """
    choice = SPECIES if all_species is None else all_species
    weights = np.array([species.weight for species in choice])
    species = choice[rng.choice(len(choice), p=weights / weights.sum())]
    length = unit * species.length * float(np.clip(rng.lognormal(0, 0.45), 0.4, 3.5))
    canvas = Canvas(rng, length, sheet)
    species.draw(canvas)
    angle = float(rng.normal(0, 25) if rng.random() < 0.5 else rng.uniform(0, 360))
    box = canvas.picture.getchannel("A").getbbox()
    tilt = rng.uniform(0.75, 1.0)
    lean = float(rng.normal(0, 20))
    # Rotate at the large size, so that shrinking smooths the edges of both alike.
    turned = [
        _tilted(image.crop(box).rotate(lean, Image.Resampling.BILINEAR, expand=True), tilt)
        .rotate(angle, Image.Resampling.BILINEAR, expand=True)
        .reduce(_SUPERSAMPLING)
        for image in (canvas.picture, canvas.outline)
    ]
    return DrawnInsect(picture=turned[0], outline=turned[1], kind=species.kind)


class Canvas:
    """Draws one insect in unit coordinates; one unit is half of the insect's length."""

    def __init__(self, rng: np.random.Generator, length: float, sheet: Colour) -> None:
        self.rng = rng
        self.sheet = sheet
        self.unit = length / 2 * _SUPERSAMPLING
        # Antennae and legs may reach beyond the unit square.
        self.side = max(8, math.ceil(self.unit * 2.8))
        self.picture = Image.new("RGBA", (self.side, self.side), (0, 0, 0, 0))
        self.outline = Image.new("L", (self.side, self.side), 0)

    def jitter(self, points: Sequence[Point], amount: float = 0.04) -> list[Point]:
        """Move points at random, so that no two insects of a species are alike."""
        return [(x + self.rng.normal(0, amount), y + self.rng.normal(0, amount)) for x, y in points]

    def shape(
        self, points: Sequence[Point], colour: Colour, *, alpha: int = 255, marks: int = 0, mirror: bool = True
    ) -> None:
        """Fill a rounded polygon, and its mirror image, with a blotchy colour, a darker rim and random marks."""
        mask = Image.new("L", (self.side, self.side), 0)
        pencil = ImageDraw.Draw(mask)
        rounded = _rounded(points)
        for sign in (1, -1) if mirror else (1,):
            pencil.polygon(self._pixels([(sign * x, y) for x, y in rounded]), fill=alpha)
        surface = self._blotches(colour)
        pencil = ImageDraw.Draw(surface)
        xs, ys = [x for x, _ in rounded], [y for _, y in rounded]
        for _ in range(marks):
            self._mark(pencil, colour, (min(xs), min(ys), max(xs), max(ys)))
        rim = shade(colour, 0.7)
        for sign in (1, -1):
            edge = self._pixels([(sign * x, y) for x, y in [*rounded, rounded[0]]])
            pencil.line(edge, fill=(*rim, 255), width=max(1, round(self.unit * 0.02)))
        surface.putalpha(mask)
        self.picture = Image.alpha_composite(self.picture, surface)
        self.outline = ImageChops.lighter(self.outline, mask.point(lambda value: 255 if value else 0))

    def stroke(self, points: Sequence[Point], colour: Colour, width: float, *, counts: bool = True) -> None:
        """Draw a line and its mirror image: a leg, or with `counts=False` an antenna, which is not in the outline."""
        pixels = max(1, round(width * self.unit))
        for sign in (1, -1):
            line = self._pixels([(sign * x, y) for x, y in points])
            ImageDraw.Draw(self.picture).line(line, fill=(*colour, 235), width=pixels, joint="curve")
            if counts:
                ImageDraw.Draw(self.outline).line(line, fill=255, width=pixels)

    def legs(self, colour: Colour, *, reach: float, width: float = 0.03, pairs: int = 3, top: float = -0.3) -> None:
        """Draw `pairs` of bent legs, from front to back."""
        for index in range(pairs):
            slope = (index / max(1, pairs - 1) - 0.5) * 1.6
            y = top + 0.16 * index
            knee = (0.08 + 0.55 * reach, y + slope * 0.35 * reach + self.rng.normal(0, 0.03))
            foot = (0.08 + reach * self.rng.uniform(0.75, 1.0), y + slope * reach + self.rng.normal(0, 0.06))
            self.stroke([(0.03, y), knee, foot], colour, width)

    def antennae(self, colour: Colour, *, top: float, reach: float) -> None:
        """Draw two thin curved antennae from the head."""
        tip = self.rng.uniform(0.1, 0.6) * reach
        self.stroke([(0.03, top), (tip * 0.5, top - reach * 0.6), (tip, top - reach)], colour, 0.012, counts=False)

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        middle = self.side / 2
        return [(middle + x * self.unit, middle + y * self.unit) for x, y in points]

    def _blotches(self, colour: Colour) -> Image.Image:
        """An image of one colour with lighter and darker patches."""
        cells = int(self.rng.integers(5, 24))
        noise = self.rng.normal(0, 1, (cells, cells, 1)) * 22 + self.rng.normal(0, 1, (cells, cells, 3)) * 5
        coarse = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        return Image.fromarray(coarse).resize((self.side, self.side), Image.Resampling.BILINEAR).convert("RGBA")

    def _mark(self, pencil: ImageDraw.ImageDraw, colour: Colour, extent: tuple[float, float, float, float]) -> None:
        """Draw a band or a spot on both sides."""
        factor = self.rng.choice([0.35, 0.55, 1.5, 1.9])
        fill = (*shade(colour, factor), 255)
        x1, y1, x2, y2 = extent
        if self.rng.random() < 0.5:
            start = (x1, self.rng.uniform(y1, y2))
            end = (x2, start[1] + self.rng.normal(0, 0.2))
            middle = ((x1 + x2) / 2, (start[1] + end[1]) / 2 + self.rng.normal(0, 0.08))
            for sign in (1, -1):
                line = self._pixels([(sign * x, y) for x, y in (start, middle, end)])
                pencil.line(
                    line, fill=fill, width=max(1, round(self.unit * self.rng.uniform(0.02, 0.12))), joint="curve"
                )
        else:
            x, y, radius = self.rng.uniform(x1, x2), self.rng.uniform(y1, y2), self.rng.uniform(0.03, 0.12)
            for sign in (1, -1):
                corners = self._pixels([(sign * x - radius, y - radius), (sign * x + radius, y + radius)])
                pencil.ellipse([corners[0], corners[1]], fill=fill)

    def moth_colour(self) -> Colour:
        """A random brown or orange, or in one of eight cases nearly the colour of the sheet."""
        if self.rng.random() < 0.12:
            return shade(self.sheet, self.rng.uniform(0.78, 0.92))
        colour = MOTH_COLOURS[self.rng.integers(len(MOTH_COLOURS))]
        return shade(colour, self.rng.uniform(0.7, 1.3))

    def dark_colour(self) -> Colour:
        """A random colour of beetles and flies."""
        return shade(_DARK_COLOURS[self.rng.integers(len(_DARK_COLOURS))], self.rng.uniform(0.8, 1.3))


def _spread_moth(canvas: Canvas) -> None:
    """Wings open and flat: a geometer or a pyralid."""
    colour = canvas.moth_colour()
    sweep = canvas.rng.uniform(-0.1, 0.35)
    hind = [(-0.06, -0.1), (0.55, -0.06), (0.78, 0.34), (0.5, 0.68 + sweep * 0.3), (0.1, 0.6)]
    fore = [(-0.06, -0.32), (0.45, -0.5 + sweep * 0.6), (1.04, -0.42 + sweep), (0.92, 0.1 + sweep * 0.6), (0.36, 0.24)]
    fore.append((-0.06, 0.2))
    marks = int(canvas.rng.integers(0, 5))
    canvas.antennae(shade(colour, 0.5), top=-0.36, reach=0.35)
    if canvas.rng.random() < 0.5:
        canvas.legs(shade(colour, 0.6), reach=0.3, top=-0.3, pairs=2)
    canvas.shape(canvas.jitter(hind), shade(colour, 1.1), marks=marks)
    canvas.shape(canvas.jitter(fore), colour, marks=marks)
    canvas.shape(ellipse(0, 0.08, 0.08, canvas.rng.uniform(0.38, 0.6)), shade(colour, 0.8), mirror=False)


def _folded_moth(canvas: Canvas) -> None:
    """Wings folded to a triangle: an owlet or a tiger moth."""
    colour = canvas.moth_colour()
    width = canvas.rng.uniform(0.42, 0.75)
    wing = [(-0.08, -0.6), (0.16, -0.56), (0.5 * width, -0.1), (width, 0.7), (0.5 * width, 0.9), (-0.08, 0.62)]
    canvas.antennae(shade(colour, 0.5), top=-0.7, reach=0.5)
    if canvas.rng.random() < 0.7:
        canvas.legs(shade(colour, 0.6), reach=canvas.rng.uniform(0.4, 0.85), top=-0.65)
    canvas.shape(canvas.jitter(wing, 0.03), colour, marks=int(canvas.rng.integers(0, 6)))
    canvas.shape(ellipse(0, -0.6, 0.15, 0.24), shade(colour, 0.75), mirror=False)


def _narrow_moth(canvas: Canvas) -> None:
    """Wings rolled round the body: a grass moth or a leaf roller."""
    colour = canvas.moth_colour()
    width = canvas.rng.uniform(0.14, 0.3)
    wing = [(-0.05, -0.8), (0.7 * width, -0.75), (width, -0.3), (width * 1.1, 0.7), (0.5 * width, 0.95), (-0.05, 0.95)]
    canvas.antennae(shade(colour, 0.5), top=-0.85, reach=0.3)
    if canvas.rng.random() < 0.6:
        canvas.legs(shade(colour, 0.6), reach=0.3, top=-0.7)
    canvas.shape(canvas.jitter(wing, 0.02), colour, marks=int(canvas.rng.integers(0, 4)))
    canvas.shape(ellipse(0, -0.8, 0.8 * width, 0.15), shade(colour, 0.8), mirror=False)


def _micro_moth(canvas: Canvas) -> None:
    """A small heart or bell with speckled wings: a tortrix or a tineid."""
    colour = canvas.moth_colour()
    width = canvas.rng.uniform(0.5, 0.8)
    wing = [(-0.08, -0.5), (0.2, -0.55), (0.75 * width, -0.2), (width, 0.5), (0.6 * width, 0.8), (-0.08, 0.62)]
    canvas.antennae(shade(colour, 0.5), top=-0.6, reach=0.5)
    if canvas.rng.random() < 0.6:
        canvas.legs(shade(colour, 0.6), reach=0.5, width=0.05, top=-0.5, pairs=2)
    canvas.shape(canvas.jitter(wing, 0.04), colour, marks=int(canvas.rng.integers(0, 5)))
    canvas.shape(ellipse(0, -0.55, 0.17, 0.18), shade(colour, 0.8), mirror=False)


def _beetle(canvas: Canvas) -> None:
    colour = canvas.dark_colour()
    width = canvas.rng.uniform(0.32, 0.55)
    canvas.legs(shade(colour, 0.8), reach=width + canvas.rng.uniform(0.1, 0.35), width=0.06, top=-0.35)
    canvas.shape(ellipse(0, 0.2, width, 0.7), colour, mirror=False)
    canvas.shape(ellipse(0, -0.55, width * 0.8, 0.22), shade(colour, 0.8), mirror=False)
    canvas.shape(ellipse(0, -0.8, width * 0.4, 0.16), shade(colour, 0.6), mirror=False)
    canvas.stroke([(0.0, -0.4), (0.0, 0.85)], shade(colour, 0.5), 0.025)


def _fly(canvas: Canvas) -> None:
    colour = canvas.dark_colour()
    canvas.legs(colour, reach=0.6, width=0.035, top=-0.35)
    canvas.shape(ellipse(0, 0.1, 0.2, 0.55), shade(colour, 1.2), mirror=False)
    canvas.shape(ellipse(0, -0.4, 0.2, 0.22), colour, mirror=False)
    canvas.shape(ellipse(0, -0.66, 0.15, 0.11), shade(colour, 0.7), mirror=False)
    wing = [(0.08, -0.35), (0.4, -0.1), (0.52, 0.5), (0.36, 0.8), (0.2, 0.6)]
    canvas.shape(canvas.jitter(wing, 0.03), (120, 118, 112), alpha=int(canvas.rng.integers(70, 150)))


def _midge(canvas: Canvas) -> None:
    """A thin body on long legs: a mosquito or a crane fly."""
    colour = canvas.dark_colour()
    canvas.legs(shade(colour, 1.3), reach=canvas.rng.uniform(0.5, 0.95), width=0.03, top=-0.3)
    canvas.shape(ellipse(0, 0.1, 0.07, 0.6), colour, mirror=False)
    canvas.shape(ellipse(0, -0.38, 0.1, 0.16), shade(colour, 0.8), mirror=False)
    wing = [(0.03, -0.3), (0.22, 0.0), (0.24, 0.5), (0.12, 0.62), (0.03, 0.2)]
    canvas.shape(wing, (130, 126, 118), alpha=int(canvas.rng.integers(60, 130)))


def _lacewing(canvas: Canvas) -> None:
    green = (int(canvas.rng.integers(110, 170)), 168, 110)
    canvas.antennae(shade(green, 0.6), top=-0.7, reach=0.5)
    wing = [(0.02, -0.4), (0.2, -0.1), (0.26, 0.6), (0.16, 0.95), (0.04, 0.5)]
    canvas.shape(canvas.jitter(wing, 0.02), green, alpha=int(canvas.rng.integers(90, 160)), marks=3)
    canvas.shape(ellipse(0, 0.0, 0.07, 0.7), shade(green, 0.8), mirror=False)


def _spider(canvas: Canvas) -> None:
    colour = canvas.dark_colour()
    canvas.legs(colour, reach=0.85, width=0.06, pairs=4, top=-0.3)
    canvas.shape(ellipse(0, 0.25, 0.26, 0.34), shade(colour, 1.3), mirror=False, marks=2)
    canvas.shape(ellipse(0, -0.2, 0.18, 0.2), colour, mirror=False)


def _hopper(canvas: Canvas) -> None:
    """A small wedge, legs mostly hidden: a leafhopper."""
    colour = (120, 150, 70) if canvas.rng.random() < 0.2 else canvas.moth_colour()
    width = canvas.rng.uniform(0.28, 0.42)
    if canvas.rng.random() < 0.6:
        canvas.legs(shade(colour, 0.6), reach=width + 0.15, width=0.05, top=-0.5, pairs=2)
    wedge = [
        (-0.05, -0.9),
        (0.7 * width, -0.85),
        (width, -0.4),
        (0.7 * width, 0.4),
        (0.25 * width, 0.95),
        (-0.05, 0.95),
    ]
    canvas.shape(canvas.jitter(wedge, 0.02), shade(colour, 0.8), marks=int(canvas.rng.integers(0, 3)))


def _cricket(canvas: Canvas) -> None:
    """A dark body between long bent hind legs."""
    colour = canvas.dark_colour()
    canvas.legs(colour, reach=0.4, width=0.06, top=-0.4, pairs=2)
    canvas.stroke([(0.05, 0.1), (0.4, -0.15), (0.5, 0.9)], colour, 0.08)
    canvas.shape(ellipse(0, 0.0, 0.2, 0.75), colour, mirror=False)
    canvas.shape(ellipse(0, -0.75, 0.17, 0.18), shade(colour, 0.8), mirror=False)


@dataclass(frozen=True, slots=True)
class Species:
    """How to draw a species, and how common and how large it is."""

    draw: Callable[[Canvas], None]
    kind: Kind
    # How often, relative to the others.
    weight: float
    # Usual length, relative to a medium-sized moth.
    length: float


SPECIES: Final = (
    Species(_spread_moth, "moth", 3.5, 1.2),
    Species(_folded_moth, "moth", 3.5, 0.9),
    Species(_narrow_moth, "moth", 2.0, 0.65),
    Species(_micro_moth, "moth", 1.5, 0.4),
    Species(_beetle, "other", 1.0, 0.5),
    Species(_fly, "other", 1.2, 0.45),
    Species(_midge, "other", 1.2, 0.55),
    Species(_hopper, "other", 1.5, 0.32),
    Species(_lacewing, "other", 0.5, 0.75),
    Species(_cricket, "other", 0.4, 0.5),
    Species(_spider, "other", 0.3, 0.8),
)


def _tilted(image: Image.Image, share: float) -> Image.Image:
    """Make an image narrower, as a wing or a back looks that slopes away from the camera."""
    return image.resize((max(1, round(image.width * share)), image.height), Image.Resampling.BILINEAR)


def shade(colour: Colour, factor: float) -> Colour:
    """A lighter (factor above 1) or darker colour."""
    red, green, blue = (min(255, max(0, round(value * factor))) for value in colour)
    return red, green, blue


def ellipse(x: float, y: float, width: float, height: float) -> list[Point]:
    """Corners of a polygon that `Canvas.shape` rounds to an ellipse; `width` and `height` are its semi-axes."""
    turns = np.linspace(0, 2 * math.pi, 14, endpoint=False)
    return [(x + width * math.sin(turn), y + height * math.cos(turn)) for turn in turns]


def _rounded(points: Sequence[Point]) -> list[Point]:
    """Cut the corners of a closed polygon twice (Chaikin's algorithm)."""
    corners = np.array(points, dtype=float)
    for _ in range(2):
        following = np.roll(corners, -1, axis=0)
        corners = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], 1).reshape(-1, 2)
    return [(float(x), float(y)) for x, y in corners]
