"""The labels of a classifier, in the order of its outputs: from its description, or from a file it names."""

from __future__ import annotations

import json
from pathlib import Path

from antenna_orchestration import errors
from antenna_orchestration.pipelines import weights
from antenna_orchestration.pipelines.interface import AlgorithmSpec


def fetch_labels(algorithm: AlgorithmSpec) -> tuple[str, ...]:
    """The labels of a classifier; if its description has none, from the file at its `labels_uri`.

    Raises `InternalError` if it has neither or the file is malformed, and what `weights.fetch` raises.
    """
    if algorithm.labels:
        return algorithm.labels
    return read_labels(weights.fetch_named(algorithm.labels_uri, f"the labels of {algorithm.key}"))


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a JSON file `{label: index}`; returns the labels in the order of their indices.

    Raises `InternalError` if the file is something else, is empty, or the indices are not 0, 1, 2, ...
    """
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
