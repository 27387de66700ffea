"""Estimates what the empty lit sheet in a photograph looks like, and how much each pixel differs from it.

A lit sheet is bright and even, except for vignetting, the glow of the lamp and a colour cast; a smooth surface
describes these. Insects differ from the sheet. This module models the sheet only; `blobs` finds insects in the
differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_REDUCTION: Final = 8
"""The sheet is estimated in an image this many times smaller, because it has no detail and that is faster."""

# Weights of L, a and b. Colour weighs more than lightness, because shadows and grain are grey and insects seldom are.
_WEIGHTS: Final = np.array([1.0, 2.0, 2.0], np.float32)

_LEAST_NOISE: Final = np.array([1.5, 1.3, 1.3], np.float32)
"""Smallest standard deviations of L, a and b (each 0 to 255): below them, rounding and JPEG artefacts dominate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Departure:
    """How much a photograph departs from its own empty sheet; arrays have the photograph's height and width."""

    # height x width: distance from the sheet's colour over all three channels, in standard deviations of its noise.
    distance: Floats
    # height x width x 3, uint8: CIE L, a and b of the photograph as OpenCV scales them (128 is neutral for a and b).
    lab: NDArray[np.uint8]
    # height x width: lightness of the empty sheet, 0 to 255.
    sheet: Floats


def compare_with_sheet(rgb: NDArray[np.uint8]) -> Departure:
    """Compare a photograph (RGB, uint8, height x width x 3) with an estimate of its empty sheet."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    height, width = lab.shape[:2]
    sheet = cv2.resize(_estimate_sheet(lab), (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(lab, (5, 5), 0.9)
    difference = cv2.subtract(smooth, sheet, dtype=cv2.CV_32F)
    # The median absolute deviation, times 1.4826, estimates a standard deviation that insects hardly affect. Every
    # fourth pixel in each direction is enough.
    some = np.abs(difference[::4, ::4]).reshape(-1, 3).T
    deviation = 1.4826 * np.median(np.ascontiguousarray(some), axis=1).astype(np.float32)
    weights = np.maximum(deviation, _LEAST_NOISE) ** -2
    distance = cv2.sqrt(cv2.transform(cv2.multiply(difference, difference), weights[None]))
    return Departure(distance=distance, lab=lab, sheet=cv2.extractChannel(sheet, 0))


def _estimate_sheet(lab: NDArray[np.uint8]) -> Floats:
    """L, a and b of the empty sheet, at 1/_REDUCTION of the size."""
    height, width = lab.shape[:2]
    size = max(16, width // _REDUCTION), max(16, height // _REDUCTION)
    small = cv2.resize(lab, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    sheet = _fit_surface(small)
    # A polynomial cannot follow the glow of a lamp or a fold. So the residual is smoothed over those pixels that belong
    # to the sheet, and added. This is repeated, because with a better estimate more pixels count as sheet.
    sigma = 0.03 * size[0]
    for _ in range(5):
        rest = small - sheet
        distance = _length(rest)
        is_sheet = (distance < max(4.0, 2.5 * float(np.median(distance)))).astype(np.uint8)
        is_sheet = cv2.morphologyEx(is_sheet, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        known = is_sheet.astype(np.float32)[..., None]
        weight = cv2.GaussianBlur(known, (0, 0), sigma)[..., None]
        sheet = sheet + cv2.GaussianBlur(rest * known, (0, 0), sigma) / (weight + 0.05)
    return sheet


def _fit_surface(small: Floats, order: int = 4, rounds: int = 8) -> Floats:
    """Fit a polynomial surface to the sheet by iteratively reweighted least squares with Tukey's biweight.

    Pixels that are far from the surface have no weight in the next round.
    """
    height, width, _ = small.shape
    terms = _terms(height, width, order)
    ridge = 1e-3 * np.eye(len(terms), dtype=np.float32)
    # A row per channel: whole rows are worked on much faster than pixels of three values.
    pixels = np.ascontiguousarray(small.reshape(-1, 3).T)
    weights = np.ones(pixels.shape[1], np.float32)
    fitted: Floats = pixels
    for turn in range(rounds):
        weighted = terms * weights
        factors: Floats = np.linalg.solve(weighted @ terms.T + ridge, weighted @ pixels.T)
        fitted = factors.T @ terms
        rest = pixels - fitted
        distance = np.sqrt(_WEIGHTS @ (rest * rest))
        reach = max(2.0, 1.5 * float(np.median(distance))) * (4.0 if turn < 3 else 2.5)
        # Insects are darker than the sheet far more often than brighter.
        distance *= np.where(rest[0] < 0, np.float32(1), np.float32(0.6))
        weights = np.square(np.maximum(1 - np.square(distance * np.float32(1 / reach)), 0))
    return np.ascontiguousarray(fitted.T).reshape(small.shape)


@lru_cache(maxsize=4)
def _terms(height: int, width: int, order: int) -> Floats:
    """The powers of x and y of a surface, a column per pixel: the same for all photographs of one size, 1.3 MB each."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    terms: Floats = np.stack([(x**i * y**j).ravel() for i, j in powers])
    terms.setflags(write=False)
    return terms


def _length(difference: Floats) -> Floats:
    """Length of each colour difference (last axis: L, a, b)."""
    length: Floats = np.sqrt((difference**2) @ _WEIGHTS)
    return length
