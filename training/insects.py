"""Draws more species than `synthetic.insects`, with more variety in each; for training only.

A network learns what all its examples have in common. This module therefore breaks at random what is typical of
drawings (mirror symmetry, clean colours, one posture per species), so that little remains in common but an animal on a
sheet.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from antenna_orchestration.synthetic.insects import (
    SPECIES,
    Canvas,
    Colour,
    DrawnInsect,
    Species,
    draw_insect,
    ellipse,
    shade,
)


def draw_varied(rng: np.random.Generator, unit: float, sheet: Colour) -> DrawnInsect:
    """Draw an insect of any species, then bend, recolour and pattern it at random. Takes what `draw_insect` takes."""
    drawn = draw_insect(rng, unit, sheet, ALL_SPECIES)
    pixels = np.asarray(drawn.picture).copy()
    outline = np.asarray(drawn.outline).copy()
    if min(outline.shape) < 4:
        return drawn
    if rng.random() < 0.5:
        pixels[..., :3] = _recoloured(rng, pixels[..., :3])
    if rng.random() < 0.6:
        pixels[..., :3] = _patterned(rng, pixels[..., :3])
    if rng.random() < 0.6:
        pixels, outline = _bent(rng, pixels, outline)
    rows, columns = np.nonzero(pixels[..., 3])
    if not len(rows):
        return drawn
    inside = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    return DrawnInsect(
        picture=Image.fromarray(np.ascontiguousarray(pixels[inside])),
        outline=Image.fromarray(np.ascontiguousarray(outline[inside])),
        kind=drawn.kind,
    )


def _recoloured(rng: np.random.Generator, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change contrast, brightness and tint."""
    values = colours.astype(np.float32)
    middle = values.mean((0, 1))
    values = (values - middle) * rng.uniform(0.6, 1.5) + middle
    values = values * rng.uniform(0.55, 1.35) + rng.normal(0, 9, 3).astype(np.float32)
    if rng.random() < 0.15:
        grey = values.mean(2, keepdims=True)
        values = grey + (values - grey) * rng.uniform(0, 0.4)
    return values.clip(0, 255).astype(np.uint8)


def _patterned(rng: np.random.Generator, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add noise that is coarser in one direction than in the other, like scales, veins, bands or bark."""
    height, width = colours.shape[:2]
    cells = int(rng.integers(3, 40)), int(rng.integers(3, 40))
    noise = cv2.resize(rng.standard_normal(cells).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.3:
        noise = np.sign(noise) * np.abs(noise) ** 0.3
    strength = rng.uniform(5, 45)
    tint = rng.uniform(0.5, 1.0, 3).astype(np.float32)
    return (colours + strength * noise[..., None] * tint).clip(0, 255).astype(np.uint8)


def _bent(
    rng: np.random.Generator, pixels: NDArray[np.uint8], outline: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bend smoothly and shear, and sometimes make one side narrower, as when an animal does not sit straight."""
    height, width = outline.shape
    reach = 0.04 * max(height, width)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for axis in (x, y):
        coarse = rng.normal(0, reach, (4, 4)).astype(np.float32)
        np.add(axis, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), out=axis)
    x += (y - height / 2) * rng.normal(0, 0.12)
    if rng.random() < 0.3:
        # The picture is rotated already, so this narrows the insect along any of its axes.
        side = x - width / 2
        x = width / 2 + np.where(side > 0, side * rng.uniform(1.0, 2.2), side)
    return (
        cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0)),
        cv2.remap(outline, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0),
    )


def _hawk_moth(canvas: Canvas) -> None:
    """Long swept fore wings like a delta, and a stout tapering body."""
    colour = canvas.moth_colour()
    sweep = canvas.rng.uniform(0.3, 0.75)
    fore = [(-0.05, -0.42), (0.3, -0.42), (0.98, sweep), (0.8, sweep + 0.12), (0.3, 0.22), (-0.05, 0.1)]
    hind = [(-0.04, -0.05), (0.45, 0.12), (0.55, 0.42), (0.2, 0.4)]
    canvas.antennae(shade(colour, 0.6), top=-0.55, reach=0.3)
    canvas.shape(canvas.jitter(hind), shade(colour, canvas.rng.uniform(0.8, 1.5)), marks=1)
    canvas.shape(canvas.jitter(fore, 0.03), colour, marks=int(canvas.rng.integers(1, 7)))
    canvas.shape(ellipse(0, 0.15, 0.14, 0.72), shade(colour, 0.85), mirror=False, marks=2)


