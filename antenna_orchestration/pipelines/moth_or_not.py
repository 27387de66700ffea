"""One detection of a pipeline that finds insects and tells moths from others: numbers in, message out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antenna_orchestration.domain.messages import Classification, Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec

LABELS = ("moth", "nonmoth")


def moth_or_not(
    box: NDArray[np.float64], score: float, moth: float, detector: AlgorithmSpec, classifier: AlgorithmSpec
) -> Detection:
    """A detection of `box` (x1, y1, x2, y2 in the photograph's pixels) that is a moth with probability `moth`."""
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
