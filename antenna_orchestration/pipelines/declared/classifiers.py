"""Classifiers: what names crops or whole photographs. One class for each way in which a model file is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import torch

from antenna_orchestration import errors
from antenna_orchestration.pipelines import weights
from antenna_orchestration.pipelines.declared import detectors, programs, recipe
from antenna_orchestration.pipelines.declared.inputs import Picture, Shaped

AT_ONCE_ON_CPU: Final = 64
AT_ONCE_ON_CUDA: Final = 256
"""Pictures in one call, unless the YAML or the file says otherwise. More would take more memory and not be faster."""


class Classifier(ABC):
    """A loaded classifier."""

    labels: tuple[str, ...]

    @abstractmethod
    def prepared(self, picture: Picture) -> Any:
        """What `probabilities` takes. Thread-safe."""

    @abstractmethod
    def probabilities(self, some: Sequence[Any]) -> torch.Tensor:
        """Float32 on the CPU, pictures x labels. Raises `InternalError` for values that are not probabilities."""


def load(model: recipe.Model, device: torch.device) -> Classifier:
    """Fetch and open a classifier.

    Raises `Unavailable` if a file cannot be fetched, and `InternalError` for one that is broken or does not fit.
    """
    if model.runtime in recipe.PROGRAMS:
        return ProgramClassifier(model, device)
    # Imported only where they are used: each needs a library that others lack.
    if model.runtime == "yolo":
        from antenna_orchestration.pipelines.declared.yolo import YoloClassifier

        return YoloClassifier(model, device)
    if model.runtime == "transformers":
        from antenna_orchestration.pipelines.declared.hugging_face import TransformersClassifier

        return TransformersClassifier(model, device)
    if model.runtime in ("timm", "torchvision"):
        from antenna_orchestration.pipelines.declared.networks import NetworkClassifier

        return NetworkClassifier(model, device)
    raise errors.InternalError(f"{model.place}: runtime {model.runtime} names nothing")


def usual_number(device: torch.device) -> int:
    """Pictures in one call of a model that takes any number."""
    return AT_ONCE_ON_CPU if device.type == "cpu" else AT_ONCE_ON_CUDA


class ProgramClassifier(Classifier):
    """A whole program: the YAML says what goes in, and its first output has a value for each label."""

    def __init__(self, model: recipe.Model, device: torch.device) -> None:
        self._model = model
        path = weights.fetch(model.source)
        self._file = path.name
        self.labels = detectors.known_labels(model)
        self._runner = programs.Runner(model, path, device, usual=usual_number(device))

    def prepared(self, picture: Picture) -> Shaped:
        """As `Classifier.prepared`."""
        return self._runner.shaper.shaped(picture)

    def probabilities(self, some: Sequence[Shaped]) -> torch.Tensor:
        """As `Classifier.probabilities`."""
        rows = []
        for start in range(0, len(some), self._runner.at_once):
            chosen = some[start : start + self._runner.at_once]
            values = self._runner.run(chosen)
            first = values[0] if values else None
            rows.append(activated(self._model, first, len(chosen), len(self.labels), self._file))
        return torch.cat(rows)


def activated(model: recipe.Model, values: torch.Tensor | None, count: int, classes: int, file: str) -> torch.Tensor:
    """Probabilities of a model's output for `count` pictures, float32 on the CPU.

    Raises `InternalError` if it has another shape, or values that are not probabilities.
    """
    if values is not None and values.ndim > 2 and values.numel() == count * classes:
        # Some programs keep the dimensions of a last pooling.
        values = values.reshape(count, classes)
    if values is None or tuple(values.shape) != (count, classes):
        gives = "nothing" if values is None else " x ".join(map(str, values.shape))
        raise errors.InternalError(f"{model.place}: {file} gives {gives} for {count} pictures and {classes} labels")
    values = values.detach().float().cpu()
    if not bool(torch.isfinite(values).all()):
        raise errors.InternalError(f"{model.place}: {file} gives values that are not numbers (NaN or infinite)")
    if model.output.activation == "softmax":
        return values.softmax(dim=1)
    if model.output.activation == "sigmoid":
        return values.sigmoid()
    if float(values.min()) < -1e-4 or float(values.max()) > 1 + 1e-4:
        raise errors.InternalError(
            f"{model.place}.output.activation is none, and {file} gives {float(values.min()):.3g} to "
            f"{float(values.max()):.3g}, which are not probabilities: softmax, or sigmoid, makes some of them"
        )
    return values.clamp(0, 1)
