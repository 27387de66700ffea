"""The labels of a classifier, in the order of its outputs: from its description, or from the file that this names."""

from __future__ import annotations

import json
from pathlib import Path

from antenna_orchestration import errors
from antenna_orchestration.pipelines import weights
from antenna_orchestration.pipelines.interface import AlgorithmSpec


def fetch_labels(algorithm: AlgorithmSpec) -> tuple[str, ...]:
    """The labels of a classifier, fetched if they are not in its description."""
    if algorithm.labels:
        return algorithm.labels
    return read_labels(weights.fetch_named(algorithm.labels_uri, f"the labels of {algorithm.key}"))


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file `{label: index}`, in the order of the indices. A label that is a number stays one."""
    try:
        indices = json.loads(path.read_text(encoding="utf-8"))
        by_index = {int(index): str(label) for label, index in indices.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise errors.InternalError(f"{path} is not a JSON object of labels and their indices: {error}") from error
    if not by_index:
        raise errors.InternalError(f"{path} holds no labels")
    if sorted(by_index) != list(range(len(indices))):
        raise errors.InternalError(f"{path}: the indices of its {len(indices)} labels do not count from 0, each once")
    return tuple(by_index[index] for index in range(len(by_index)))
