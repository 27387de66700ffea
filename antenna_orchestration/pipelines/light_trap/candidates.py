"""Candidate insects: what one detector proposes, how the proposals of two are merged, and the result made of them.

Only geometry with numpy; this module needs neither torch nor pixels. Boxes are rows of x1, y1, x2, y2 (left, top,
right, bottom) in pixels of the photograph as stored, with the origin in its top left corner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import Classification, Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, PipelineSpec
from antenna_orchestration.pipelines.light_trap import specs

LABELS: Final = ("moth", "nonmoth")

ALIKE: Final = 0.3
"""Two detectors mean the same insect if their boxes have at least this intersection over union (IoU)."""

INSIDE: Final = 0.7
"""A box counts as inside another if at least this share of its area is."""

SAME: Final = 0.5
"""Two boxes of one list are the same insect if their IoU is at least this."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """n proposed insects, in no particular order."""

    # n x 4: x1, y1, x2, y2 in pixels of the photograph.
    boxes: Floats
    # n: the probability that it is an insect.
    scores: Floats
    # n: the probability that it is a moth, given that it is an insect.
    moths: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def pick(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Candidates:
        """The candidates that a boolean mask or an index array selects, in the order of the indices."""
        return Candidates(boxes=self.boxes[which], scores=self.scores[which], moths=self.moths[which])


def agree(network: Candidates, blobs: Candidates) -> Candidates:
    """Merge the candidates of the network and of the blob detector into one list.

    The score of an insect that both detectors see is the mean of their two scores; if only one of them sees it, it gets
    half of that score. For an insect that both see, box and moth probability are means as well. If the network sees two
    or more insects inside one blob, the blob is taken for insects that touch: it supports each of them with its score,
    and is left out itself.
    """
    overlap, inside = _compare(network.boxes, blobs.boxes)
    alike = overlap >= ALIKE
    # Greedy matching, largest overlap first; each candidate is matched at most once.
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


def without_duplicates(found: Candidates) -> Candidates:
    """Non-maximum suppression: best score first, without boxes that repeat a better one or lie inside it."""
    found = found.pick(np.argsort(-found.scores, kind="stable"))
    overlap, inside = _compare(found.boxes, found.boxes)
    double = (overlap >= SAME) | (inside >= INSIDE)
    kept: list[int] = []
    for index in range(len(found)):
        if not double[index, kept].any():
            kept.append(index)
    return found.pick(np.array(kept, np.intp))


def as_detections(
    found: Candidates,
    detector: AlgorithmSpec,
    classifier: AlgorithmSpec,
    *,
    min_score: float,
    min_size: float,
    whole: bool = True,
) -> list[Detection]:
    """Detections for the candidates that reach both thresholds, best score first.

    `min_size` is the smallest longer side of a box, in pixels of the photograph. `whole` adds the scores of all classes
    as little-endian float16.
    """
    order = np.argsort(-found.scores, kind="stable")
    return [
        _detection(
            found.boxes[index], float(found.scores[index]), float(found.moths[index]), detector, classifier, whole=whole
        )
        for index in order
        if found.scores[index] >= min_score and max(found.boxes[index, 2:] - found.boxes[index, :2]) >= min_size
    ]


def as_result(
    found: Candidates, spec: PipelineSpec, config: Mapping[str, Any], *, width: int, height: int
) -> ImageResult:
    """The result for a photograph of `width` x `height` pixels, from candidates without duplicates.

    The pipeline's two algorithms are its detector and its classifier, in this order. `config` is the pipeline's
    configuration, with `min_score` and `min_size` as `specs.SETTINGS` explains them.
    """
    detector, classifier = spec.algorithms
    min_size = specs.least_size(config, width, height)
    whole = score_vectors.is_kept(config[score_vectors.SETTING], len(LABELS))
    detections = as_detections(
        found, detector, classifier, min_score=config["min_score"], min_size=min_size, whole=whole
    )
    return ImageResult(width=width, height=height, detections=detections)


def _detection(
    box: Floats, score: float, moth: float, detector: AlgorithmSpec, classifier: AlgorithmSpec, *, whole: bool
) -> Detection:
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
                scores=score_vectors.packed(scores) if whole else None,
            )
        ],
    )


def _compare(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Compare n boxes with m boxes: their IoU (n x m), and the share of each of `one` that lies in each of `other`."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    area, other_area = (np.clip(boxes[:, 2:] - boxes[:, :2], 1e-6, None).prod(1) for boxes in (one, other))
    return common / (area[:, None] + other_area[None] - common), common / area[:, None]
