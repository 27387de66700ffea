"""Draws sheets and what is on them besides insects, with more variety than `synthetic.captures`; for training only.

Each function takes a picture (RGB, uint8, height x width x 3) and returns one of the same size; it may change its
argument. `lay_out` applies a random few of them. Whatever a detector somewhere mistakes for an insect belongs here.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def lay_out(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Apply random changes of light and texture, and add random things that are not insects."""
    for chance, change in _CHANGES:
        if rng.random() < chance:
            pixels = change(pixels, rng)
    return pixels


def noise(rng: np.random.Generator, height: int, width: int, cell: tuple[float, float]) -> NDArray[np.float32]:
    """Smooth noise (float32, height x width) with a standard deviation of about 1.

    Its features are `cell` (height, width) pixels large.
    """
    size = max(2, int(width / cell[1]) + 2), max(2, int(height / cell[0]) + 2)
    coarse = rng.standard_normal(size[::-1]).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def coloured_light(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Ultraviolet, sodium or simply dim light."""
    tint = rng.uniform(0.62, 1.08, 3) if rng.random() < 0.4 else np.ones(3)
    strength = rng.uniform(0.4, 1.05)
    return _scaled(pixels, (strength * tint).astype(np.float32))


def burnt_out(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A lamp so close that a part of the sheet is overexposed, with a sharp or a soft edge."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    middle = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
    spread = rng.uniform(0.15, 0.6) * width, rng.uniform(0.15, 0.6) * height
    glow = rng.uniform(0.1, 0.6) * np.exp(-(((x - middle[0]) / spread[0]) ** 2 + ((y - middle[1]) / spread[1]) ** 2))
    limit = rng.uniform(215, 255)
    return np.minimum(pixels * (1 + glow[..., None]), limit).astype(np.uint8)


def wrinkles(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Folds in a hanging cloth: long ridges, soft or sharp."""
    height, width = pixels.shape[:2]
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    along = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    along += 30 * noise(rng, height, width, (height / 3, width / 3))
    ridges = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        wave = np.sin(along * np.float32(2 * np.pi / rng.uniform(40, 500)) + np.float32(rng.uniform(0, 6.3)))
        # Each cubing makes the crests narrower.
        for _ in range(int(rng.integers(0, 3))):
            wave = wave * wave * wave
        ridges += wave
    return _scaled(pixels, (1 + rng.uniform(0.01, 0.09) * ridges)[..., None])


def speckles(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Dark grains everywhere, denser in places, like rough paint that a camera has sharpened."""
    height, width = pixels.shape[:2]
    grain = noise(rng, height, width, (rng.uniform(1, 3), rng.uniform(1, 4)))
    where = noise(rng, height, width, (height / 5, width / 5))
    depth = rng.uniform(0.1, 0.6) * np.clip(grain - rng.uniform(0.8, 2.0) + 0.35 * where, 0, 1)
    return _scaled(pixels, (1 - depth)[..., None])


def mottled(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Dirt, damp and faded patches of all sizes."""
    height, width = pixels.shape[:2]
    patches = np.zeros((height, width), np.float32)
    for cell in (8, 24, 70, 200):
        patches += noise(rng, height, width, (cell, cell)) * rng.uniform(0, 1)
    shades = 1 + rng.uniform(0.005, 0.05) * patches[..., None] * rng.uniform(0.6, 1.2, 3).astype(np.float32)
    return _scaled(pixels, shades)


def soft_shadow(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The shadow of a pole, a lamp or a leaf that is not in the picture."""
    mask = _polygon(pixels, rng, rng.uniform(0.1, 0.6))
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 25))
    return _scaled(pixels, (1 - rng.uniform(0.05, 0.6) * mask)[..., None])


def patches(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Tape, labels, colour cards, holes: flat things with straight edges."""
    for _ in range(int(rng.integers(1, 5))):
        height, width = pixels.shape[:2]
        centre = rng.uniform(0, width), rng.uniform(0, height)
        size = rng.uniform(6, 120), rng.uniform(6, 120)
        corners = cv2.boxPoints((centre, size, float(rng.choice([0, 0, 90, rng.uniform(0, 90)])))).astype(np.int32)
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        grey = (int(rng.integers(0, 255)),) * 3
        layer = pixels.copy()
        cv2.fillPoly(layer, [corners], grey if rng.random() < 0.6 else colour, cv2.LINE_AA)
        if rng.random() < 0.5:
            inverse = tuple(255 - value for value in grey)
            for line in range(int(rng.integers(1, 4))):
                place = int(corners[:, 0].min() + 3), int(corners[:, 1].min() + 12 * (line + 1))
                text = "".join(chr(code) for code in rng.integers(48, 90, int(rng.integers(1, 9))))
                cv2.putText(
                    layer, text, place, int(rng.integers(0, 5)), rng.uniform(0.25, 0.8), inverse, 1, cv2.LINE_AA
                )
        pixels = cv2.addWeighted(layer, alpha := float(rng.choice([1.0, rng.uniform(0.2, 1)])), pixels, 1 - alpha, 0)
    return pixels


def discs(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Screws, nails, grommets, magnets, drops: round, plain or in rings, some with a glint."""
    height, width = pixels.shape[:2]
    radius = rng.uniform(3, 28)
    rings = [(share, int(rng.integers(0, 255))) for share in sorted(rng.uniform(0.15, 1, int(rng.integers(1, 6))))]
    colour = rng.uniform(0.7, 1, 3) if rng.random() < 0.3 else np.ones(3)
    for _ in range(int(rng.integers(1, 7))):
        centre = int(rng.uniform(0, width) * 16), int(rng.uniform(0, height) * 16)
        for share, grey in reversed([*rings, (1.0, int(rng.integers(0, 120)))]):
            shade = tuple(int(grey * part) for part in colour)
            cv2.circle(pixels, centre, int(radius * share * 16), shade, -1, cv2.LINE_AA, 4)
        turn = rng.uniform(0, np.pi)
        if rng.random() < 0.5:
            arm = radius * 0.5 * np.array([np.cos(turn), np.sin(turn)]) * 16
            start, end = np.array(centre) - arm, np.array(centre) + arm
            cv2.line(pixels, tuple(start.astype(int)), tuple(end.astype(int)), (25, 25, 25), 2, cv2.LINE_AA, 4)
    return pixels


def lines(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Cables, seams, threads, grids and the frame of the board."""
    height, width = pixels.shape[:2]
    grid = rng.random() < 0.25
    grey = (int(rng.integers(0, 255)),) * 3
    thick = int(rng.integers(1, 4) if rng.random() < 0.7 else rng.integers(4, 20))
    layer = pixels.copy()
    if grid:
        step, start = rng.uniform(25, 150), rng.uniform(0, 25)
        for at in np.arange(start, max(height, width), step):
            cv2.line(layer, (int(at), 0), (int(at), height), grey, min(thick, 2), cv2.LINE_AA)
            cv2.line(layer, (0, int(at)), (width, int(at)), grey, min(thick, 2), cv2.LINE_AA)
    else:
        for _ in range(int(rng.integers(1, 4))):
            ends = rng.uniform(-0.2, 1.2, (2, 2)) * (width, height)
            bow = rng.normal(0, 40 if rng.random() < 0.5 else 2, 2)
            share = np.linspace(0, 1, 24)[:, None]
            points = ends[0] * (1 - share) + ends[1] * share + bow * np.sin(np.pi * share)
            cv2.polylines(layer, [points.astype(np.int32)], False, grey, thick, cv2.LINE_AA)
    alpha = rng.uniform(0.15, 1)
    return cv2.addWeighted(layer, alpha, pixels, 1 - alpha, 0)


def reflections(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Bright smears on a shiny board, and drops on the lens."""
    height, width = pixels.shape[:2]
    mask = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        axes = int(rng.uniform(2, 60)), int(rng.uniform(2, 20))
        centre = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 12))[..., None] * rng.uniform(0.2, 1)
    bright = 245 if rng.random() < 0.7 else rng.uniform(90, 200)
    return (pixels * (1 - mask) + bright * mask).astype(np.uint8)


def litter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Twigs, grass, bits of leaves, loose legs and antennae, crumbs: small, thin or ragged."""
    height, width = pixels.shape[:2]
    colour = np.array([rng.uniform(40, 150), rng.uniform(50, 140), rng.uniform(20, 90)])
    for _ in range(int(rng.integers(2, 60))):
        shade = tuple(int(value) for value in (colour * rng.uniform(0.5, 1.3)).clip(0, 255))
        centre = rng.uniform(0, 1, 2) * (width, height)
        if rng.random() < 0.75:
            reach = rng.normal(0, rng.uniform(2, 14), 2)
            bow = rng.normal(0, 2, 2)
            points = np.array([centre - reach, centre + bow, centre + reach]).astype(np.int32)
            cv2.polylines(pixels, [points], False, shade, 1, cv2.LINE_AA)
        else:
            spread = rng.uniform(0.5, 3.0)
            points = (centre + rng.normal(0, spread, (int(rng.integers(3, 7)), 2))).astype(np.int32)
            cv2.fillPoly(pixels, [points], shade, cv2.LINE_AA)
    return pixels


def blurred_thing(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Something dark or pale that is too close to the camera to be in focus."""
    mask = cv2.GaussianBlur(_polygon(pixels, rng, rng.uniform(0.1, 0.4)), (0, 0), rng.uniform(8, 40))[..., None]
    mask = mask * rng.uniform(0.3, 1)
    return (pixels * (1 - mask) + rng.integers(0, 230, 3) * mask).astype(np.uint8)


def beyond_the_sheet(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The edge of the sheet, with the night, grass or a wall behind it."""
    height, width = pixels.shape[:2]
    turn = float(rng.choice([0, 0.5, 1, 1.5])) * np.pi + rng.normal(0, 0.06)
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    beyond = x * np.cos(turn) + y * np.sin(turn) - rng.uniform(0.25, 0.48)
    mask = (0.5 + beyond * rng.uniform(15, 250)).clip(0, 1)
    behind = rng.uniform(0, 90, 3) + 18 * rng.random() * noise(rng, height, width, (6, 6))[..., None]
    return (pixels * (1 - mask[..., None]) + behind.clip(0, 255) * mask[..., None]).astype(np.uint8)


def _polygon(pixels: Pixels, rng: np.random.Generator, reach: float) -> NDArray[np.float32]:
    """A mask (float32, 0 to 1) of a random polygon that may be partly outside the picture."""
    height, width = pixels.shape[:2]
    mask = np.zeros((height, width), np.float32)
    centre = rng.uniform(-0.1, 1.1, 2) * (width, height)
    points = centre + rng.normal(0, reach * 0.5, (int(rng.integers(3, 7)), 2)) * (width, height)
    cv2.fillPoly(mask, [cv2.convexHull(points.astype(np.int32))], 1.0, cv2.LINE_AA)
    return mask


def _scaled(pixels: Pixels, factor: NDArray[np.float32]) -> Pixels:
    return (pixels * factor).clip(0, 255).astype(np.uint8)


_CHANGES: tuple[tuple[float, Callable[[Pixels, np.random.Generator], Pixels]], ...] = (
    (0.25, wrinkles),
    (0.25, mottled),
    (0.35, speckles),
    (0.2, lines),
    (0.25, patches),
    (0.25, discs),
    (0.5, litter),
    (0.12, reflections),
    (0.15, beyond_the_sheet),
    (0.2, soft_shadow),
    (0.1, blurred_thing),
    (0.25, burnt_out),
    (0.3, coloured_light),
)
