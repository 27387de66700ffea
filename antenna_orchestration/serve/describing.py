"""How the pipelines that are served describe themselves (`GET /info`), made of their specs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.contract import models
from antenna_orchestration.contract.serving import Known
from antenna_orchestration.pipelines import labels as labels_of_files
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec

_MOST_VERSION: Final = 2**31 - 1


def labels_of(algorithm: AlgorithmSpec) -> Sequence[str]:
    """Its labels, fetched if they are in a file; empty for a detector without classes. Blocks.

    Raises `InternalError` for a file that is none of labels, and what `weights.fetch` raises.
    """
    return labels_of_files.fetch_labels(algorithm) if algorithm.labels or algorithm.labels_uri else ()


def known_of(spec: PipelineSpec) -> dict[str, Known]:
    """The pipeline's algorithms by key, as results refer to them. Blocks; raises as `labels_of`."""
    return {one.key: Known.of(one.name, labels_of(one)) for one in spec.algorithms}


def described(spec: PipelineSpec, known: Mapping[str, Known]) -> models.WirePipeline:
    """The pipeline in the contract's terms."""
    return models.WirePipeline(
        name=spec.name[:200],
        slug=spec.slug,
        version=number_of(spec.version),
        description=spec.description[:2000],
        algorithms=[_algorithm(one, known[one.key].labels) for one in spec.algorithms],
        takes_detections=spec.takes_detections,
    )


def number_of(version: str) -> int:
    """The version as the contract has it: the number that it is, else one that other texts are unlikely to give."""
    if version.isascii() and version.isdigit() and int(version) <= _MOST_VERSION:
        return int(version)
    return zlib.crc32(version.encode()) & _MOST_VERSION


def _algorithm(spec: AlgorithmSpec, labels: Sequence[str]) -> models.WireAlgorithm:
    if spec.categories and len(spec.categories) != len(labels):
        raise errors.InternalError(f"algorithm {spec.key} has {len(spec.categories)} categories for its labels")
    rows = [
        {**(spec.categories[index] if spec.categories else {}), "index": index, "label": label}
        for index, label in enumerate(labels)
    ]
    return models.WireAlgorithm(
        name=spec.name[:200],
        key=spec.key,
        description=spec.description[:2000],
        task_type=spec.task,
        version=number_of(spec.version),
        version_name=spec.version,
        uri=spec.uri if spec.uri and spec.uri.startswith(("http://", "https://")) else None,
        category_map=models.CategoryMap(data=rows, labels=list(labels)) if labels else None,
    )
