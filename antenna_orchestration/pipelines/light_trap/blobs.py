"""Finds blobs: connected regions of a photograph that differ from the empty sheet, with a box and features for each.

A blob need not be an insect; screws, stains and shadows are blobs too. `insect_shape` classifies blobs by their
features. All lengths are in pixels of the photograph that was compared with the sheet, which is usually a shrunk one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from antenna_orchestration.pipelines.light_trap.sheets import Departure

Mask = NDArray[np.uint8]

LOW: Final = 4.5
"""Low threshold of a hysteresis: pixels that differ more from the sheet than this may belong to a blob ..."""
HIGH: Final = 9.0
"""... if the blob also has a pixel above this high threshold. Both are in standard deviations of the sheet's noise."""
HALO: Final = 0.2
"""Pixels below this share of their blob's 90th percentile are its halo: shadow, blur or smeared colour."""
LEGS: Final = 0.6
"""Where a box ends between the body without legs (0) and the feet (1). Annotators differ on whether legs belong."""
SPLIT: Final = 0.45
"""Touching insects are split at necks narrower than this share of the blob's largest inscribed radius ..."""
SPLIT_LIMIT: Final = 6
"""... or than this radius in pixels, whichever is smaller."""

FEATURES: Final = (
    "log_length", "elongation", "fill", "solidity", "circularity", "thickness", "legs", "log_contrast", "log_peak",
    "darkness", "bright", "chroma", "colour_departure", "sharpness", "texture", "strokes", "clutter", "rings", "edge",
    "log_area_share",
)  # fmt: skip
"""Names of the features of a blob, in order. `_describe` computes and explains each of them."""

_MARGIN: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """One region that differs from the sheet."""

    # x1, y1, x2, y2 in pixels of the compared photograph; x2 and y2 are exclusive.
    box: tuple[float, float, float, float]
    # One value per name in FEATURES.
    features: NDArray[np.float32]


def find_blobs(departure: Departure, smallest: float) -> list[Blob]:
    """All blobs whose longer side is at least `smallest` pixels. Insects that touch are split where possible."""
    distance = departure.distance
    mask = (distance > LOW).astype(np.uint8)
    # Closes the gaps that legs and pale wing veins leave.
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(5))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    peaks = np.zeros(count, bool)
    peaks[labels[distance > HIGH]] = True
    large = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]) >= smallest
    found = []
    for label in np.flatnonzero(peaks & large & (np.arange(count) > 0)):
        x, y, width, height, _ = (int(value) for value in stats[label])
        window = _Window(departure, x, y, width, height)
        whole = window.cut(labels) == label
        for around, piece in _take_apart(window, _sharpened(whole, window.distance, smallest), smallest):
            if (blob := _measure(around, piece, smallest)) is not None:
                found.append(blob)
    return found


def _sharpened(mask: NDArray[np.bool_], distance: NDArray[np.float32], smallest: float) -> Mask:
    """The mask without the halo around a strong blob, which would join it to its neighbours.

    The halo is what differs from the sheet by less than HALO of the blob's peak. A part of it that is large enough to
    be an insect itself is kept.
    """
    peak = float(np.percentile(distance[mask], 90))
    strong: Mask = (mask & (distance > max(LOW, HALO * peak))).view(np.uint8)
    strong = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, _disc(5))
    rest = (mask & (cv2.dilate(strong, _disc(9)) == 0)).view(np.uint8)
    if cv2.countNonZero(rest) < 0.3 * smallest**2:
        return strong
    rest = cv2.morphologyEx(rest, cv2.MORPH_OPEN, _disc(5))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=8)
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[label])
        if area < 0.3 * smallest**2:
            continue
        place = slice(y, y + height), slice(x, x + width)
        inside = labels[place] == label
        if float(distance[place][inside].max()) > HIGH:
            strong[place][inside] = 1
    return strong


