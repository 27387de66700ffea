"""The interface of a pipeline, for the built-in ones and for your own.

A pipeline has two parts:

* A `PipelineSpec` describes it: slug, version, algorithms, settings. Submission, the sensors and the gateway read only
  this description, so it must not import torch, and reading it must not download anything.
* A subclass of `Pipeline` does the work. The spec names it in `factory`, and only a worker's device process (one per
  CPU or GPU) imports it.

What happens to an image in a worker:

    RawImage --prepare--> P --infer--> R --finish--> ImageResult
             CPU threads    device,       CPU threads
                            in batches

The worker calls `load` once, then the other three for every image. They overlap: while the device runs `infer` on one
batch, CPU threads prepare the next and finish the previous one. `P` and `R` are whatever types you like; nothing but
your own class sees them.

To bring your own pipeline, write a module with a list `PIPELINES` of specs and put its path on
`ANTENNA_PIPELINE_PATHS`; see docs/howto/bring-your-own-model.md, and `pipelines/null.py` for the smallest example.
"""

from __future__ import annotations

import importlib
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.domain.algorithms import why_other
from antenna_orchestration.domain.messages import AlgorithmRef, Attribute, Classification, Detection, GivenBox

P = TypeVar("P")
"""What `Pipeline.prepare` makes of an image and `Pipeline.infer` takes."""
R = TypeVar("R")
"""What `Pipeline.infer` returns per image and `Pipeline.finish` takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlgorithmSpec:
    """One model of a pipeline. Every detection and classification names its algorithm by key and version."""

    key: str
    # Raise it when the same image may get other results, for instance with new weights.
    version: str
    name: str
    # `localization` finds boxes, `classification` names what is in them. Workers that speak HTTP may say other words.
    task: str
    description: str = ""
    # Labels in the order of the model's outputs. Empty for a detector without classes, or if `labels_uri` is given.
    labels: tuple[str, ...] = ()
    # Where the weights are, as `weights.fetch` takes it; None for a model without weights.
    uri: str | None = None
    # Where a JSON file `{label: index}` with the labels is; None if `labels` has them, or there are none.
    labels_uri: str | None = None
    # What is known of each label's name, in the order of `labels`, such as `{"name": "Lepidoptera", "taxon_rank":
    # "order", "gbif_key": 797}`; empty if nothing is. Columns as in docs/howto/names.md.
    categories: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Raise `InvalidSetting` for categories that are not one a label."""
        if self.categories and len(self.categories) != len(self.labels):
            raise errors.InvalidSetting(
                f"algorithm {self.key} has {len(self.categories)} categories for {len(self.labels)} labels: give each "
                "label one, in the same order"
            )

    @property
    def ref(self) -> AlgorithmRef:
        """Key and version, as `Detection` and `Classification` carry them."""
        return AlgorithmRef(self.key, self.version)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a pipeline's description was found."""

    # `file`: a .py or .yaml of somebody's own; `package`: an entry point of an installed package.
    kind: Literal["built-in", "file", "package"]
    # The file's path, or the entry point as `name = module:attribute`; the module of a built-in one.
    name: str
    # Where in the file its version is written, from 1; None where that is not known.
    version_line: int | None = None
    # The files of its code, sorted; empty for a YAML file, which our code runs, and for a built-in one.
    files: tuple[str, ...] = ()
    # Folders of which every file is among them, also one that is added.
    packages: tuple[str, ...] = ()
    # Folders that come first on the import path of the processes that read or run it: a pulled one's packages and code.
    import_path: tuple[str, ...] = ()
    # The digest under which it was fetched from the lake's store; empty for one that was here.
    pulled: str = ""

    @property
    def is_built_in(self) -> bool:
        """Whether this project ships it. Other people's code is kept apart from it, see docs/design.md."""
        return self.kind == "built-in"

    def __str__(self) -> str:
        return f"entry point {self.name}" if self.kind == "package" else self.name


