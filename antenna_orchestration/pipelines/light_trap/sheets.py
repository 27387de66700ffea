"""What an empty lit sheet would look like, and how unlike it each pixel of a photograph is.

A lit sheet is bright and even but for vignette, lamp glow and a cast of colour, which a smooth surface describes;
insects are what departs from it. Only the sheet is modelled here; `blobs` makes insects of the departures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_REDUCTION: Final = 8
"""The sheet is estimated at this fraction of the size: it has no detail, and 64 times fewer pixels are quick."""

# Colour differences weigh more than lightness: shadows and grain are grey, insects seldom are.
_WEIGHTS: Final = np.array([1.0, 2.0, 2.0], np.float32)

_LEAST_NOISE: Final = np.array([1.5, 1.3, 1.3], np.float32)
"""Standard deviations of L, a and b (0 to 255) below which 8-bit steps and JPEG, not the sheet, are measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Departure:
    """A photograph compared with its own empty sheet; all arrays are height x width."""

    # How unlike the sheet, in standard deviations of the sheet's own grain, over all three channels.
    distance: Floats
    # CIE L, a and b of the photograph, uint8 as OpenCV scales them (a and b are grey at 128); height x width x 3.
    lab: NDArray[np.uint8]
    # Lightness of the empty sheet, 0 to 255.
    sheet: Floats


def compare_with_sheet(rgb: NDArray[np.uint8]) -> Departure:
    """Compare a photograph (RGB, height x width x 3) with the sheet that it shows."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    height, width = lab.shape[:2]
    sheet = cv2.resize(_estimate_sheet(lab), (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(lab, (5, 5), 0.9)
    difference = cv2.subtract(smooth, sheet, dtype=cv2.CV_32F)
    # Every fourth pixel each way says as much about the grain as all of them.
    deviation = 1.4826 * np.median(np.abs(difference[::4, ::4]), axis=(0, 1)).astype(np.float32)
    difference *= 1 / np.maximum(deviation, _LEAST_NOISE)
    distance = cv2.sqrt(cv2.transform(difference * difference, np.ones((1, 3), np.float32)))
    return Departure(distance=distance, lab=lab, sheet=np.ascontiguousarray(sheet[..., 0]))


def _estimate_sheet(lab: NDArray[np.uint8]) -> Floats:
    """Lightness and colour of the empty sheet, reduced in size."""
    height, width = lab.shape[:2]
    size = max(16, width // _REDUCTION), max(16, height // _REDUCTION)
    small = cv2.resize(lab, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    sheet = _fit_surface(small)
    # A polynomial cannot follow a lamp's glow or a fold. What is left over is smoothed where there is sheet and added,
    # a few times over, because a better sheet shows more of itself.
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
    """A polynomial surface through the sheet, fitted by reweighting: what departs far has no say in the next round."""
    height, width, _ = small.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    terms = np.stack([(x**i * y**j).ravel() for i, j in powers], axis=1)
    pixels = small.reshape(-1, 3)
    weights = np.ones(len(pixels), np.float32)
    fitted = pixels
    for turn in range(rounds):
        weighted = terms * weights[:, None]
        ridge = 1e-3 * np.eye(len(powers), dtype=np.float32)
        fitted = terms @ np.linalg.solve(weighted.T @ terms + ridge, weighted.T @ pixels)
        rest = pixels - fitted
        distance = _length(rest)
        reach = max(2.0, 1.5 * float(np.median(distance))) * (4.0 if turn < 3 else 2.5)
        # Insects are darker than the sheet far more often than brighter.
        distance = np.where(rest[:, 0] < 0, distance, 0.6 * distance)
        weights = np.clip(1 - (distance / reach) ** 2, 0, 1).astype(np.float32) ** 2
    return fitted.reshape(small.shape).astype(np.float32)


def _length(difference: Floats) -> Floats:
    """Length of each colour difference (last axis: L, a, b)."""
    length: Floats = np.sqrt((difference**2) @ _WEIGHTS)
    return length