class _Window:
    """A rectangle of the photograph around a blob, with a margin that ends at the photograph's edges."""

    def __init__(self, departure: Departure, x: int, y: int, width: int, height: int) -> None:
        self._departure = departure
        rows, columns = departure.distance.shape
        self.left, self.top = max(0, x - _MARGIN), max(0, y - _MARGIN)
        self.right, self.bottom = min(columns, x + width + _MARGIN), min(rows, y + height + _MARGIN)
        self.rows, self.columns = rows, columns
        self.distance = self.cut(departure.distance)
        self.lab = self.cut(departure.lab)
        self.sheet = self.cut(departure.sheet)

    def cut(self, whole: NDArray[Any]) -> NDArray[Any]:
        """The part of a photograph-sized array that lies in the window."""
        return whole[self.top : self.bottom, self.left : self.right]

    def part(self, x: int, y: int, width: int, height: int) -> tuple[_Window, tuple[slice, slice]]:
        """The window around a rectangle of this one, with its margin, and where in this one it lies.

        The rectangle has the margin in this window, too, or ends at the photograph's edge.
        """
        inner = _Window(self._departure, self.left + x, self.top + y, width, height)
        rows = slice(inner.top - self.top, inner.bottom - self.top)
        return inner, (rows, slice(inner.left - self.left, inner.right - self.left))


def _take_apart(window: _Window, mask: Mask, smallest: float) -> Iterator[tuple[_Window, Mask]]:
    """Split a mask into insects: parts that do not touch, or touch only with legs, antennae or wing tips.

    Each comes in a window of its own: what joins them may be as large as the sheet, and each would be as slow as that.
    """
    filled = _fill(mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    for number in range(1, count):
        if max(stats[number, cv2.CC_STAT_WIDTH], stats[number, cv2.CC_STAT_HEIGHT]) >= smallest:
            inner, place = window.part(*(int(value) for value in stats[number, :4]))
            for piece in _cut_necks((labels[place] == number).astype(np.uint8), smallest):
                around, place = inner.part(*cv2.boundingRect(piece))
                yield around, piece[place]


def _cut_necks(mask: Mask, smallest: float) -> Iterator[Mask]:
    """Split one connected mask at its narrow necks. A part too small to be an insect stays with its neighbour."""
    width = int(np.clip(SPLIT * _thickest(mask), 1, SPLIT_LIMIT)) * 2 + 1
    cores = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(width))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cores, connectivity=4)
    sides = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = [n for n in range(1, count) if sides[n] >= 0.7 * smallest and areas[n] >= 0.3 * smallest**2]
    if len(kept) < 2:
        yield mask
        return
    # Every pixel goes to the nearest core.
    seeds = np.isin(labels, kept)
    _, nearest = cv2.distanceTransformWithLabels(
        (~seeds).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(int(nearest.max()) + 1, labels.dtype)
    owner[nearest[seeds]] = labels[seeds]
    owners = owner[nearest]
    for number in kept:
        yield ((owners == number) & (mask > 0)).astype(np.uint8)


def _measure(window: _Window, mask: Mask, smallest: float) -> Blob | None:
    """The blob of a mask; None if it is too small. Lines one or two pixels wide are ignored for size and shape."""
    body = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(3))
    if not body.any():
        return None
    x, y, width, height = cv2.boundingRect(body)
    if max(width, height) < smallest:
        return None
    radius = _thickest(body)
    trunk = cv2.morphologyEx(body, cv2.MORPH_OPEN, _disc(int(np.clip(0.4 * radius, 1, 9)) * 2 + 1))
    features = _describe(window, body, trunk, radius)
    left, top, across, down = cv2.boundingRect(trunk) if trunk.any() else (x, y, width, height)
    box = (
        window.left + LEGS * x + (1 - LEGS) * left,
        window.top + LEGS * y + (1 - LEGS) * top,
        window.left + LEGS * (x + width) + (1 - LEGS) * (left + across),
        window.top + LEGS * (y + height) + (1 - LEGS) * (top + down),
    )
    return Blob(box=box, features=features)


