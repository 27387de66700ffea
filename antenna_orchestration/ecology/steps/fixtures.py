"""The step `fixtures`: boxes that stay in one spot for several nights, as dirt, screws and stains do.

A resting moth repeats within one night only, so what counts is persistence over nights. `find` looks over all nights of
a deployment before they are processed one by one; the step marks what it found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from antenna_orchestration.ecology.model import Night
from antenna_orchestration.ecology.steps.step import Parameters, flagged, parameter

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_CELL: Final = 64.0
"""Side in pixels of the cells in which boxes are looked for."""


class FixturesParameters(Parameters):
    """What makes a spot a fixture."""

    iou: float = parameter(0.9, "least overlap (IoU) of two boxes in one spot", unit="share", ge=0.5, le=0.99)
    nights: int = parameter(3, "fewest nights on which the box is there", unit="nights", ge=2, le=10_000)
    share: float = parameter(
        0.3, "least share of the photographs of each of these nights that show it", unit="share", gt=0, le=1
    )


def apply(night: Night, parameters: FixturesParameters) -> Night:
    """Mark with `fixture` what `find` found."""
    if not night.fixtures:
        return night
    frame = night.detections.copy(deep=False)
    keys = zip(frame["job_id"].tolist(), frame["detection_id"].tolist(), strict=True)
    frame["flags"] = flagged(frame, np.array([key in night.fixtures for key in keys], bool), "fixture")
    return replace(night, detections=frame)


def find(
    boxes: pd.DataFrame, photographs: Mapping[date, int], parameters: FixturesParameters
) -> frozenset[tuple[int, str]]:
    """(job_id, detection_id) of the detections in spots that are fixtures.

    `boxes` are all detections of one deployment and pipeline, in any order, with the columns `night`, `image_id`,
    `job_id`, `detection_id`, `x1`, `y1`, `x2`, `y2`; those without a night are not looked at. `photographs` says how
    many each night has.

    A spot is the box that comes first (by night, then from the left) with all that overlap it by `iou`: how photographs
    are numbered does not matter. What lies where no fixture can be is set aside first, since most boxes are animals.
    """
    frame = boxes[boxes["night"].notna()].sort_values(["night", "x1", "y1", "x2", "y2"], kind="stable")
    if len(photographs) < parameters.nights or frame.empty:
        return frozenset()
    corners = frame[["x1", "y1", "x2", "y2"]].to_numpy("float64")
    nights, names = _numbered(frame["night"])
    images, _ = _numbered(frame["image_id"])
    needed = np.array([max(1, math.ceil(parameters.share * photographs[name] - 1e-9)) for name in names])
    cells = np.floor((corners[:, :2] + corners[:, 2:]) / 2 / _CELL).astype(np.int64)
    may_be = _may_be(cells, nights, images, needed, parameters.nights) | _is_wide(corners, parameters.iou)
    likely = np.flatnonzero(may_be)
    spots = _spots(corners[likely], parameters.iou) if len(likely) else likely
    held = likely[_persists(spots, nights[likely], images[likely], needed, parameters.nights)]
    jobs, ids = frame["job_id"].to_numpy()[held], frame["detection_id"].to_numpy(object)[held]
    return frozenset(zip(jobs.tolist(), ids.tolist(), strict=True))


def _numbered(column: pd.Series[Any]) -> tuple[Rows, list[Any]]:
    import pandas as pd

    codes, names = pd.factorize(column)
    return codes, list(names)


def _may_be(cells: npt.NDArray[np.int64], nights: Rows, images: Rows, needed: Rows, fewest: int) -> npt.NDArray[Any]:
    """Which boxes are in cells that, with their neighbours, have a box on enough photographs of enough nights."""
    width = int(cells[:, 1].max() - cells[:, 1].min()) + 3
    origin = cells.min(axis=0) - 1
    cell = (cells[:, 0] - origin[0]) * width + (cells[:, 1] - origin[1])
    shown = np.unique(np.stack([cell, nights, images]), axis=1)[:2]
    (own, night), often = np.unique(shown, axis=1, return_counts=True)
    # The neighbours' photographs are added, not united: that sets aside less, and never a fixture.
    steps = [row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)]
    around = np.concatenate([own + step for step in steps])
    pairs, place = np.unique(np.stack([around, np.tile(night, 9)]), axis=1, return_inverse=True)
    sums = np.bincount(place.ravel(), weights=np.tile(often, 9), minlength=pairs.shape[1])
    enough = pairs[0][sums >= needed[pairs[1]]]
    candidates, on_nights = np.unique(enough, return_counts=True)
    return np.isin(cell, candidates[on_nights >= fewest])


def _is_wide(corners: Floats, iou: float) -> npt.NDArray[np.bool_]:
    """Which boxes are so large that those of one spot may lie more than a cell apart."""
    longer: Floats = (corners[:, 2:] - corners[:, :2]).max(axis=1)
    # Centres are at most `longer * (1 - iou) / (1 + iou)` from that of the spot's first box, on either side of it; and
    # of two boxes of a spot neither is longer than the other by more than 1 / iou each way.
    return longer * (1 - iou) / (1 + iou) * 2 > _CELL * iou**2


def _spots(corners: Floats, iou: float) -> Rows:
    """Of each box the number of its spot: the first whose box it overlaps enough.

    Boxes that overlap so much have similar sides and centres. So each spot is kept under the logarithms of its sides
    and the cell of its centre, where cells grow with the sides, and only the neighbours of a box are compared with it.
    """
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0.0)
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    areas = sides.prod(axis=1)
    step = -math.log(iou)
    bins = np.floor(np.log(np.maximum(sides, 1.0)) / step).astype(np.int64)
    # The farthest that centres of boxes of a bin, or of the next one, can lie apart.
    cells = np.exp((np.arange(bins.max() + 2) + 2) * step) * (1 - iou) / (1 + iou)
    known: dict[tuple[tuple[int, int], tuple[int, int]], list[int]] = {}
    first: list[int] = []
    spots = np.zeros(len(corners), np.intp)
    for row, ((wide, high), (x, y)) in enumerate(zip(bins.tolist(), centres.tolist(), strict=True)):
        near = [
            spot
            for across in _around(wide, x, cells)
            for down in _around(high, y, cells)
            for spot in known.get((across, down), ())
        ]
        found = _alike(corners, areas, row, [first[spot] for spot in sorted(near)], iou) if near else -1
        if found >= 0:
            spots[row] = spots[found]
            continue
        spots[row] = len(first)
        key = (wide, math.floor(x / cells[wide])), (high, math.floor(y / cells[high]))
        known.setdefault(key, []).append(len(first))
        first.append(row)
    return spots


def _around(size: int, place: float, cells: Floats) -> list[tuple[int, int]]:
    """The bins and cells, along one axis, in which the like of a box can be."""
    found = []
    for one in (size - 1, size, size + 1):
        if one >= 0:
            cell = math.floor(place / cells[one])
            found += [(one, cell - 1), (one, cell), (one, cell + 1)]
    return found


def _alike(corners: Floats, areas: Floats, row: int, others: list[int], iou: float) -> int:
    """The first of the others that the box overlaps enough; -1 if none is."""
    upper, lower = np.minimum(corners[others], corners[row]), np.maximum(corners[others], corners[row])
    shared = np.maximum(upper[:, 2:] - lower[:, :2], 0).prod(axis=1)
    fits = (shared > 0) & (shared >= iou * (areas[others] + areas[row] - shared))
    return others[int(fits.argmax())] if fits.any() else -1


def _persists(spots: Rows, nights: Rows, images: Rows, needed: Rows, fewest: int) -> npt.NDArray[np.bool_]:
    """Which boxes are in spots that are there on enough photographs of enough nights."""
    if not len(spots):
        return np.zeros(0, bool)
    shown = np.unique(np.stack([spots, nights, images]), axis=1)[:2]
    (spot, night), often = np.unique(shown, axis=1, return_counts=True)
    held, on_nights = np.unique(spot[often >= needed[night]], return_counts=True)
    return np.isin(spots, held[on_nights >= fewest])