def _plume_moth(canvas: Canvas) -> None:
    """A letter T: wings rolled to bars on a thin body."""
    colour = canvas.moth_colour()
    wing = [(0.0, -0.5), (0.95, -0.62), (1.0, -0.5), (0.5, -0.36), (0.0, -0.38)]
    canvas.legs(shade(colour, 0.7), reach=0.3, top=-0.2, pairs=2)
    canvas.shape(canvas.jitter(wing, 0.03), colour, marks=1)
    canvas.shape(ellipse(0, 0.1, 0.06, 0.62), shade(colour, 0.9), mirror=False)


def _silk_moth(canvas: Canvas) -> None:
    """Very broad wings with eyes and bands, and feathered antennae."""
    colour = canvas.moth_colour()
    low = canvas.rng.uniform(0.3, 0.9)
    fore = [(-0.05, -0.45), (0.5, -0.62), (1.1, -0.6 + canvas.rng.normal(0, 0.15)), (0.85, 0.0), (0.4, 0.25)]
    fore.append((-0.05, 0.15))
    hind = [(-0.05, 0.0), (0.75, 0.0), (0.72, 0.5 * low), (0.45, low), (0.1, 0.55)]
    canvas.stroke([(0.04, -0.5), (0.2, -0.66)], shade(colour, 0.7), 0.07)
    canvas.shape(canvas.jitter(hind), shade(colour, canvas.rng.uniform(0.8, 1.2)), marks=int(canvas.rng.integers(1, 6)))
    canvas.shape(canvas.jitter(fore), colour, marks=int(canvas.rng.integers(2, 8)))
    canvas.shape(ellipse(0, 0.0, 0.13, 0.48), shade(colour, 0.8), mirror=False)


def _half_moth(canvas: Canvas) -> None:
    """Seen from the side: both wings over the back as one, feet below."""
    colour = canvas.moth_colour()
    wing = [(-0.5, -0.35), (0.2, -0.5), (0.75, -0.2), (0.9, 0.35), (0.3, 0.4), (-0.4, 0.05)]
    canvas.legs(shade(colour, 0.6), reach=0.35, top=0.0)
    canvas.shape(canvas.jitter(wing), colour, marks=int(canvas.rng.integers(0, 6)), mirror=False)
    canvas.shape(ellipse(-0.35, -0.1, 0.3, 0.13), shade(colour, 0.75), mirror=False)


def _wasp(canvas: Canvas) -> None:
    """A thin waist, clear wings, often banded: a wasp, an ichneumon or a winged ant."""
    colour = canvas.dark_colour() if canvas.rng.random() < 0.6 else (170, 110, 40)
    canvas.antennae(colour, top=-0.7, reach=0.45)
    canvas.legs(shade(colour, 1.1), reach=0.6, width=0.035, top=-0.35)
    canvas.shape(ellipse(0, 0.45, 0.16, 0.45), colour, mirror=False, marks=int(canvas.rng.integers(0, 4)))
    canvas.shape(ellipse(0, -0.28, 0.14, 0.24), shade(colour, 0.8), mirror=False)
    canvas.shape(ellipse(0, -0.62, 0.13, 0.11), shade(colour, 0.7), mirror=False)
    spread = canvas.rng.uniform(0.15, 0.7)
    wing = [(0.06, -0.35), (spread, -0.1), (spread + 0.15, 0.45), (spread, 0.7), (0.12, 0.1)]
    canvas.shape(canvas.jitter(wing, 0.03), (120, 112, 100), alpha=int(canvas.rng.integers(50, 140)))


