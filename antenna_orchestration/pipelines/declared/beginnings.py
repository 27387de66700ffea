"""Writes the beginning of a pipeline of one's own: a file that can be read, from what a model's file tells.

What no file tells is set to the usual, and said in a comment. Nothing here opens files that could run code: of ONNX the
inputs, outputs and metadata are read, of a Hugging Face folder its `config.json`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from antenna_orchestration import errors

SHIPPED: Final = "light_trap_insects"
"""The detector whose crops a classifier gets, unless another is asked for."""

NO_DETECTOR: Final = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What somebody has, and wants."""

    slug: str
    # The model's file or folder, as the written file is to name it: relative to the folder that it is written into.
    file: str
    # The same, to be read now; None for `python`.
    path: Path | None
    # The architecture's name, for timm.
    model: str = ""
    # A file of labels, as the written file is to name it; empty if there is none.
    labels: str = ""
    # Whose crops a classifier gets: a shipped pipeline, or `NO_DETECTOR` to name whole photographs.
    detector: str = SHIPPED


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """A file to write."""

    # With its ending.
    name: str
    text: str
    # What is left to people, one line each.
    to_do: list[str] = field(default_factory=list)


def of(kind: str, asked: Asked) -> Beginning:
    """The file for a kind of `KINDS`. Raises `InvalidInput` for a model's file of another kind."""
    return KINDS[kind](asked)


def _yolo(asked: Asked) -> Beginning:
    if "-cls" in Path(asked.file).stem:
        return _declared(asked, classifier={"runtime": "yolo", "file": asked.file})
    about = "# Labels are the model's own. For a model that names photographs, write it under `classifiers` instead."
    return _declared(
        asked, detector={"runtime": "yolo", "file": asked.file, "output": {"min_score": 0.25}}, about=about
    )


