"""What a declared pipeline runs, with all defaults filled in: plain values that travel to the device process.

`description` makes a `Recipe` of a YAML file, `pipeline` runs it. What a default depends on the model file for is None
here, and the module that opens the file fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from antenna_orchestration.pipelines.interface import AlgorithmSpec
from antenna_orchestration.pipelines.published.specs import Triple

FACTORY: Final = "antenna_orchestration.pipelines.declared.pipeline:DeclaredPipeline"

Runtime = Literal["onnx", "torchscript", "pt2", "yolo", "torchvision", "timm", "transformers"]
"""What opens the model file."""

PROGRAMS: Final[frozenset[Runtime]] = frozenset({"onnx", "torchscript", "pt2"})
"""Runtimes of files that hold a whole program: tensors in, tensors out. Inputs and outputs are as the YAML says."""

EXTRAS: Final[Mapping[Runtime, str]] = {
    "onnx": "onnx",
    "yolo": "yolo",
    "transformers": "transformers",
    "torchscript": "worker",
    "pt2": "worker",
    "torchvision": "worker",
    "timm": "worker",
}
"""The extra of this project that installs what a runtime needs."""

Fit = Literal["letterbox", "stretch", "crop", "none"]
"""How a picture comes to the size that the model takes.

`letterbox` keeps the aspect ratio and pads both sides alike; `stretch` does not keep it; `crop` resizes the shorter
side, and cuts out the middle; `none` leaves the picture as it is."""

Resize = Literal[
    "opencv-linear",
    "opencv-area",
    "opencv-cubic",
    "pillow-bilinear",
    "pillow-bicubic",
    "pillow-lanczos",
    "pillow-nearest",
    "torch-bilinear",
    "torch-bicubic",
]
"""Who resizes, and how: the libraries differ by a few grey values. Pillow's and torch's smooth what they shrink."""

Format = Literal["yolo", "yolo5", "end2end", "boxes"]
"""What a detector's program returns, n pictures at once; coordinates are in pixels of the model's input.

* `yolo`: n x (4 + classes) x anchors, or with the last two the other way round: centre, size, a score a class.
* `yolo5`: n x anchors x (5 + classes): centre, size, the score of there being something, a score a class.
* `end2end`: n x k x 6: x1, y1, x2, y2, score, number of the class.
* `boxes`: boxes, scores and numbers of the classes as outputs of their own, see `Output.outputs`."""

Activation = Literal["softmax", "sigmoid", "none"]
"""What makes probabilities of a model's outputs; `none` if they are probabilities."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """Pictures are looked at in squares of their own resolution."""

    # Side in pixels of the photograph.
    size: int
    # Share of the side by which neighbours overlap.
    overlap: float
    # Of two boxes of one class that overlap so much (IoU), or of which one lies in the other by 70 %, one is kept.
    merge: float
    # Whether the whole photograph is looked at, too, for what is larger than a tile.
    whole: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """How a picture becomes the model's input."""

    # In pixels; None if the file says it.
    width: int | None = None
    height: int | None = None
    fit: Fit
    # With `crop`: the length to which the shorter side is resized; None for the size through 0.875.
    shorter: int | None = None
    pad: tuple[int, int, int] = (114, 114, 114)
    # None if the file says it.
    resize: Resize | None
    bgr: bool = False
    # Values from 0 to 255 are divided by this, then `mean` is subtracted, and the rest divided by `std`.
    divide: float = 255.0
    # None if the file says it.
    mean: Triple | None = None
    std: Triple | None = None
    # Whether the channels come last: n x height x width x 3.
    channels_last: bool = False
    tile: Tile | None = None
    # What a crop has more than its box, on each side, as a share of the box's width and height.
    margin: float = 0.0
    # Whether a crop is widened to a square.
    square: bool = False
    # Pictures in one call of the model; None for what is usual.
    at_once: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What the model's outputs mean."""

    activation: Activation = "none"
    # The rest is for detectors.
    format: Format = "boxes"
    # Which class number, if any, stands for nothing.
    background: Literal["first", "last", "none"] = "none"
    corners: Literal["xyxy", "cxcywh", "xywh"] = "xyxy"
    # Whether coordinates are shares of the input's width and height.
    shares: bool = False
    # What the outputs are, in their order: `boxes`, `scores`, `labels`, or `_` for one that is not used.
    outputs: tuple[str, ...] = ("boxes", "scores", "labels")
    # Boxes of one class that overlap a better one by more than this (IoU) are dropped; None for no such step.
    nms: float | None = None
    # Boxes that are kept for each picture, the best; None for as many as the model gives.
    most: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One model."""

    # Where it stands in the YAML file, for messages: `detector` or `classifiers[1]`.
    place: str
    runtime: Runtime
    # Its file, or its folder for `transformers`, as `weights.fetch` takes it.
    source: str
    # The architecture's name, for `timm` and `torchvision`.
    architecture: str = ""
    # Handed on to whatever builds the architecture, or to `predict` of YOLO.
    options: Mapping[str, Any] = field(default_factory=dict)
    input: Input
    output: Output
    # A detector's boxes, or a classifier's names.
    algorithm: AlgorithmSpec
    # The names that a detector gives; None if it gives none.
    names: AlgorithmSpec | None = None
    # Only what was called so before comes to this classifier; everything if empty.
    of: tuple[str, ...] = ()

    @property
    def labelled(self) -> AlgorithmSpec | None:
        """The algorithm whose labels are this model's; None for a detector that names nothing."""
        return self.names if self.algorithm.task == "localization" else self.algorithm


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A detector, or a shipped pipeline that finds what there is, or neither; then the classifiers, in order."""

    detector: Model | None
    # Slug of a pipeline of this project.
    pipeline: str | None
    classifiers: tuple[Model, ...]
    # Whether photographs are turned as their EXIF data say before a model sees them.
    turns: bool
