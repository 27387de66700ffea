"""Detectors: what finds boxes in pictures. One class for each way in which a model file is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from antenna_orchestration import errors
from antenna_orchestration.pipelines import labels, weights
from antenna_orchestration.pipelines.declared import outputs, programs, recipe
from antenna_orchestration.pipelines.declared.inputs import Picture, Shaped
from antenna_orchestration.pipelines.declared.outputs import Found

AT_ONCE_ON_CPU: Final = 1
AT_ONCE_ON_CUDA: Final = 4
"""Pictures in one call, unless the YAML or the file says otherwise.

More gain nothing on the CPU, and a picture's scores would differ by rounding with what else is in its batch."""


class Detector(ABC):
    """A loaded detector."""

    # Empty if it names nothing.
    labels: tuple[str, ...] = ()

    @abstractmethod
    def prepared(self, picture: Picture) -> Any:
        """What `detect` takes. Runs on CPU threads, several at a time."""

    @abstractmethod
    def detect(self, some: Sequence[Any], min_score: float) -> list[Found]:
        """What is in each picture with a score above `min_score`; boxes are in pixels of the picture."""


def load(model: recipe.Model, device: torch.device) -> Detector:
    """Fetch and open a detector.

    Raises `Unavailable` if a file cannot be fetched, and `InternalError` for one that is broken or does not fit.
    """
    if model.runtime in recipe.PROGRAMS:
        return ProgramDetector(model, device)
    # Imported only where they are used: each needs a library that others lack.
    if model.runtime == "yolo":
        from antenna_orchestration.pipelines.declared.yolo import YoloDetector

        return YoloDetector(model, device)
    if model.runtime == "torchvision":
        from antenna_orchestration.pipelines.declared.networks import TorchvisionDetector

        return TorchvisionDetector(model, device)
    if model.runtime == "transformers":
        from antenna_orchestration.pipelines.declared.hugging_face import TransformersDetector

        return TransformersDetector(model, device)
    raise errors.InternalError(f"{model.place}: runtime {model.runtime} finds no boxes")


def usual_number(device: torch.device) -> int:
    """Pictures in one call of a model that takes any number."""
    return AT_ONCE_ON_CPU if device.type == "cpu" else AT_ONCE_ON_CUDA


def known_labels(model: recipe.Model) -> tuple[str, ...]:
    """The labels that the YAML names or lists; empty if it leaves them to the model."""
    one = model.labelled
    return labels.fetch_labels(one) if one and (one.labels or one.labels_uri) else ()


class ProgramDetector(Detector):
    """A whole program: the YAML says what goes in and what comes out."""

    def __init__(self, model: recipe.Model, device: torch.device) -> None:
        path = weights.fetch(model.source)
        self._runner = programs.Runner(model, path, device, usual=usual_number(device))
        self.labels = known_labels(model)
        output = _by_name(model.output, self._runner.program)
        self._decoder = outputs.Decoder(output, len(self.labels), model.place, path.name)

    def prepared(self, picture: Picture) -> Shaped:
        """As `Detector.prepared`."""
        return self._runner.shaper.shaped(picture)

    def detect(self, some: Sequence[Shaped], min_score: float) -> list[Found]:
        """As `Detector.detect`."""
        found: dict[int, Found] = {}
        # Pictures that keep their size can only share a call with others of it.
        by_size: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, one in enumerate(some):
            by_size[one.pixels.shape].append(index)
        for indices in by_size.values():
            for start in range(0, len(indices), self._runner.at_once):
                chosen = indices[start : start + self._runner.at_once]
                found |= zip(chosen, self._run([some[index] for index in chosen], min_score), strict=True)
        return [found[index] for index in range(len(some))]

    def _run(self, some: Sequence[Shaped], min_score: float) -> list[Found]:
        height, width = some[0].pixels.shape[:2]
        values = self._runner.run(some)
        decoded = self._decoder.decoded(values, len(some), (width, height), min_score)
        return [
            Found(
                one.boxes_in_picture(what.boxes).numpy().astype(np.float32),
                what.scores.numpy().astype(np.float32),
                what.classes.numpy().astype(np.int64),
            )
            for one, what in zip(some, decoded, strict=True)
        ]


def _by_name(given: recipe.Output, program: programs.Program) -> recipe.Output:
    """The outputs in the program's order, where it names them as the YAML does."""
    if given.format != "boxes" or not {"boxes", "scores"} <= set(program.outputs):
        return given
    return replace(given, outputs=tuple(program.outputs))
