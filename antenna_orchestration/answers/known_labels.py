"""The labels of classifiers whose description names a file for them, such as those of the published models."""

from __future__ import annotations

from collections.abc import Sequence

from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.pipelines import labels, registry, weights


def in_file(algorithm: AlgorithmRef) -> Sequence[str]:
    """The labels in the file that a pipeline of this machine names for a classifier; none if the file is not here.

    Nothing is fetched. Blocks; raises what `registry.all_pipelines` and `labels.read_labels` raise.
    """
    for pipeline in registry.all_pipelines().values():
        for spec in pipeline.algorithms:
            is_it = (spec.key, spec.version) == (algorithm.key, algorithm.version)
            if is_it and spec.labels_uri and weights.cached_path(spec.labels_uri).is_file():
                return labels.fetch_labels(spec)
    return ()
