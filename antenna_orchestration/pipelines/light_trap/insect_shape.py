"""Classifies blobs by their features: how likely each is an insect, and if so, how likely it is a moth.

Both are logistic regressions on standardised features and their squares. The coefficients are in `insect_shape.json`,
which `benchmarks/fit_insect_shape.py` fits on drawn photographs only.
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
"""Standardised features are clipped to this, because blobs in real photographs can be unlike any that was drawn."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LogisticRegression:
    """A fitted logistic regression."""

    # Mean and standard deviation of each feature in the training data.
    mean: Floats
    deviation: Floats
    # One weight per feature, then one per squared feature, then the constant.
    weights: Floats

    def __call__(self, features: NDArray[np.float32]) -> Floats:
        """The probability (n) for each row of `features` (n x features)."""
        odds: Floats = 1 / (1 + np.exp(-(terms(features, self.mean, self.deviation) @ self.weights)))
        return odds

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> LogisticRegression:
        """Read a record of the file. Raises `ValueError` if it was fitted to other features than `blobs` has now."""
        if tuple(record["features"]) != blobs.FEATURES:
            raise ValueError(f"{FILE} was fitted to other features; run benchmarks/fit_insect_shape.py")
        return cls(**{name: np.array(record[name]) for name in ("mean", "deviation", "weights")})


def terms(features: NDArray[np.float32], mean: Floats, deviation: Floats) -> Floats:
    """The terms (n x (2 features + 1)) of the regression: standardised and clipped features, their squares, and 1."""
    scaled = np.clip((features - mean) / deviation, -LIMIT, LIMIT)
    return np.concatenate([scaled, scaled**2, np.ones((len(scaled), 1))], axis=1)


def insect_probability(found: Sequence[blobs.Blob]) -> Floats:
    """For each blob, the probability that it is an insect."""
    return _regressions()["insect"](_features(found))


def moth_probability(found: Sequence[blobs.Blob]) -> Floats:
    """For each blob, the probability that it is a moth, given that it is an insect."""
    return _regressions()["moth"](_features(found))


def _features(found: Sequence[blobs.Blob]) -> NDArray[np.float32]:
    return np.array([blob.features for blob in found], np.float32).reshape(-1, len(blobs.FEATURES))


@cache
def _regressions() -> dict[str, LogisticRegression]:
    text = resources.files(__package__).joinpath(FILE).read_text()
    return {name: LogisticRegression.from_dict(record) for name, record in json.loads(text).items()}
