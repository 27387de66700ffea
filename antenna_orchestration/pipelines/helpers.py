"""Helpers for authors of pipelines: cutting out a box, naming the best classes, naming a whole photograph.

They take arrays of numpy and tensors of torch, and import only numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antenna_orchestration import errors
from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import Attribute, Classification
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult


def crop(pixels: NDArray[Any], box: Sequence[float], *, margin: float = 0.0) -> NDArray[Any]:
    """The content of a box, a view of `pixels` (height x width, or height x width x channels).

    `box` is x1, y1, x2, y2 in pixels of `pixels`. It is clipped to the picture, and `margin` is the share of the width
    and height that are left which is added on each side. Corners are truncated to whole pixels, as the published
    pipelines do it; at least one pixel is returned. Raises `InvalidInput` for a box outside the picture or with NaN.
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in box)
    if not (x1 <= x2 and y1 <= y2 and x2 >= 0 and y2 >= 0 and x1 <= width and y1 <= height):
        raise errors.InvalidInput(f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) is not in a picture of {width} x {height}")
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    left, top = int(min(max(x1 - across, 0), width - 1)), int(min(max(y1 - down, 0), height - 1))
    right, bottom = int(min(max(x2 + across, 0), width)), int(min(max(y2 + down, 0), height))
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]


def top_k(
    algorithm: AlgorithmSpec,
    probabilities: Any,
    k: int,
    *,
    labels: Sequence[str] = (),
    whole: bool = True,
    terminal: bool = True,
) -> Classification:
    """What a classifier says: the `k` best classes, best first.

    `probabilities` are as many as there are labels, in [0, 1], as a list, an array or a tensor. `labels` are those of
    the algorithm if left out. `whole` keeps the scores of all classes, too; post-processing needs them for masking and
    roll-up. `terminal` is False for an intermediate step, such as a filter. Raises `InvalidInput` for another number of
    probabilities than labels.
    """
    names = labels or algorithm.labels
    if callable(getattr(probabilities, "detach", None)):
        # A tensor may be of a kind that numpy lacks, and on a device.
        probabilities = probabilities.detach().float().cpu().numpy()
    values = np.asarray(probabilities, np.float64).reshape(-1)
    if len(values) != len(names) or not len(names):
        raise errors.InvalidInput(f"{len(values)} probabilities for the {len(names)} labels of {algorithm.key}")
    best = np.argsort(-values, kind="stable")[: max(1, k)].tolist()
    return Classification(
        algorithm=algorithm.ref,
        label=names[best[0]],
        score=float(values[best[0]]),
        top_labels=[names[index] for index in best],
        top_scores=[float(values[index]) for index in best],
        terminal=terminal,
        scores=score_vectors.packed(values) if whole else None,
    )


def whole_photo(
    width: int, height: int, *labels: Classification, attributes: Mapping[str, Attribute] | None = None
) -> ImageResult:
    """The result of a pipeline that names whole photographs and finds nothing in them: no box is made up.

    `width` and `height` are those of the photograph as stored.
    """
    return ImageResult(width=width, height=height, detections=[], labels=labels, attributes=dict(attributes or {}))
