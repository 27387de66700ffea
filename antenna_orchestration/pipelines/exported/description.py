"""Reads the YAML file that describes an exported program, and makes a `PipelineSpec` of it.

Neither torch nor the program is loaded for that. `torch.export.save` writes the program, so running it needs none of
its author's code. A program takes either crops, which the published detector finds, or whole photographs, in which it
finds the insects itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import ids, score_vectors
from antenna_orchestration.pipelines import yaml_files
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec
from antenna_orchestration.pipelines.published import specs
from antenna_orchestration.pipelines.published.specs import Triple

SUFFIXES: Final = (".yaml", ".yml")


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The YAML's fields. Files are URIs as `weights.fetch` takes them, or paths relative to the YAML's folder."""

    slug: str
    program: str
    """The file written by `torch.export.save`."""
    takes: Literal["crops", "photographs"]
    """The program's input: RGB, float32, n x 3 x height x width, in [0, 1] less `mean`, divided by `std`.

    With `crops` it returns logits (n x classes). With `photographs` it returns boxes (n x k x 4: x1, y1, x2, y2 in
    pixels of its input) and scores (n x k, in [0, 1]), and with labels also probabilities (n x k x classes).
    """
    size: int | tuple[int, int]
    """Size of the input in pixels: one side, or width and height. Images are resized to it; the aspect is not kept."""
    labels: list[str] | str = []
    """A list in the order of the outputs, or a JSON file `{label: index}`."""
    name: str = ""
    version: str | int = "1"
    description: str = ""
    mean: Triple = specs.IMAGENET_MEAN
    std: Triple = specs.IMAGENET_STD
    """Mean and standard deviation per channel (red, green, blue), of values in [0, 1]."""
    min_score: float | None = None
    """Detections with this score or less are dropped, unless a job says otherwise. Default: 0.8 for crops, else 0.5."""
    moth_filter: bool = True
    """For crops only: whether the published moth filter runs first, so that the program gets only moths."""
    batch_size: int = 1
    """For photographs only: how many the program takes per call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A program that takes photographs: the `recipe` that `exported/pipeline.py` runs."""

    uri: str
    # Size of its input in pixels.
    width: int
    height: int
    mean: Triple
    std: Triple
    # How many photographs it takes per call.
    at_once: int


def of_yaml(path: Path, content: Mapping[Any, Any]) -> PipelineSpec:
    """The pipeline that a YAML file with this content describes.

    Raises `InvalidSetting`, which names the file and the wrong field.
    """
    try:
        given = msgspec.convert(content, Description)
    except msgspec.ValidationError as error:
        why = yaml_files.explained(str(error), Description.__struct_fields__)
        raise errors.InvalidSetting(f"{path}: {why}") from None
    width, height = (given.size, given.size) if isinstance(given.size, int) else given.size
    try:
        ids.slug(given.slug, "slug")
        if min(width, height, given.batch_size) < 1:
            raise errors.InvalidInput("size and batch_size must be at least 1")
        if min(given.std) <= 0:
            raise errors.InvalidInput("std must be above 0")
        if given.takes == "crops" and (width != height or not given.labels):
            raise errors.InvalidInput("a program that takes crops needs labels, and a size that is one number")
    except errors.InvalidInput as error:
        raise errors.InvalidSetting(f"{path}: {error}") from None
    return _of_crops(given, path, width) if given.takes == "crops" else _of_photographs(given, path, width, height)


def _of_crops(given: Description, path: Path, side: int) -> PipelineSpec:
    return specs.pipeline(
        given.slug,
        specs.Classifier(
            algorithm=_algorithm(given, path, "classification"),
            architecture="exported",
            transform=specs.Transform(side=side, mean=given.mean, std=given.std),
        ),
        moth_filter=specs.MOTH_FILTER if given.moth_filter else None,
        version=str(given.version),
        min_score=0.8 if given.min_score is None else given.min_score,
    )


def _of_photographs(given: Description, path: Path, width: int, height: int) -> PipelineSpec:
    detector = _algorithm(given, path, "localization")
    classifier = _algorithm(given, path, "classification")
    return PipelineSpec(
        slug=given.slug,
        name=given.name or given.slug,
        version=str(given.version),
        description=given.description,
        algorithms=(detector, classifier) if given.labels else (detector,),
        factory="antenna_orchestration.pipelines.exported.pipeline:ExportedPipeline",
        recipe=Program(
            uri=_address(given.program, path),
            width=width,
            height=height,
            mean=given.mean,
            std=given.std,
            at_once=given.batch_size,
        ),
        default_config={
            "min_score": 0.5 if given.min_score is None else given.min_score,
            score_vectors.SETTING: score_vectors.AUTO,
        },
        choices={score_vectors.SETTING: score_vectors.CHOICES},
        ranges=specs.RANGES,
        meanings=specs.MEANINGS,
        batch_size=max(4, given.batch_size),
    )


def _algorithm(given: Description, path: Path, task: Literal["localization", "classification"]) -> AlgorithmSpec:
    key = given.slug.replace("-", "_")
    classifies = task == "classification"
    listed = isinstance(given.labels, list)
    return AlgorithmSpec(
        # A program that both detects and classifies counts as two algorithms.
        key=f"{key}_labels" if classifies and given.takes == "photographs" else key,
        version=str(given.version),
        name=given.name or given.slug,
        task=task,
        description=given.description,
        uri=_address(given.program, path),
        labels=tuple(given.labels) if classifies and listed else (),
        labels_uri=_address(str(given.labels), path) if classifies and not listed else None,
    )


def _address(file: str, path: Path) -> str:
    return file if "://" in file else str(path.resolve().parent / Path(file).expanduser())
