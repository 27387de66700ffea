"""Steps that the torch pipelines share: resizing an image, and turning probabilities into a classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import AlgorithmRef, Classification


def stretched(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize a float image (3 x height x width) to `size` (height, width), as torchvision's `Resize` does.

    The aspect ratio is not kept.
    """
    return nn.functional.interpolate(picture[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]


@dataclass(frozen=True, slots=True)
class Best:
    """The best classes of one crop, best first."""

    # Indices of labels.
    labels: Sequence[int]
    # Probabilities, as many.
    scores: Sequence[float]


def best_of(logits: torch.Tensor, top_k: int) -> list[Best]:
    """The `top_k` best classes of each row (crops x classes), computed where the logits are."""
    best = logits.softmax(dim=1).topk(min(top_k, logits.shape[1]))
    return [Best(labels, scores) for labels, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def classification(
    algorithm: AlgorithmRef,
    said: torch.Tensor | Best,
    labels: Sequence[str],
    *,
    top_k: int,
    whole: bool,
    terminal: bool = True,
) -> Classification:
    """The `top_k` best classes of one detection, best first.

    `said` is a float vector on the CPU with one probability per label, or the best ones where `whole` is not asked for.
    `whole` adds the complete vector as little-endian float16. `terminal` is False for an intermediate step, such as the
    moth filter.
    """
    scores = None
    if isinstance(said, torch.Tensor):
        best = said.topk(min(top_k, len(labels)))
        scores = score_vectors.packed(said.numpy()) if whole else None
        said = Best(best.indices.tolist(), best.values.tolist())
    names = [labels[index] for index in said.labels]
    return Classification(
        algorithm=algorithm,
        label=names[0],
        score=said.scores[0],
        top_labels=names,
        top_scores=list(said.scores),
        terminal=terminal,
        scores=scores,
    )
