"""Builds architectures of timm and torchvision by name, and fills them with a lab's weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torchvision
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.pipelines import weights
from antenna_orchestration.pipelines.declared import classifiers, detectors, inputs, programs, recipe
from antenna_orchestration.pipelines.declared.inputs import Picture, Shaped
from antenna_orchestration.pipelines.declared.outputs import Found, Part
from antenna_orchestration.pipelines.published import checkpoint_files
from antenna_orchestration.pipelines.torch_device import TorchDevice

_BACKGROUND: Final = ("background", "__background__")
"""What people call class 0 of torchvision's detectors where they list it."""

_PILLOW: Final = {"bilinear": "pillow-bilinear", "bicubic": "pillow-bicubic", "lanczos": "pillow-lanczos"}


class NetworkClassifier(classifiers.Classifier):
    """A classifier of timm or torchvision; its weights are one of the labels' number of classes."""

    def __init__(self, model: recipe.Model, device: torch.device) -> None:
        self._model = model
        self._device = device
        self.labels = detectors.known_labels(model)
        path = weights.fetch(model.source)
        self._file = path.name
        network, self._shaper = (_of_timm if model.runtime == "timm" else _of_torchvision)(model, len(self.labels))
        fill(network, path, model)
        where = TorchDevice(str(device))
        self._network = where.under_autocast(where.place(network))
        self._at_once = model.input.at_once or classifiers.usual_number(device)

    def prepared(self, picture: Picture) -> Shaped:
        """As `Classifier.prepared`."""
        return self._shaper.shaped(picture)

    def probabilities(self, some: Sequence[Shaped]) -> torch.Tensor:
        """As `Classifier.probabilities`."""
        rows = []
        for start in range(0, len(some), self._at_once):
            chosen = some[start : start + self._at_once]
            values = self._network(self._shaper.tensor(chosen, self._device))
            first = next(iter(programs.flat(values)), None)
            rows.append(classifiers.activated(self._model, first, len(chosen), len(self.labels), self._file))
        return torch.cat(rows)


class TorchvisionDetector(detectors.Detector):
    """A detector of torchvision, which shapes pictures itself; class 0 is its background, so labels begin at 1."""

    def __init__(self, model: recipe.Model, device: torch.device) -> None:
        labels = detectors.known_labels(model)
        self.labels = labels[1:] if labels[0].lower() in _BACKGROUND else labels
        path = weights.fetch(model.source)
        network = _built(
            model,
            torchvision.models.detection,
            weights_backbone=None,
            num_classes=len(self.labels) + 1,
        )
        fill(network, path, model)
        heads: Any = getattr(network, "roi_heads", network)
        if model.output.nms is not None:
            heads.nms_thresh = model.output.nms
        if model.output.most is not None:
            heads.detections_per_img = model.output.most
        self._least: float = heads.score_thresh
        self._heads = heads
        self._device = device
        self._network = TorchDevice(str(device)).place(network)
        self._at_once = model.input.at_once or detectors.usual_number(device)

    def prepared(self, picture: Picture) -> torch.Tensor:
        """As `Detector.prepared`: RGB, uint8, 3 x height x width."""
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))

    def detect(self, some: Sequence[torch.Tensor], min_score: float) -> list[Found]:
        """As `Detector.detect`."""
        self._heads.score_thresh = min(self._least, min_score)
        by_size: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, one in enumerate(some):
            by_size[tuple(one.shape)].append(index)
        found: dict[int, Found] = {}
        for indices in by_size.values():
            # One size at a time: torchvision pads a batch to its largest picture, which would change the results.
            for start in range(0, len(indices), self._at_once):
                chosen = indices[start : start + self._at_once]
                outputs = self._network([some[index].to(self._device).float().div(255) for index in chosen])
                found |= {index: self._read(one, min_score) for index, one in zip(chosen, outputs, strict=True)}
        return [found[index] for index in range(len(some))]

    def _read(self, output: dict[str, torch.Tensor], min_score: float) -> Found:
        # A class beyond the labels cannot be: the network was built with their number.
        keep = (output["scores"] > min_score) & (output["labels"] > 0)
        boxes = output["boxes"][keep].cpu().numpy()
        found = Found(boxes, output["scores"][keep].cpu().numpy(), output["labels"][keep].cpu().numpy() - 1)
        if "masks" in output:
            found.masks = [_part(mask[0], box) for mask, box in zip(output["masks"][keep], boxes.tolist(), strict=True)]
        return found


