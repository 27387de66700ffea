"""What a detector proposes, how two detectors' proposals become one list, and the messages made of it.

Plain geometry on plain numbers: neither torch nor a picture is needed here. Boxes are x1, y1, x2, y2 in the
photograph's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from antenna_orchestration.domain.messages import Classification, Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec

LABELS: Final = ("moth", "nonmoth")

ALIKE: Final = 0.3
"""Proposals of two detectors that overlap by this much (IoU) mean one insect."""

INSIDE: Final = 0.7
"""A box of which this share lies in another is inside it."""

SAME: Final = 0.5
"""Boxes of one list that overlap by this much (IoU) are one insect."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Proposed insects, in no order."""

    # n x 4.
    boxes: Floats
    # n: how likely each is an insect.
    scores: Floats
    # n: how likely each is a moth, if it is an insect.
    moths: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def pick(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Candidates:
        """Those that an index array or a mask names, in its order."""
        return Candidates(boxes=self.boxes[which], scores=self.scores[which], moths=self.moths[which])


def agree(network: Candidates, blobs: Candidates) -> Candidates:
    """One list of what network and blobs say: what both see counts fully, what one sees counts half.

    Where they mean the same insect, box and kind are the mean of both. A blob inside which the network sees several
    insects is taken for insects that touch: it vouches for each of them and is itself left out.
    """
    overlap, inside = _compare(network.boxes, blobs.boxes)
    alike = overlap >= ALIKE
    # Pairs by falling overlap, each proposal once.
    partner_of_blob = np.full(len(blobs), -1)
    partner = np.full(len(network), -1)
    for row, column in zip(*np.unravel_index(np.argsort(-overlap, axis=None), overlap.shape), strict=True):
        if alike[row, column] and partner[row] < 0 and partner_of_blob[column] < 0:
            partner[row], partner_of_blob[column] = column, row
    parts = (inside >= INSIDE) & (partner_of_blob < 0) & (partner < 0)[:, None]
    crowds = parts.sum(0) >= 2
    support = np.max(np.where(parts & crowds, blobs.scores, 0.0), axis=1, initial=0.0)
    paired = partner >= 0
    support[paired] = blobs.scores[partner[paired]]
    boxes, moths = network.boxes.copy(), network.moths.copy()
    boxes[paired] = (boxes[paired] + blobs.boxes[partner[paired]]) / 2
    moths[paired] = (moths[paired] + blobs.moths[partner[paired]]) / 2
    alone = (partner_of_blob < 0) & ~crowds
    return Candidates(
        boxes=np.concatenate([boxes, blobs.boxes[alone]]),
        scores=np.concatenate([(network.scores + support) / 2, blobs.scores[alone] / 2]),
        moths=np.concatenate([moths, blobs.moths[alone]]),
    )


def without_doubles(found: Candidates) -> Candidates:
    """Most certain first, without those that are nearly the same as a more certain one, or a part of it."""
    found = found.pick(np.argsort(-found.scores, kind="stable"))
    overlap, inside = _compare(found.boxes, found.boxes)
    double = (overlap >= SAME) | (inside >= INSIDE)
    kept: list[int] = []
    for index in range(len(found)):
        if not double[index, kept].any():
            kept.append(index)
    return found.pick(np.array(kept, np.intp))


def as_detections(
    found: Candidates, detector: AlgorithmSpec, classifier: AlgorithmSpec, *, min_score: float, min_size: float
) -> list[Detection]:
    """Those that are as certain as `min_score` and as long as `min_size` in pixels, most certain first."""
    order = np.argsort(-found.scores, kind="stable")
    return [
        _detection(found.boxes[index], float(found.scores[index]), float(found.moths[index]), detector, classifier)
        for index in order
        if found.scores[index] >= min_score and max(found.boxes[index, 2:] - found.boxes[index, :2]) >= min_size
    ]


def _detection(box: Floats, score: float, moth: float, detector: AlgorithmSpec, classifier: AlgorithmSpec) -> Detection:
    order = [0, 1] if moth >= 0.5 else [1, 0]
    scores = (moth, 1 - moth)
    x1, y1, x2, y2 = (float(np.float32(value)) for value in box)
    return Detection(
        box=(x1, y1, x2, y2),
        score=score,
        algorithm=detector.ref,
        classifications=[
            Classification(
                algorithm=classifier.ref,
                label=LABELS[order[0]],
                score=scores[order[0]],
                top_labels=[LABELS[index] for index in order],
                top_scores=[scores[index] for index in order],
            )
        ],
    )


def _compare(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """For each box of `one` and each of `other`: intersection over union, and the share of the former inside."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    area, other_area = (np.clip(boxes[:, 2:] - boxes[:, :2], 1e-6, None).prod(1) for boxes in (one, other))
    return common / (area[:, None] + other_area[None] - common), common / area[:, None]
