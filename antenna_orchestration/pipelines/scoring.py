"""Small steps that pipelines of networks share: stretching a picture, and wording what a classifier says."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import nn

from antenna_orchestration.domain.messages import AlgorithmRef, Classification
from antenna_orchestration.pipelines.interface import RawImage


def stretched(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A float picture (3 x height x width) at another height and width, as torchvision's `Resize` does it."""
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
    """The best classes of a vector of probabilities on CPU; `whole` adds all of it as float16."""
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
        scores=probabilities.numpy().astype("<f2").tobytes() if whole else None,
    )


def grey_photograph() -> RawImage:
    """A photograph of nothing to warm up with; wide, because that costs a detector the least."""
    stream = io.BytesIO()
    Image.new("RGB", (640, 160), (200, 200, 200)).save(stream, "JPEG")
    return RawImage(image=0, uri="example.jpg", data=stream.getvalue())
