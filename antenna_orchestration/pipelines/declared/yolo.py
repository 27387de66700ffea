"""Runs models of ultralytics (YOLO) with their own library, for every task that finds boxes or names pictures.

The library shapes pictures and reads outputs as in training, so nothing has to be declared. It is told to load only its
own classes from a .pt file, to install nothing and to send nothing; see SECURITY.md.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch

from antenna_orchestration import errors
from antenna_orchestration.pipelines import weights
from antenna_orchestration.pipelines.declared import detectors, outputs, programs, recipe
from antenna_orchestration.pipelines.declared.classifiers import Classifier
from antenna_orchestration.pipelines.declared.inputs import Picture
from antenna_orchestration.pipelines.declared.outputs import Found, Part
from antenna_orchestration.pipelines.published import checkpoint_files

_QUIETLY: Final = {
    # From a .pt file only the library's own classes: anything else in it could run code.
    "ULTRALYTICS_SAFE_LOAD": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "true",
    "YOLO_VERBOSE": "false",
}


class _Yolo:
    """An opened model with its names."""

    def __init__(self, model: recipe.Model, device: torch.device, tasks: frozenset[str]) -> None:
        library = _library()
        path = weights.fetch(model.source)
        _check(path)
        try:
            self._model: Any = library(str(path), verbose=False)
            task = self._model.task
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise errors.InternalError(f"{path} cannot be read as a model of ultralytics: {reason}") from error
        if task not in tasks:
            raise errors.InternalError(f"{model.place}: {path.name} is a model for {task}, not {_either(tasks)}")
        if path.suffix == ".pt" and (name := checkpoint_files.not_finite(self._model.model.state_dict())) is not None:
            raise errors.InternalError(f"weights {path}: {name} holds values that are not numbers")
        self.task = task
        given = model.input
        size = {} if given.width is None else {"imgsz": [given.height, given.width]}
        self._options = {**model.options, **size, "device": str(device), "verbose": False, "save": False}
        self._at_once = given.at_once or detectors.usual_number(device)
        self.labels = self._named(model, path)

    def results(self, pictures: Sequence[Picture], **options: Any) -> list[Any]:
        """The library's result for each picture. Those of other sizes never share a call, which would change them."""
        by_size: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, picture in enumerate(pictures):
            by_size[picture.shape].append(index)
        found: dict[int, Any] = {}
        for indices in by_size.values():
            for start in range(0, len(indices), self._at_once):
                chosen = indices[start : start + self._at_once]
                # The library takes OpenCV's order of channels.
                some = [np.ascontiguousarray(pictures[index][..., ::-1]) for index in chosen]
                found |= zip(chosen, self._model.predict(some, **self._options, **options), strict=True)
        return [found[index] for index in range(len(pictures))]

    def _named(self, model: recipe.Model, path: Path) -> tuple[str, ...]:
        names: Mapping[int, str] = self._model.names
        own = tuple(str(names[index]) for index in sorted(names))
        given = detectors.known_labels(model)
        if given and len(given) != len(own):
            raise errors.InternalError(
                f"{model.place}.labels has {len(given)} labels, and {path.name} {len(own)}: {', '.join(own[:5])}"
            )
        return given or own


class YoloDetector(detectors.Detector):
    """Detects, segments, or finds turned boxes, as the file's task is."""

    def __init__(self, model: recipe.Model, device: torch.device) -> None:
        self._yolo = _Yolo(model, device, frozenset({"detect", "segment", "obb", "pose"}))
        self._output = model.output
        self.labels = self._yolo.labels

    def prepared(self, picture: Picture) -> Picture:
        """As `Detector.prepared`."""
        return np.ascontiguousarray(picture)

    def detect(self, some: Sequence[Picture], min_score: float) -> list[Found]:
        """As `Detector.detect`."""
        iou = 1.0 if self._output.nms is None else self._output.nms
        found = self._yolo.results(some, conf=min_score, iou=iou, max_det=self._output.most)
        return [self._read(one, picture) for one, picture in zip(found, some, strict=True)]

    def _read(self, result: Any, picture: Picture) -> Found:
        height, width = picture.shape[:2]
        rows = result.obb if self._yolo.task == "obb" else result.boxes
        if rows is None or not len(rows):
            return outputs.none_found(rotated=self._yolo.task == "obb")
        boxes = rows.xyxy.float().cpu().numpy()
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        found = Found(boxes, rows.conf.float().cpu().numpy(), rows.cls.cpu().numpy().astype(np.int64))
        if self._yolo.task == "obb":
            rotated = rows.xywhr.float().cpu().numpy().astype(np.float64)
            rotated[:, 4] = (np.degrees(rotated[:, 4]) + 180) % 360 - 180
            found.rotated = rotated.astype(np.float32)
        if self._yolo.task == "segment" and result.masks is not None:
            pixels = result.masks.data.float().cpu().numpy()
            found.masks = [_part(one, box, width, height) for one, box in zip(pixels, boxes.tolist(), strict=True)]
        return found


class YoloClassifier(Classifier):
    """Names pictures."""

    def __init__(self, model: recipe.Model, device: torch.device) -> None:
        self._yolo = _Yolo(model, device, frozenset({"classify"}))
        self.labels = self._yolo.labels

    def prepared(self, picture: Picture) -> Picture:
        """As `Classifier.prepared`."""
        return np.ascontiguousarray(picture)

    def probabilities(self, some: Sequence[Picture]) -> torch.Tensor:
        """As `Classifier.probabilities`."""
        rows = [one.probs.data.float().cpu() for one in self._yolo.results(some)]
        return torch.stack(rows)


def _part(mask: Any, box: Sequence[float], width: int, height: int) -> Part:
    """A mask at the size of the model's letterboxed input, at the photograph's within its box."""
    down, across = mask.shape
    gain = min(down / height, across / width)
    inner = max(1, round(width * gain)), max(1, round(height * gain))
    x, y = inner[0] / width, inner[1] / height
    before = round((across - inner[0]) / 2 - 0.1), round((down - inner[1]) / 2 - 0.1)
    left, top = min(math.floor(box[0]), width), min(math.floor(box[1]), height)
    right, bottom = min(math.ceil(box[2]), width), min(math.ceil(box[3]), height)
    if right <= left or bottom <= top:
        return Part(left, top, np.zeros((max(0, bottom - top), max(0, right - left)), bool))
    # From the middle of each pixel of the box to its place in the mask, between whose pixels it is interpolated.
    place = np.array(
        [[x, 0, (left + 0.5) * x + before[0] - 0.5], [0, y, (top + 0.5) * y + before[1] - 0.5]], np.float64
    )
    values = cv2.warpAffine(
        mask,
        place,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return Part(left, top, values > 0.5)


def _library() -> Any:
    for name, value in _QUIETLY.items():
        os.environ.setdefault(name, value)
    threads = os.environ.get("OMP_NUM_THREADS")
    try:
        from ultralytics import YOLO
    except ImportError as error:
        if (error.name or "").startswith("ultralytics"):
            raise programs.missing("yolo") from None
        raise errors.InternalError(f"ultralytics cannot be imported: {error}") from error
    if threads is None:
        # It sets this for the whole process, and other models' child processes would inherit it.
        os.environ.pop("OMP_NUM_THREADS", None)
    return YOLO


def _check(path: Path) -> None:
    kind = checkpoint_files.what_it_is(path)
    if kind is not None and not (path.suffix != ".pt" and "TorchScript" in kind):
        raise errors.InternalError(f"{path} cannot be read as a model of ultralytics: {kind}")


def _either(tasks: frozenset[str]) -> str:
    return " or ".join(sorted(tasks))