def _onnx(asked: Asked) -> Beginning:
    try:
        import onnxruntime
    except ImportError as error:
        raise errors.InvalidInput(
            "ONNX is read by onnxruntime, which is not here: pip install 'antenna-orchestration[onnx]'"
        ) from error
    try:
        session = onnxruntime.InferenceSession(str(asked.path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise errors.InvalidInput(
            f"{asked.path} cannot be read as ONNX: {' '.join(str(error).split())[:200]}"
        ) from error
    said = session.get_modelmeta().custom_metadata_map
    [taken, *more] = session.get_inputs()
    if more:
        raise errors.InvalidInput(f"{asked.path} takes {1 + len(more)} inputs; a declared model takes pictures alone")
    shapes = [tuple(one.shape) for one in session.get_outputs()]
    labels, to_do = _labels(asked, _names(said.get("names", "")))
    model: dict[str, Any] = {"runtime": "onnx", "file": asked.file, "labels": labels}
    fixed = [side for side in taken.shape[2:] if isinstance(side, int)]
    if not fixed:
        to_do.append("input.size: pixels of one side that the model was trained with")
        model["input"] = {"size": 640 if len(shapes[0]) == 3 else 224}
    if len(shapes[0]) == 2:
        return _declared(asked, classifier=model, to_do=to_do)
    guess = _format(shapes, len(labels) if isinstance(labels, list) else None)
    if guess is None:
        to_do.append(f"output.format: yolo, yolo5, end2end or boxes; the outputs are {shapes}")
    model["output"] = {"format": guess or "yolo", "min_score": 0.25}
    return _declared(asked, detector=model, to_do=to_do)


def _format(shapes: list[tuple[Any, ...]], classes: int | None) -> str | None:
    """Which output format such shapes are; None if they may be several."""
    if len(shapes) in (2, 3) and len(shapes[0]) == 3 and shapes[0][-1] == 4:
        return "boxes"
    if len(shapes) != 1 or len(shapes[0]) != 3:
        return None
    _, middle, last = shapes[0]
    if last == 6:
        return "end2end"
    if not isinstance(middle, int) or not isinstance(last, int):
        return "yolo" if classes is not None and middle == 4 + classes else None
    if classes is not None and middle > last:
        return "yolo5" if last == 5 + classes else "yolo" if last == 4 + classes else None
    return "yolo" if middle < last else None


def _names(text: str) -> list[str]:
    """Names as exporters of YOLO write them: `{0: 'moth', 1: 'beetle'}`."""
    try:
        said = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    if isinstance(said, dict):
        said = [said[key] for key in sorted(said)]
    return [str(one) for one in said] if isinstance(said, list) else []


def _program(runtime: str) -> Callable[[Asked], Beginning]:
    def beginning(asked: Asked) -> Beginning:
        labels, to_do = _labels(asked, [])
        to_do += [
            "input.size: pixels of one side that the program takes",
            "for a program that finds boxes, write it under `detector`, with `output: {format: …}`",
        ]
        model = {"runtime": runtime, "file": asked.file, "labels": labels, "input": {"size": 224}}
        return _declared(asked, classifier=model, to_do=to_do)

    return beginning


def _timm(asked: Asked) -> Beginning:
    if not asked.model:
        raise errors.InvalidInput("name the architecture as timm does: --model efficientnet_b0")
    labels, to_do = _labels(asked, [])
    return _declared(
        asked,
        classifier={"runtime": "timm", "model": asked.model, "file": asked.file, "labels": labels},
        to_do=to_do,
        about="# Size, normalisation and interpolation are the architecture's; say `input` if you trained with others.",
    )


def _hugging_face(asked: Asked) -> Beginning:
    config = (asked.path or Path()) / "config.json"
    try:
        said = json.loads(config.read_text(encoding="utf-8"))
        kinds = [str(one) for one in said.get("architectures") or []]
    except (OSError, ValueError, AttributeError) as error:
        raise errors.InvalidInput(f"{config}: no configuration of a Hugging Face model ({error})") from None
    model = {"runtime": "transformers", "folder": asked.file}
    about = "# Labels and input are those of the folder."
    if any(kind.endswith("ForObjectDetection") for kind in kinds):
        return _declared(asked, detector={**model, "output": {"min_score": 0.5}}, about=about)
    if any(kind.endswith("ForImageClassification") for kind in kinds):
        return _declared(asked, classifier=model, about=about)
    raise errors.InvalidInput(
        f"{config}: {', '.join(kinds) or 'no architecture'}; an image classifier or an object detector is wanted"
    )


def _labels(asked: Asked, known: list[str]) -> tuple[str | list[str], list[str]]:
    """What `labels` says, and what is left to do about it."""
    if asked.labels:
        return asked.labels, []
    if known:
        return known, []
    return ["class-0", "class-1"], ["labels: all classes in the order of the outputs, or a file (--labels FILE)"]


def _declared(
    asked: Asked,
    *,
    detector: Mapping[str, Any] | None = None,
    classifier: Mapping[str, Any] | None = None,
    to_do: list[str] | None = None,
    about: str = "",
) -> Beginning:
    content: dict[str, Any] = {"slug": asked.slug, "version": "1"}
    if detector is None and asked.detector != NO_DETECTOR:
        detector = {"pipeline": asked.detector}
    if detector is not None:
        content["detector"] = dict(detector)
    if classifier is not None:
        content["classifiers"] = [dict(classifier)]
    lines = ["# Every field: docs/reference/declared-pipelines.md. Raise the version whenever answers change."]
    lines += [about] if about else []
    lines += [f"# To do: {one}." for one in to_do or []]
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)
    return Beginning(name=f"{asked.slug}.yaml", text="\n".join(lines) + "\n" + text, to_do=list(to_do or []))


_PYTHON: Final = '''"""NAME: what it finds."""

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec

# Raise a version whenever answers change. Name the weights as `uri`, so that a change of the file is noticed.
DETECTOR = AlgorithmSpec(key="KEY_detector", version="1", name="NAME detector", task="localization")

PIPELINES = [
    PipelineSpec(
        slug="SLUG",
        name="NAME",
        version="1",
        description="",
        algorithms=(DETECTOR,),
        factory=f"{__name__}:CLASS",
        default_config={"min_score": 0.5},
        ranges={"min_score": (0, 1)},
    )
]


class CLASS(Pipeline):
    def load(self, device):
        """Once, in a process of its own: import torch and read weights here. `device` is cpu or cuda:N."""

    def prepare(self, image):
        """On CPU threads, several images at a time."""
        return images.decode(image.data)

    def infer(self, batch):
        """On the thread that owns the device: one result an image, in the same order."""
        found = []
        for decoded in batch:
            # Replace this by your model. Boxes are x1, y1, x2, y2 in pixels of `decoded.pixels` (RGB, uint8).
            darkness = 1 - float(decoded.pixels.mean()) / 255
            found.append([((0, 0, decoded.width / 2, decoded.height / 2), darkness)])
        return found

    def finish(self, prepared, raw):
        """On CPU threads again: boxes in pixels of the photograph as stored, scores from 0 to 1."""
        detections = [
            Detection(box=box, score=score, algorithm=DETECTOR.ref)
            for box, score in raw
            if score >= self.config["min_score"]
        ]
        return ImageResult(width=prepared.width, height=prepared.height, detections=detections)
'''


def _python(asked: Asked) -> Beginning:
    words = re.split(r"[-_]", asked.slug)
    key = "_".join(words)
    name = " ".join(words).capitalize()
    class_name = "".join(word.capitalize() for word in words)
    class_name = class_name if class_name[0].isalpha() else f"P{class_name}"
    text = _PYTHON.replace("CLASS", class_name).replace("SLUG", asked.slug).replace("KEY", key).replace("NAME", name)
    # A module's name; it must be none that Python has.
    module = key if key.isidentifier() else f"pipeline_{key}"
    return Beginning(name=f"{module}.py", text=text, to_do=["infer: your model in place of the example"])


KINDS: Final[dict[str, Callable[[Asked], Beginning]]] = {
    "yolo": _yolo,
    "timm": _timm,
    "hf": _hugging_face,
    "onnx": _onnx,
    "torchscript": _program("torchscript"),
    "pt2": _program("pt2"),
    "python": _python,
}
"""What one may have, as `--from` names it."""