def _crane_fly(canvas: Canvas) -> None:
    """A thin body, open narrow wings, legs far longer than itself."""
    colour = shade((96, 78, 56), canvas.rng.uniform(0.6, 1.3))
    canvas.legs(colour, reach=canvas.rng.uniform(0.8, 1.1), width=0.025, top=-0.35)
    spread = canvas.rng.uniform(0.3, 0.85)
    wing = [(0.04, -0.35), (spread, -0.25), (spread + 0.1, 0.05), (spread * 0.7, 0.15), (0.06, -0.2)]
    canvas.shape(canvas.jitter(wing, 0.02), (132, 124, 108), alpha=int(canvas.rng.integers(70, 170)))
    canvas.shape(ellipse(0, 0.1, 0.055, 0.6), colour, mirror=False)
    canvas.shape(ellipse(0, -0.4, 0.09, 0.14), shade(colour, 0.8), mirror=False)


def _caddis(canvas: Canvas) -> None:
    """A narrow brown roof with long antennae: hard to tell from a narrow moth, for people too."""
    colour = shade((112, 88, 58), canvas.rng.uniform(0.6, 1.3))
    canvas.stroke([(0.03, -0.75), (0.15, -1.1), (0.3, -1.3)], shade(colour, 0.6), 0.025, counts=False)
    canvas.legs(shade(colour, 0.8), reach=0.5, width=0.04, top=-0.55)
    wing = [(-0.02, -0.6), (0.2, -0.5), (0.26, 0.3), (0.2, 0.9), (-0.02, 0.85)]
    canvas.shape(canvas.jitter(wing, 0.02), colour, marks=int(canvas.rng.integers(0, 3)))
    canvas.shape(ellipse(0, -0.66, 0.13, 0.14), shade(colour, 0.7), mirror=False)


def _true_bug(canvas: Canvas) -> None:
    """A shield, green or brown, with a darker tip."""
    colour = (110, 140, 60) if canvas.rng.random() < 0.4 else canvas.dark_colour()
    width = canvas.rng.uniform(0.35, 0.55)
    canvas.antennae(shade(colour, 0.6), top=-0.8, reach=0.3)
    canvas.legs(shade(colour, 0.8), reach=width + 0.25, width=0.045, top=-0.25)
    shield = [(-0.05, -0.75), (0.2, -0.75), (width, -0.4), (width * 0.95, 0.1), (0.25, 0.85), (-0.05, 0.9)]
    canvas.shape(canvas.jitter(shield, 0.02), colour, marks=int(canvas.rng.integers(0, 3)))
    triangle = [(-0.02, -0.35), (0.22, -0.35), (0.0, 0.3)]
    canvas.shape(triangle, shade(colour, canvas.rng.uniform(0.7, 1.3)))


def _mayfly(canvas: Canvas) -> None:
    """Upright or spread clear wings, a thin body and tail threads."""
    colour = shade((150, 130, 90), canvas.rng.uniform(0.5, 1.2))
    canvas.stroke([(0.02, 0.5), (0.1, 1.2)], colour, 0.02, counts=False)
    canvas.stroke([(0.04, -0.35), (0.2, -0.8)], colour, 0.03)
    wing = [(0.02, -0.35), (0.5, -0.5), (0.75, -0.25), (0.45, 0.1), (0.05, -0.1)]
    canvas.shape(canvas.jitter(wing, 0.03), (150, 146, 132), alpha=int(canvas.rng.integers(60, 170)), marks=2)
    canvas.shape(ellipse(0, 0.05, 0.06, 0.55), colour, mirror=False)


ALL_SPECIES = (
    *SPECIES,
    Species(_hawk_moth, "moth", 1.2, 1.3),
    Species(_plume_moth, "moth", 0.4, 0.7),
    Species(_silk_moth, "moth", 1.2, 1.7),
    Species(_half_moth, "moth", 0.9, 0.9),
    Species(_wasp, "other", 0.9, 0.55),
    Species(_crane_fly, "other", 0.8, 0.8),
    Species(_caddis, "other", 0.7, 0.55),
    Species(_true_bug, "other", 0.6, 0.5),
    Species(_mayfly, "other", 0.5, 0.6),
)
"""The package's species and those of this module."""
