"""Runs image classifiers and detectors of the transformers library from a folder on this machine.

The folder holds what `save_pretrained` writes: config.json, the weights and preprocessor_config.json. Nothing is
fetched, and no code in the folder is run. The folder's own processor shapes the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from antenna_orchestration import errors
from antenna_orchestration.pipelines.declared import classifiers, detectors, programs, recipe
from antenna_orchestration.pipelines.declared.inputs import Picture
from antenna_orchestration.pipelines.declared.outputs import Found
from antenna_orchestration.pipelines.published import checkpoint_files


class TransformersClassifier(classifiers.Classifier):
    """An image classifier."""

    def __init__(self, model: recipe.Model, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._processor, self._network = _opened(model, device, "AutoModelForImageClassification")
        self.labels = detectors.known_labels(model)
        self._at_once = model.input.at_once or classifiers.usual_number(device)

    def prepared(self, picture: Picture) -> torch.Tensor:
        """As `Classifier.prepared`."""
        values: torch.Tensor = _shaped(self._processor, picture)["pixel_values"]
        return values

    def probabilities(self, some: Sequence[torch.Tensor]) -> torch.Tensor:
        """As `Classifier.probabilities`."""
        rows = []
        for start in range(0, len(some), self._at_once):
            chosen = some[start : start + self._at_once]
            logits = self._network(pixel_values=torch.cat(list(chosen)).to(self._device)).logits
            name = Path(self._model.source).name
            rows.append(classifiers.activated(self._model, logits, len(chosen), len(self.labels), name))
        return torch.cat(rows)


class TransformersDetector(detectors.Detector):
    """An object detector. One picture a call: several of other sizes would be padded, which changes the results."""

    def __init__(self, model: recipe.Model, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._processor, self._network = _opened(model, device, "AutoModelForObjectDetection")
        self.labels = detectors.known_labels(model)
        classes = self._network.config.num_labels
        if classes != len(self.labels):
            raise errors.InternalError(
                f"{model.place}: {len(self.labels)} labels are given, and the model has {classes}"
            )

    def prepared(self, picture: Picture) -> tuple[Any, int, int]:
        """As `Detector.prepared`."""
        height, width = picture.shape[:2]
        return _shaped(self._processor, picture), height, width

    def detect(self, some: Sequence[tuple[Any, int, int]], min_score: float) -> list[Found]:
        """As `Detector.detect`."""
        return [self._one(*one, min_score) for one in some]

    def _one(self, shaped: Any, height: int, width: int, min_score: float) -> Found:
        given = {
            name: value.to(self._device) for name, value in shaped.items() if name in ("pixel_values", "pixel_mask")
        }
        answer = self._network(**given)
        if not bool(torch.isfinite(answer.logits).all() and torch.isfinite(answer.pred_boxes).all()):
            raise errors.InternalError(f"{self._model.place} gives values that are not numbers (NaN or infinite)")
        [found] = self._processor.post_process_object_detection(
            answer, threshold=min_score, target_sizes=[(height, width)]
        )
        order = found["scores"].argsort(descending=True, stable=True)[: self._model.output.most]
        boxes, scores, kinds = (found[name][order].float().cpu() for name in ("boxes", "scores", "labels"))
        if self._model.output.nms is not None:
            from torchvision.ops import batched_nms

            best = batched_nms(boxes, scores, kinds, self._model.output.nms)
            boxes, scores, kinds = boxes[best], scores[best], kinds[best]
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height)
        return Found(boxes.numpy(), scores.numpy(), kinds.numpy().astype(np.int64))


def _opened(model: recipe.Model, device: torch.device, kind: str) -> tuple[Any, Any]:
    """The folder's processor and network."""
    # Nothing is looked up, whatever the folder lacks.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        import transformers
    except ImportError as error:
        if (error.name or "").startswith("transformers"):
            raise programs.missing("transformers") from None
        raise errors.InternalError(f"transformers cannot be imported: {error}") from error
    folder = Path(model.source)
    if not (folder / "config.json").is_file():
        raise errors.Unavailable(f"{model.place}.folder {folder}: there is no config.json on this machine")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        network = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32
        )
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise errors.InternalError(f"{model.place}.folder {folder} cannot be read: {reason}") from error
    if (layer := checkpoint_files.not_finite(network.state_dict())) is not None:
        raise errors.InternalError(f"{model.place}.folder {folder}: {layer} holds values that are not numbers")
    return processor, network.to(device).eval()


def _shaped(processor: Any, picture: Picture) -> Any:
    # An image, not an array: with three pixels of height it could not be told where the channels are.
    return processor(images=Image.fromarray(np.ascontiguousarray(picture)), return_tensors="pt")
