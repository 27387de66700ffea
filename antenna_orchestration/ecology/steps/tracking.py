"""The step `tracking`: which detections of successive photographs are the same animal.

The cost of a pair is `(1 - IoU) + (1 - smaller area / larger area) + distance of the centres / diagonal`, the
geometric part of what other trackers of trap photographs use, and a term for the labels: `1 - sum(sqrt(p * q))` over
the two score vectors (Bhattacharyya), or a half where only the labels are known and differ. Pairs are exclusive and of
least total cost (Hungarian method); leaving a detection without a partner costs `max_cost`. docs/decisions/tracking.md
has the curve from which the defaults were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from antenna_orchestration.ecology.model import Night
from antenna_orchestration.ecology.nights import clock
from antenna_orchestration.ecology.steps.step import Parameters, objects, parameter

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

OTHER_LABEL: Final = 0.5
"""What it costs a pair that its labels differ, where no vectors can be compared."""


class TrackingParameters(Parameters):
    """How alike, how near and how soon after each other two detections of an animal are."""

    max_cost: float = parameter(
        1.25, "cost above which two detections are not the same animal", unit="cost", gt=0, le=4
    )
    max_gap: float = parameter(
        120.0,
        "most by which two photographs of an animal are apart; a night whose median pause is longer has no tracks",
        unit="seconds",
        gt=0,
        le=86_400,
    )
    most_skipped: int = parameter(
        1, "successive photographs on which the animal may be missed", unit="photographs", ge=0, le=100
    )
    size_ratio: float = parameter(2.5, "most by which the area of its box may change", unit="times", ge=1, le=1000)


def apply(night: Night, parameters: TrackingParameters) -> Night:
    """Give each detection its track, named for the detection that it begins with; one that is seen once has its own.

    Photographs without a time are left out, and so are pairs of photographs of different sizes. A failed photograph
    counts as one on which the animal was missed.
    """
    sequence = _sequence(night)
    pauses = np.diff(sequence.times)
    if not len(pauses) or np.median(pauses) > parameters.max_gap:
        return night
    frame = night.detections.copy(deep=False)
    scene = _Scene(night, sequence, parameters)
    follows = _linked(scene, sequence, parameters)
    ids = frame["detection_id"].to_numpy(object)
    tracks = np.full(len(frame), None, object)
    for row in np.concatenate([np.zeros(0, np.intp), *sequence.rows]):
        before = follows[row]
        tracks[row] = ids[row] if before < 0 else tracks[before]
    frame["track"] = objects(tracks, frame)
    return replace(night, detections=frame, tracked=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sequence:
    """The photographs whose time is known, in order."""

    # Seconds.
    times: Floats
    # Of each photograph, the rows of its detections.
    rows: list[Rows]
    # Width and height in pixels, 0 where they are not known; one row a photograph.
    sizes: Floats


def _sequence(night: Night) -> _Sequence:
    captures = night.captures
    known = captures["local_time"].notna().to_numpy()
    captures = captures[known]
    moments: Floats = clock(captures).astype(np.int64) / 1e6
    order = np.lexsort((captures["url"].to_numpy().astype(str), moments))
    place = {image: number for number, image in enumerate(captures["image_id"].to_numpy()[order].tolist())}
    photograph = np.array([place.get(image, -1) for image in night.detections["image_id"].tolist()], np.intp)
    by_photograph = np.argsort(photograph, kind="stable")
    bounds = np.searchsorted(photograph[by_photograph], np.arange(len(place) + 1))
    return _Sequence(
        times=moments[order],
        rows=[by_photograph[start:end] for start, end in pairwise(bounds)],
        sizes=np.nan_to_num(captures[["width", "height"]].to_numpy("float64", na_value=np.nan))[order],
    )


class _Scene:
    """The detections of a night, as the costs of pairs need them."""

    def __init__(self, night: Night, sequence: _Sequence, parameters: TrackingParameters) -> None:
        self._parameters = parameters
        self._boxes = night.detections[["x1", "y1", "x2", "y2"]].to_numpy("float64")
        sides = np.maximum(self._boxes[:, 2:] - self._boxes[:, :2], 0.0)
        self.centres = (self._boxes[:, :2] + self._boxes[:, 2:]) / 2
        self._areas = sides.prod(axis=1)
        self._labels = night.detections["label"].to_numpy(object)
        self._reach = np.hypot(*sides.T) / 2
        # Where the size of a photograph is not known, what its boxes cover.
        self._least = self._boxes[:, 2:].max(axis=0, initial=1.0)
        self._sizes = sequence.sizes
        # Of each detection, its classifier and its row in that one's vectors; -1 without a whole vector.
        self._classifier = np.full(len(self._boxes), -1, np.intp)
        self._place = np.full(len(self._boxes), -1, np.intp)
        self._roots = []
        for number, vectors in enumerate(night.vectors.values()):
            whole = ~vectors.partial
            self._classifier[vectors.rows[whole]] = number
            self._place[vectors.rows[whole]] = np.flatnonzero(whole)
            total = vectors.scores.sum(axis=1, keepdims=True)
            self._roots.append(np.sqrt(np.clip(vectors.scores, 0, None) / np.where(total > 0, total, 1)))

    def pairs(self, before: Rows, now: Rows, photographs: tuple[Rows, int]) -> tuple[Rows, Rows, Floats]:
        """Pairs that cost at most `max_cost`, as positions in `before` and `now`, and their costs.

        `photographs` are those of `before`, one each, and that of `now`.
        """
        from scipy.spatial import cKDTree

        nothing = np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
        if not len(before) or not len(now):
            return nothing
        size = self._sizes[photographs[1]]
        diagonal = float(np.hypot(*(size if size.all() else self._least)))
        most = self._parameters.max_cost
        # Boxes that do not overlap cost 1 at least, so what is left may be spent on the distance.
        reach = max(self._reach[before].max() + self._reach[now].max(), (most - 1) * diagonal)
        # A matrix of scipy's would take longer to make than all else here.
        near = cKDTree(self.centres[before]).sparse_distance_matrix(
            cKDTree(self.centres[now]), reach, output_type="ndarray"
        )
        # The tree's order is its own.
        near = near[np.lexsort((near["j"], near["i"]))]
        old, new, distance = near["i"], near["j"], near["v"]
        sizes = self._sizes[photographs[0]][old]
        fits = ~(sizes.all(axis=1) & size.all() & (sizes != size).any(axis=1))
        costs = self._cost(before[old], now[new], distance / diagonal)
        fits &= costs <= most
        return old[fits].astype(np.intp), new[fits].astype(np.intp), costs[fits]

    def _cost(self, one: Rows, other: Rows, distance: Floats) -> Floats:
        first, second = self._boxes[one], self._boxes[other]
        inner = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
        shared = np.maximum(inner, 0).prod(axis=1)
        areas = np.stack([self._areas[one], self._areas[other]])
        union = areas.sum(axis=0) - shared
        overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        larger = areas.max(axis=0)
        ratio = np.divide(areas.min(axis=0), larger, out=np.ones_like(larger), where=larger > 0)
        costs = (1 - overlap) + (1 - ratio) + distance + self._labels_cost(one, other)
        return np.where(ratio * self._parameters.size_ratio >= 1, costs, np.inf)

    def _labels_cost(self, one: Rows, other: Rows) -> Floats:
        costs = np.where(self._labels[one] == self._labels[other], 0.0, OTHER_LABEL)
        for number, roots in enumerate(self._roots):
            both = (self._classifier[one] == number) & (self._classifier[other] == number)
            first, second = roots[self._place[one[both]]], roots[self._place[other[both]]]
            costs[both] = 1 - np.minimum((first * second).sum(axis=1), 1)
        return costs


def _linked(scene: _Scene, sequence: _Sequence, parameters: TrackingParameters) -> Rows:
    """Of each detection, the row of the one before it in its track; -1 where it is the first."""
    follows = np.full(len(scene.centres), -1, np.intp)
    # Ends of tracks that may go on, and their photographs.
    ends, seen = np.zeros(0, np.intp), np.zeros(0, np.intp)
    for number, now in enumerate(sequence.rows):
        is_recent = sequence.times[number] - sequence.times[seen] <= parameters.max_gap
        still = is_recent & (number - seen - 1 <= parameters.most_skipped)
        ends, seen = ends[still], seen[still]
        old, new = _assigned(*scene.pairs(ends, now, (seen, number)), parameters.max_cost)
        follows[now[new]] = ends[old]
        left = np.ones(len(ends), bool)
        left[old] = False
        ends = np.concatenate([ends[left], now])
        seen = np.concatenate([seen[left], np.full(len(now), number, np.intp)])
    return follows


def _assigned(old: Rows, new: Rows, costs: Floats, most: float) -> tuple[Rows, Rows]:
    """The pairs of least total cost, each side at most once, where staying alone costs `most`."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(old):
        return old, new
    # Most animals have one candidate only, whose only candidate they are.
    is_clear = (np.bincount(old)[old] == 1) & (np.bincount(new)[new] == 1)
    if is_clear.all():
        return old, new
    olds, news = int(old.max()) + 1, int(new.max()) + 1
    graph = coo_matrix((np.ones(len(old)), (old, olds + new)), shape=(olds + news, olds + news))
    _, part = connected_components(graph, directed=False)
    chosen: list[Any] = [np.flatnonzero(is_clear)]
    for one in np.unique(part[old[~is_clear]]):
        own = np.flatnonzero(part[old] == one)
        rows, row = np.unique(old[own], return_inverse=True)
        columns, column = np.unique(new[own], return_inverse=True)
        matrix = np.full((len(rows), len(columns)), most)
        matrix[row, column] = costs[own]
        index = np.full(matrix.shape, -1, np.intp)
        index[row, column] = own
        found = index[linear_sum_assignment(matrix)]
        chosen.append(found[found >= 0])
    pairs = np.concatenate(chosen)
    return old[pairs], new[pairs]