def fill(network: nn.Module, path: Path, model: recipe.Model) -> None:
    """Load weights, and put the network into eval mode without gradients.

    A wrapper or a prefix that training programs add is taken off. Raises `InternalError` if they do not fit, or hold
    values that are not numbers.
    """
    state = checkpoint_files.unwrapped(_state(path), network.state_dict())
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        why = checkpoint_files.misfit(state, network.state_dict())
        name = model.architecture or type(network).__name__
        raise errors.InternalError(f"{model.place}: weights {path} do not fit {name}: {why}") from error
    if (layer := checkpoint_files.not_finite(state)) is not None:
        raise errors.InternalError(f"{model.place}: weights {path}: {layer} holds values that are not numbers")
    network.eval().requires_grad_(requires_grad=False)


def _state(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix != ".safetensors":
        return checkpoint_files.read(path)
    from safetensors.torch import load_file

    try:
        state: dict[str, torch.Tensor] = load_file(str(path))
    except Exception as error:
        raise errors.InternalError(f"weights {path}: it is damaged, or no safetensors file: {error}") from error
    return state


def _of_timm(model: recipe.Model, classes: int) -> tuple[nn.Module, inputs.Shaper]:
    try:
        import timm
        from timm.data import resolve_model_data_config
    except ImportError:
        raise programs.missing("timm") from None
    try:
        network: nn.Module = timm.create_model(
            model.architecture, pretrained=False, num_classes=classes, **model.options
        )
    except Exception as error:
        # An unknown name, or an option that it does not take.
        raise errors.InternalError(f"{model.place}.model {model.architecture}: {_line(error)}") from error
    told = resolve_model_data_config(network)
    _, height, width = told["input_size"]
    size = (model.input.width or width, model.input.height or height)
    shaper = inputs.Shaper(
        model.input,
        size=size,
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
        resize=_PILLOW.get(told["interpolation"], "pillow-bicubic"),  # type: ignore[arg-type]
        shorter=math.floor(min(size) / told["crop_pct"]),
    )
    return network, shaper


def _of_torchvision(model: recipe.Model, classes: int) -> tuple[nn.Module, inputs.Shaper]:
    network = _built(model, torchvision.models, num_classes=classes)
    assert model.input.width is not None
    assert model.input.height is not None
    return network, inputs.Shaper(model.input, size=(model.input.width, model.input.height))


def _built(model: recipe.Model, module: Any, **more: Any) -> nn.Module:
    """An architecture of torchvision by name, without downloading anything."""
    known = torchvision.models.list_models(module=module)
    if model.architecture not in known:
        raise errors.InternalError(
            f"{model.place}.model {model.architecture!r} is none of torchvision's: {', '.join(known)}"
        )
    try:
        network: nn.Module = torchvision.models.get_model(model.architecture, weights=None, **more, **model.options)
    except Exception as error:
        raise errors.InternalError(f"{model.place}.model {model.architecture}: {_line(error)}") from error
    return network


def _part(mask: torch.Tensor, box: Sequence[float]) -> Part:
    height, width = mask.shape
    left, top = min(math.floor(box[0]), width), min(math.floor(box[1]), height)
    right, bottom = min(math.ceil(box[2]), width), min(math.ceil(box[3]), height)
    return Part(left, top, (mask[top:bottom, left:right] > 0.5).cpu().numpy())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
