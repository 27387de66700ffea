"""Pipelines that are an exported program and a YAML beside it: reading the YAML, with neither torch nor the program.

The program is what `torch.export.save` writes, so no code of its author is needed to run it. It takes either crops, and
then the published detector finds them, or whole photographs, and then it finds insects itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import ids
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec
from antenna_orchestration.pipelines.published import specs
from antenna_orchestration.pipelines.published.specs import Triple

SUFFIXES: Final = (".yaml", ".yml")


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The YAML's fields. Files are addresses that `weights.fetch` knows, or paths from the YAML's folder."""

    slug: str
    program: str
    """Written by `torch.export.save`."""
    takes: Literal["crops", "photographs"]
    """`crops`: gives logits, n x classes. `photographs`: gives boxes (n x k x 4, in pixels of what it was given) and
    scores (n x k), and with labels also probabilities (n x k x classes)."""
    size: int | tuple[int, int]
    """Pixels that the program takes: a side, or width and height; pictures are stretched to it."""
    labels: list[str] | str = []
    """In the order of the outputs, or a JSON file `{label: index}`."""
    name: str = ""
    version: str | int = "1"
    description: str = ""
    mean: Triple = specs.IMAGENET_MEAN
    std: Triple = specs.IMAGENET_STD
    """Of values in [0, 1]."""
    min_score: float | None = None
    """Detections with this score or less are left out, unless a job says otherwise; 0.8 before crops, else 0.5."""
    moth_filter: bool = True
    """Crops only: whether the published filter lets only moths through to the program."""
    batch_size: int = 1
    """Photographs only: how many the program takes at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What runs on photographs; the recipe of `exported/pipeline.py`."""

    uri: str
    width: int
    height: int
    mean: Triple
    std: Triple
    # How many photographs it takes at once.
    at_once: int


def from_yaml(path: Path) -> PipelineSpec:
    """The pipeline that a YAML file describes. Raises `InvalidSetting` that names the file and the field."""
    try:
        given = msgspec.yaml.decode(path.read_bytes(), type=Description)
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise errors.InvalidSetting(f"{path}: {' '.join(str(error).split())}") from None
    width, height = (given.size, given.size) if isinstance(given.size, int) else given.size
    try:
        ids.slug(given.slug, "slug")
        if min(width, height, given.batch_size) < 1:
            raise errors.InvalidInput("size and batch_size are at least 1")
        if min(given.std) <= 0:
            raise errors.InvalidInput("std is above 0")
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
        default_config={"min_score": 0.5 if given.min_score is None else given.min_score, "scores": "top"},
        choices={"scores": ("top", "full")},
        batch_size=max(4, given.batch_size),
    )


def _algorithm(given: Description, path: Path, task: Literal["localization", "classification"]) -> AlgorithmSpec:
    key = given.slug.replace("-", "_")
    classifies = task == "classification"
    listed = isinstance(given.labels, list)
    return AlgorithmSpec(
        # One program is two algorithms when it finds and names.
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
