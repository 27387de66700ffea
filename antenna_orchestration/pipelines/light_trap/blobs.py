"""From departures to blobs: connected pieces of a photograph that are unlike the sheet, with a box and a description.

What is found here need not be an insect: screws, stains and shadows are blobs too. `insect_shape` judges them by the
numbers in `Blob.features`. All lengths are pixels of the photograph that was compared, which may be a reduced one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from antenna_orchestration.pipelines.light_trap.sheets import Departure

Mask = NDArray[np.uint8]

LOW: Final = 4.5
"""A pixel this unlike the sheet may belong to a blob …"""
HIGH: Final = 9.0
"""… that has a pixel this unlike it somewhere. Both in standard deviations of the sheet's grain."""
HALO: Final = 0.2
"""Pixels of less than this share of their blob's strength are its halo."""
LEGS: Final = 0.6
"""Boxes end this far between the trunk (0) and the feet (1): some people draw boxes round legs, others do not."""
SPLIT: Final = 0.45
"""Insects are cut apart at necks narrower than this share of the thickest of them …"""
SPLIT_LIMIT: Final = 6
"""… or of this radius in pixels, whichever is less."""

FEATURES: Final = (
    "log_length", "elongation", "fill", "solidity", "circularity", "thickness", "legs", "log_contrast", "log_peak",
    "darkness", "bright", "chroma", "colour_departure", "sharpness", "texture", "strokes", "clutter", "rings", "edge",
    "log_area_share",
)  # fmt: skip
"""Names of the numbers that describe a blob, in order; each is explained where `_describe` computes it."""

_MARGIN: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """One piece, as a box and a description."""

    # x1, y1, x2, y2 in pixels; x2 and y2 are exclusive.
    box: tuple[float, float, float, float]
    # One number for each of FEATURES.
    features: NDArray[np.float32]


def find_blobs(departure: Departure, smallest: float) -> list[Blob]:
    """All blobs whose longer side is at least `smallest` pixels; touching insects are taken apart where they can be."""
    distance = departure.distance
    mask = (distance > LOW).astype(np.uint8)
    # Legs and light wing veins leave gaps.
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
        for piece in _take_apart(_sharpened(whole, window.distance, smallest), smallest):
            if (blob := _measure(window, piece, smallest)) is not None:
                found.append(blob)
    return found


def _sharpened(mask: NDArray[np.bool_], distance: NDArray[np.float32], smallest: float) -> Mask:
    """The mask without the halo of shadow, blur and smeared colour round a strong blob, which joins neighbours.

    What departs less than a share of the strongest part is left out, unless it is large enough to be an insect itself.
    """
    peak = float(np.percentile(distance[mask], 90))
    strong: Mask = (mask & (distance > max(LOW, HALO * peak))).astype(np.uint8)
    strong = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, _disc(5))
    rest = (mask & (cv2.dilate(strong, _disc(9)) == 0)).astype(np.uint8)
    rest = cv2.morphologyEx(rest, cv2.MORPH_OPEN, _disc(5))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=8)
    for label in range(1, count):
        inside = labels == label
        if stats[label, cv2.CC_STAT_AREA] >= 0.3 * smallest**2 and float(distance[inside].max()) > HIGH:
            strong[inside] = 1
    return strong


class _Window:
    """A rectangle of the photograph round a blob, with a margin where the photograph has one."""

    def __init__(self, departure: Departure, x: int, y: int, width: int, height: int) -> None:
        rows, columns = departure.distance.shape
        self.left, self.top = max(0, x - _MARGIN), max(0, y - _MARGIN)
        self.right, self.bottom = min(columns, x + width + _MARGIN), min(rows, y + height + _MARGIN)
        self.rows, self.columns = rows, columns
        self.distance = self.cut(departure.distance)
        self.lab = self.cut(departure.lab)
        self.sheet = self.cut(departure.sheet)

    def cut(self, whole: NDArray[Any]) -> NDArray[Any]:
        """The window's part of an array of the photograph's size."""
        return whole[self.top : self.bottom, self.left : self.right]