def _describe(window: _Window, mask: Mask, trunk: Mask, radius: float) -> NDArray[np.float32]:
    """Compute the features of a blob, in the order of FEATURES. `radius` is that of the largest inscribed circle."""
    x, y, width, height = cv2.boundingRect(mask)
    inside = mask > 0
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    hull = cv2.convexHull(np.concatenate(outlines))
    (_, _), (side_a, side_b), _ = cv2.minAreaRect(hull)
    length, breadth = max(side_a, side_b) + 1, min(side_a, side_b) + 1

    lightness, a, b = window.lab[inside].T.astype(np.float32, order="C")
    area = lightness.size
    distance, sheet = window.distance[inside], window.sheet[inside]
    grown = cv2.dilate(mask, _disc(3))
    around = cv2.subtract(cv2.dilate(mask, _disc(7)), grown)
    has_around = cv2.countNonZero(around) > 0
    _, outer_a, outer_b, _ = cv2.mean(window.lab, around if has_around else mask)
    peak = float(np.percentile(distance, 90))
    sheet_lightness = float(sheet.mean())
    variance = float(lightness.var())

    gradient = cv2.magnitude(
        cv2.Sobel(window.distance, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(window.distance, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    rim = cv2.subtract(grown, cv2.erode(mask, _disc(3))) > 0
    left, top = window.left + x, window.top + y
    edge = left <= 1 or top <= 1 or left + width >= window.columns - 1 or top + height >= window.rows - 1
    return np.array(
        [
            np.log(length),
            # Length over breadth of the smallest rotated rectangle around the blob.
            length / breadth,
            # Share of that rectangle's area that the blob fills.
            area / (length * breadth),
            # Share of its convex hull's area that it fills.
            area / (cv2.contourArea(hull) + 1),
            # 4 pi area / perimeter^2: 1 for a circle, less for anything else.
            4 * np.pi * area / max(1.0, cv2.arcLength(outline, closed=True)) ** 2,
            # Diameter of the largest inscribed circle over the length.
            2 * radius / length,
            # Share of the area that is legs, antennae and other thin parts.
            1 - cv2.countNonZero(trunk) / area,
            np.log(float(distance.mean())),
            np.log(peak),
            # How much darker than the sheet, as a share of its lightness.
            (sheet_lightness - float(lightness.mean())) / max(1.0, sheet_lightness),
            # Share of pixels clearly brighter than the sheet: letters, reflections, white moths.
            float((lightness > sheet + 12).mean()),
            float(np.hypot(a - 128, b - 128).mean()),
            # Distance between the mean colours of the blob and of its surroundings.
            math.hypot(float(a.mean()) - outer_a, float(b.mean()) - outer_b),
            # Gradient at the rim, relative to the contrast: low for shadows, stains and things out of focus.
            float(np.median(gradient[rim])) / peak if rim.any() else 0.0,
            math.sqrt(variance) / max(1.0, sheet_lightness),
            # Gradient inside, relative to the contrast: high for letters and dirt, which are all edges.
            cv2.mean(gradient, mask)[0] / peak,
            # How much its surroundings differ from the sheet: high in dirt and texture.
            cv2.mean(window.distance, around)[0],
            _rings(lightness, inside, variance),
            float(edge),
            np.log(area / (window.rows * window.columns)),
        ],
        np.float32,
    )


def _rings(lightness: NDArray[np.float32], inside: NDArray[np.bool_], variance: float) -> float:
    """Share of the variance of lightness that concentric rings explain (R squared): near 1 for the head of a screw."""
    if variance == 0:
        return 0.0
    rows, columns = (each.astype(np.float32) for each in np.nonzero(inside))
    radii = cv2.magnitude(rows - rows.mean(), columns - columns.mean()).ravel()
    ring = (radii * (11.99 / max(1e-6, float(radii.max())))).astype(np.intp)
    counts = np.bincount(ring, minlength=12)
    means = np.bincount(ring, lightness, minlength=12) / np.maximum(counts, 1)
    return float((counts * (means - lightness.mean()) ** 2).sum() / counts.sum()) / variance


def _fill(mask: Mask) -> Mask:
    """Fill the holes of a mask, because pale patches on a wing belong to the insect."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled: Mask = cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED)
    return filled


def _thickest(mask: Mask) -> float:
    """Radius of the largest circle inside the mask, in pixels."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return float(cv2.distanceTransform(padded, cv2.DIST_L2, 5).max())


@cache
def _disc(diameter: int) -> Mask:
    disc: Mask = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    disc.setflags(write=False)
    return disc
