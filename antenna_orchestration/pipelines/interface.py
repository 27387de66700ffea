"""What a pipeline is: a description that anyone can read without torch, and a class that does the work.

The description (`PipelineSpec`) is what the catalog registers and what submit, sensors and workers decide by. The class
(`Pipeline`) is built in a worker's device process only: `load` once, then `prepare` on CPU threads, `infer` on the
device by one thread, `finish` on CPU threads, so that the device waits for nobody.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import AlgorithmRef, Detection

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class AlgorithmSpec:
    """One model of a pipeline. Results name it by key and version."""

    key: str
    version: str
    name: str
    task: Literal["localization", "classification"]
    description: str = ""
    # Labels in the order of the model's outputs; empty for a detector without classes, or when `labels_uri` has them.
    labels: tuple[str, ...] = ()
    # Where its weights and its labels are; None for what needs none.
    uri: str | None = None
    labels_uri: str | None = None

    @property
    def ref(self) -> AlgorithmRef:
        """As results name it."""
        return AlgorithmRef(self.key, self.version)


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineSpec:
    """A pipeline's description; reading it imports no torch and downloads nothing."""

    slug: str
    name: str
    version: str
    description: str
    algorithms: tuple[AlgorithmSpec, ...]
    # `module:Class` of the Pipeline; imported in the device process only.
    factory: str
    # Job configuration that the pipeline understands, with its defaults; a job's unknown key is refused at submit.
    default_config: Mapping[str, Any] = field(default_factory=dict)
    # Whether a job may set keys that are not among these: for pipelines that run elsewhere, which are handed them.
    takes_any_config: bool = False
    # For those of its keys that take one of a few values: which ones.
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    # What the class needs to know and no job may change, such as which model files; plain data.
    recipe: Any = None
    # Images per inference batch unless the worker's setting says otherwise.
    batch_size: int = 4

    def merged_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults with the job's values over them. Raises `InvalidInput` for unknown keys and wrong values."""
        unknown = sorted(set(config) - set(self.default_config))
        if unknown and not self.takes_any_config:
            known = ", ".join(sorted(self.default_config)) or "none"
            raise errors.InvalidInput(f"pipeline {self.slug} has no setting {unknown[0]!r}; it knows: {known}")
        for key, value in config.items():
            if key in unknown:
                continue
            default = self.default_config[key]
            number = isinstance(default, (int, float)) and not isinstance(default, bool)
            fits = (
                isinstance(value, (int, float)) and not isinstance(value, bool)
                if number
                else (default is None or isinstance(value, type(default)))
            )
            if not fits:
                raise errors.InvalidInput(
                    f"setting {key!r} of pipeline {self.slug} takes {type(default).__name__}, not {value!r}"
                )
            if value not in self.choices.get(key, (value,)):
                allowed = " or ".join(repr(choice) for choice in self.choices[key])
                raise errors.InvalidInput(f"setting {key!r} of pipeline {self.slug} is {allowed}, not {value!r}")
        return {**self.default_config, **config}


@dataclass(frozen=True, kw_only=True, slots=True)
class RawImage:
    """One image as it was loaded, still compressed."""

    image: int
    uri: str
    data: bytes
    captured_at: datetime | None = None
    deployment: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageResult:
    """What a pipeline found in one image."""

    # Pixels as decoded, without EXIF rotation; None when the pipeline did not decode.
    width: int | None
    height: int | None
    detections: list[Detection]


class Pipeline(ABC, Generic[P, R]):
    """The working side of a pipeline. One instance serves one device and one job configuration.

    `P` is what `prepare` makes of an image and `infer` takes; `R` is what `infer` gives back for it.
    """

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        self.spec = spec
        self.config = spec.merged_config(config)
        self.top_k = top_k

    def load(self, device: str) -> None:
        """Build the models on `cpu`, `cuda` or `cuda:N`. Called once, before the first image."""

    @abstractmethod
    def prepare(self, image: RawImage) -> P:
        """Decode and shape one image on a CPU thread. Raises `ImageUnusable` when the image itself is at fault."""

    @abstractmethod
    def infer(self, batch: Sequence[P]) -> Sequence[R]:
        """Run the models on the device, one thread at a time. Gives one result per item, in the same order."""

    @abstractmethod
    def finish(self, prepared: P, raw: R) -> ImageResult:
        """Turn the model's numbers into detections on a CPU thread; boxes in pixels of the image as decoded."""

    def example(self) -> RawImage | None:
        """An image to warm up with; None when there is nothing to warm up."""
        return None


def build(spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> Pipeline[Any, Any]:
    """Make an instance of the pipeline's class, not loaded yet. Raises `InternalError` if it cannot be imported."""
    module, _, name = spec.factory.partition(":")
    try:
        factory: type[Pipeline[Any, Any]] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise errors.InternalError(f"pipeline {spec.slug}: cannot import {spec.factory}: {error}") from error
    return factory(spec, config, top_k=top_k)