def _take_apart(mask: Mask, smallest: float) -> Iterator[Mask]:
    """Split a mask into insects: parts that do not touch, or touch by legs, feelers or wing tips only."""
    filled = _fill(mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    for number in range(1, count):
        if max(stats[number, cv2.CC_STAT_WIDTH], stats[number, cv2.CC_STAT_HEIGHT]) >= smallest:
            yield from _cut_necks((labels == number).astype(np.uint8), smallest)


def _cut_necks(mask: Mask, smallest: float) -> Iterator[Mask]:
    """Split one connected mask at its necks; a part too small to be an insect stays with its neighbour."""
    width = int(np.clip(SPLIT * _thickest(mask), 1, SPLIT_LIMIT)) * 2 + 1
    cores = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(width))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cores, connectivity=4)
    sides = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = [n for n in range(1, count) if sides[n] >= 0.7 * smallest and areas[n] >= 0.3 * smallest**2]
    if len(kept) < 2:
        yield mask
        return
    # Every pixel goes to the core that is nearest.
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
    """The blob of a mask; None when it is too small without hairlines, which count neither as size nor as shape."""
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
    """The numbers of FEATURES."""
    x, y, width, height = cv2.boundingRect(mask)
    inside = mask > 0
    area = float(inside.sum())
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    hull = cv2.convexHull(np.concatenate(outlines))
    (_, _), (side_a, side_b), _ = cv2.minAreaRect(hull)
    length, breadth = max(side_a, side_b) + 1, min(side_a, side_b) + 1

    lab = window.lab[inside].astype(np.float32)
    distance = window.distance[inside]
    lightness, a, b = lab[:, 0], lab[:, 1] - 128, lab[:, 2] - 128
    sheet = window.sheet[inside]
    around = (cv2.dilate(mask, _disc(7)) > 0) & (cv2.dilate(mask, _disc(3)) == 0)
    outside = window.lab[around].astype(np.float32) if around.any() else lab
    peak = float(np.percentile(distance, 90))

    gradient = cv2.magnitude(
        cv2.Sobel(window.distance, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(window.distance, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    rim = (cv2.dilate(mask, _disc(3)) - cv2.erode(mask, _disc(3))) > 0
    left, top = window.left + x, window.top + y
    edge = left <= 1 or top <= 1 or left + width >= window.columns - 1 or top + height >= window.rows - 1
    return np.array(
        [
            np.log(length),
            # Length over breadth of the smallest turned rectangle.
            length / breadth,
            # Share of that rectangle that the blob fills.
            area / (length * breadth),
            # Share of its convex hull that it fills.
            area / (cv2.contourArea(hull) + 1),
            # 1 for a disc, less for anything else.
            4 * np.pi * area / max(1.0, cv2.arcLength(outline, closed=True)) ** 2,
            # Diameter of the largest disc inside, over the length.
            2 * radius / length,
            # Share of the area that is legs, feelers and other thin parts.
            1 - float((trunk > 0).sum()) / area,
            np.log(float(distance.mean())),
            np.log(peak),
            # How much darker than the sheet, as a share of its lightness.
            float((sheet - lightness).mean()) / max(1.0, float(sheet.mean())),
            # Share that is clearly brighter than the sheet: letters, reflections, white moths.
            float((lightness > sheet + 12).mean()),
            float(np.hypot(a, b).mean()),
            # How far the mean colour is from that around it.
            float(np.hypot(a.mean() - (outside[:, 1] - 128).mean(), b.mean() - (outside[:, 2] - 128).mean())),
            # Slope at the rim for its contrast: soft things are shadows, stains or far from the focus.
            float(np.median(gradient[rim])) / peak if rim.any() else 0.0,
            float(lightness.std()) / max(1.0, float(sheet.mean())),
            # Slope inside, for its contrast: letters and dirt are all edges.
            float(gradient[inside].mean()) / peak,
            # Departure of what surrounds it: high in dirt and texture.
            float(window.distance[around].mean()) if around.any() else 0.0,
            _rings(lightness, inside),
            float(edge),
            np.log(area / (window.rows * window.columns)),
        ],
        np.float32,
    )


def _rings(lightness: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Share of the variance of lightness that rings round the middle explain: near 1 for a screw's head."""
    rows, columns = np.nonzero(inside)
    radii = np.hypot(rows - rows.mean(), columns - columns.mean())
    ring = (radii / max(1e-6, radii.max()) * 11.99).astype(np.intp)
    counts = np.bincount(ring, minlength=12)
    means = np.bincount(ring, lightness, minlength=12) / np.maximum(counts, 1)
    variance = float(lightness.var())
    return float((counts * (means - lightness.mean()) ** 2).sum() / counts.sum()) / variance if variance > 0 else 0.0


def _fill(mask: Mask) -> Mask:
    """The mask without holes: pale patches on a wing belong to it."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled: Mask = cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED)
    return filled


def _thickest(mask: Mask) -> float:
    """Radius of the largest disc inside the mask."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return float(cv2.distanceTransform(padded, cv2.DIST_L2, 5).max())


def _disc(diameter: int) -> Mask:
    disc: Mask = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    return disc
