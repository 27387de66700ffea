"""Judges blobs: how likely each is an insect, and if so, a moth. A logistic regression each, on the shape features.

The coefficients lie in `insect_shape.json`; `benchmarks/fit_insect_shape.py` makes that file from drawn photographs
alone. Features are standardised, limited to the range seen there, and entered as they are and squared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from antenna_orchestration.pipelines.light_trap import blobs

FILE: Final = "insect_shape.json"

LIMIT: Final = 3.0
"""Standardised features are cut off here: real photographs have blobs like none that was drawn."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """One logistic regression."""

    mean: Floats
    deviation: Floats
    # One weight for each feature, one for its square, and the constant last.
    weights: Floats

    def __call__(self, features: NDArray[np.float32]) -> Floats:
        """Probabilities, one for each row of features."""
        odds: Floats = 1 / (1 + np.exp(-(terms(features, self.mean, self.deviation) @ self.weights)))
        return odds

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Judge:
        """As the file has it; raises `ValueError` if it was fitted to other features than `blobs` computes now."""
        if tuple(record["features"]) != blobs.FEATURES:
            raise ValueError(f"{FILE} was fitted to other features; run benchmarks/fit_insect_shape.py")
        return cls(**{name: np.array(record[name]) for name in ("mean", "deviation", "weights")})


def terms(features: NDArray[np.float32], mean: Floats, deviation: Floats) -> Floats:
    """What the regression is linear in: limited standardised features, their squares, and 1."""
    scaled = np.clip((features - mean) / deviation, -LIMIT, LIMIT)
    return np.concatenate([scaled, scaled**2, np.ones((len(scaled), 1))], axis=1)


def insect_probability(found: Sequence[blobs.Blob]) -> Floats:
    """For each blob, the probability that it is an insect."""
    return _judges()["insect"](_features(found))


def moth_probability(found: Sequence[blobs.Blob]) -> Floats:
    """For each blob, the probability that it is a moth, given that it is an insect."""
    return _judges()["moth"](_features(found))


def _features(found: Sequence[blobs.Blob]) -> NDArray[np.float32]:
    return np.array([blob.features for blob in found], np.float32).reshape(-1, len(blobs.FEATURES))


@cache
def _judges() -> dict[str, Judge]:
    text = resources.files(__package__).joinpath(FILE).read_text()
    return {name: Judge.from_dict(record) for name, record in json.loads(text).items()}
