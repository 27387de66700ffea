"""Steps that the torch pipelines share: resizing an image, and turning probabilities into a classification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import AlgorithmRef, Classification


def stretched(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize a float image (3 x height x width) to `size` (height, width), as torchvision's `Resize` does.

    The aspect ratio is not kept.
    """
    return nn.functional.interpolate(picture[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]


def classification(
    algorithm: AlgorithmRef,
    probabilities: torch.Tensor,
    labels: Sequence[str],
    *,
    top_k: int,
    whole: bool,
    terminal: bool = True,
) -> Classification:
    """The `top_k` best classes of one detection, best first.

    `probabilities` is a float vector on the CPU with one value per label. `whole` adds the complete vector as
    little-endian float16. `terminal` is False for an intermediate step, such as the moth filter.
    """
    best = probabilities.topk(min(top_k, len(labels)))
    names = [labels[index] for index in best.indices.tolist()]
    scores = best.values.tolist()
    return Classification(
        algorithm=algorithm,
        label=names[0],
        score=scores[0],
        top_labels=names,
        top_scores=scores,
        terminal=terminal,
        scores=score_vectors.packed(probabilities.numpy()) if whole else None,
    )