BUILT_IN: Final = Origin(kind="built-in", name="antenna_orchestration")


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineSpec:
    """The description of a pipeline."""

    # Unique; people and jobs name the pipeline by it.
    slug: str
    name: str
    version: str
    description: str
    # All models of the pipeline, in the order in which they run.
    algorithms: tuple[AlgorithmSpec, ...]
    # The class that does the work, as `module:Class`; a subclass of `Pipeline`.
    factory: str
    # The settings that a job may change, with their defaults. Submission refuses other keys and other types of values.
    default_config: Mapping[str, Any] = field(default_factory=dict)
    # Whether a job may set other keys too: for pipelines of processing services, which check their settings themselves.
    takes_any_config: bool = False
    # The allowed values of those settings that take one of a few.
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    # The least and the greatest allowed value of settings that are numbers.
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    # What each setting means, for people; a unit belongs here.
    meanings: Mapping[str, str] = field(default_factory=dict)
    # What the class needs to know and no job may change, such as which model files to load. Any picklable value.
    recipe: Any = None
    # Whether it can classify boxes that it is given (`RawImage.detections`) instead of looking for them itself.
    takes_detections: bool = False
    # Images per call of `infer`, unless the worker's setting says otherwise.
    batch_size: int = 4
    # What its code needs beside this project, as pip names it, such as `ultralytics>=8.3`.
    requirements: tuple[str, ...] = ()
    # Where the registry found it; nobody else sets this.
    origin: Origin = BUILT_IN

    @property
    def addresses(self) -> list[str]:
        """The files that its algorithms name, weights and labels, each once."""
        named = (uri for one in self.algorithms for uri in (one.uri, one.labels_uri) if uri)
        return list(dict.fromkeys(named))

    def config_of_job(
        self, config: Mapping[str, Any], *, version: str, algorithms: Sequence[AlgorithmRef]
    ) -> dict[str, Any]:
        """The settings for a job that was submitted for this version and these algorithms; see `merged_config`.

        Raises `OtherVersion` if this pipeline has others, and `InvalidInput` for settings that it refuses.
        """
        here = (self.version, [algorithm.ref for algorithm in self.algorithms])
        if reason := why_other(self.slug, (version, algorithms), here):
            raise errors.OtherVersion(reason)
        return self.merged_config(config)

    def merged_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The default settings, overridden by the job's.

        Raises `InvalidInput` for a key that the pipeline does not have, a value of another type than the default's (a
        default of None takes any type, and a number takes int and float), and a value that is not among the `choices`
        or not in its range.
        """
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
                    f"setting {key!r} of pipeline {self.slug} takes {type(default).__name__}, not {reprlib.repr(value)}"
                )
            if value not in self.choices.get(key, (value,)):
                allowed = " or ".join(repr(choice) for choice in self.choices[key])
                raise errors.InvalidInput(
                    f"setting {key!r} of pipeline {self.slug} is {allowed}, not {reprlib.repr(value)}"
                )
            # Not `value < least or value > most`, which lets NaN pass.
            if key in self.ranges and not self.ranges[key][0] <= value <= self.ranges[key][1]:
                raise errors.InvalidInput(
                    f"setting {key!r} of pipeline {self.slug} is {self.allowed(key)}, not {reprlib.repr(value)}"
                )
        return {**self.default_config, **config}

    def kind(self, key: str) -> str:
        """What type of value a setting takes, in a word for people."""
        default = self.default_config[key]
        if isinstance(default, bool):
            return "true or false"
        if isinstance(default, (int, float)):
            return "number"
        return "text" if isinstance(default, str) else "any" if default is None else type(default).__name__

    def allowed(self, key: str) -> str:
        """The values that a setting takes, for people; empty if its type says all."""
        if key in self.ranges:
            least, most = self.ranges[key]
            return f"{least:,} to {most:,}"
        return " or ".join(repr(choice) for choice in self.choices.get(key, ()))


@dataclass(frozen=True, kw_only=True, slots=True)
class RawImage:
    """One image as the worker loaded it, still compressed."""

    # Id of the image in its job.
    image: int
    # Where it was loaded from. Do not load it again: `data` has all of it.
    uri: str
    # The file's bytes, such as a JPEG. `images.decode` makes pixels of them.
    data: bytes
    # In UTC; None if it is not known.
    captured_at: datetime | None = None
    # The trap or station that took it; None if it is not known.
    deployment: str | None = None
    # Boxes to classify, in pixels of the image at full size: the result has just these, and the detector is not to run.
    # None for other jobs; only pipelines whose description says `takes_detections` get any.
    detections: Sequence[GivenBox] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageResult:
    """What a pipeline found in one image."""

    # Full size of the image in pixels, as stored, without EXIF rotation. None if the pipeline did not decode it.
    width: int | None
    height: int | None
    # One per insect that is seen in this image; empty if there are none. An empty list is a success, not a failure.
    detections: list[Detection]
    # What the image as a whole shows, for pipelines that name whole photographs: no box has to be made up for it.
    labels: Sequence[Classification] = ()
    # What else there is to say of the image as a whole, by name.
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


class Pipeline(ABC, Generic[P, R]):
    """The class that does a pipeline's work; subclass it and implement `prepare`, `infer` and `finish`.

    A worker makes one instance per device and job configuration. `self.config` holds the settings of the job, defaults
    included; `self.spec` is the description; `self.top_k` is how many of the best classes a classification lists.

    `prepare` and `finish` run on several threads at once, so they must not change the instance. Calls of `infer` never
    overlap on one device, unless the class says `infers_side_by_side`.

    An image for which a method raises `ImageUnusable` fails at once, with the error's message as its reason. After any
    other exception it is tried again, in `ANTENNA_MAX_ATTEMPTS` attempts at most. If `infer` fails on a batch, the
    worker calls it again with the images one by one (in halves if memory ran out), so that one bad image does not fail
    the others. `infer` must therefore not change its inputs.
    """

    infers_side_by_side: ClassVar[bool] = False
    """Whether `infer` takes one image as quickly as one of several, and may be called on several threads at once.

    Then a worker on the CPU takes one image per thread through `prepare`, `infer` and `finish`, with one thread of
    torch each: faster than an `infer` that several threads of torch share, which wait for each other. A GPU has batches
    all the same.
    """

    engine: str = ""
    """For people: what runs the models, such as `onnxruntime 1.32.0`, where `load` has a choice. Set it in `load`;
    `antenna workers` shows it."""

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        """Check and keep the configuration. Cheap: weights are loaded by `load`. Raises `InvalidInput`."""
        self.spec = spec
        self.config = spec.merged_config(config)
        self.top_k = top_k

    def load(self, device: str) -> None:
        """Build the models on `device`: `cpu`, `cuda` or `cuda:N`. Called once, before the first image.

        Import torch and fetch weights here (`weights.fetch`), not when the module is imported.
        """

    @abstractmethod
    def prepare(self, image: RawImage) -> P:
        """Decode one image and shape it for `infer`. Runs on CPU threads, several images at a time.

        Raise `ImageUnusable` (as `images.decode` does) if the image itself is at fault.
        """

    @abstractmethod
    def infer(self, batch: Sequence[P]) -> Sequence[R]:
        """Run the models on one batch. No other call runs on the device at the same time, see `infers_side_by_side`.

        `batch` has at least one item and usually `batch_size`. Return exactly one result per item, in the same order.
        """

    @abstractmethod
    def finish(self, prepared: P, raw: R) -> ImageResult:
        """Turn what `infer` returned for one image into detections. Runs on CPU threads.

        Boxes are x1, y1, x2, y2 (left, top, right, bottom) in pixels of the image at full size, as stored, without EXIF
        rotation; the origin is the top left corner. If `prepare` shrank the image, scale the boxes back. Scores are in
        [0, 1].
        """

    def example(self) -> RawImage | None:
        """An image with which the worker warms the models up after `load`; None if there is nothing to warm up."""
        return None


def build(spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> Pipeline[Any, Any]:
    """Import the pipeline's class and make an instance, without loading its models.

    Raises `InternalError` if the class cannot be imported, and `InvalidInput` if it refuses the configuration.
    """
    module, _, name = spec.factory.partition(":")
    try:
        factory: type[Pipeline[Any, Any]] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise errors.InternalError(f"pipeline {spec.slug}: cannot import {spec.factory}: {error}") from error
    return factory(spec, config, top_k=top_k)
