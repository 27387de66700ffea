"""The networks of the published checkpoints, and reading weights and exported programs into them.

Everything is built without weights: by default torchvision downloads an ImageNet backbone for a detector that is about
to get its own weights, and fails where there is no internet.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Final

import torch
import torchvision
from torch import nn
from torch.export.passes import move_to_device_pass
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from antenna_orchestration import errors
from antenna_orchestration.pipelines.published.specs import Architecture

DETECTIONS: Final = 500
"""Boxes that the detector gives an image at most."""

_BROKEN: Final = (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
"""What torch raises for a file that is no checkpoint."""


def detector(checkpoint: Path) -> nn.Module:
    """Faster R-CNN on a ResNet-50 FPN backbone with frozen batch norm; background and one class."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    return _filled(FasterRCNN(backbone, num_classes=2, box_detections_per_img=DETECTIONS), checkpoint)


def classifier(architecture: Architecture, checkpoint: Path, classes: int) -> nn.Module:
    """A classifier of crops on CPU: takes (n, 3, side, side) and gives (n, classes) logits."""
    return _filled(_empty_classifier(architecture, classes), checkpoint)


def exported_program(path: Path, device: torch.device) -> nn.Module:
    """A program that `torch.export.save` wrote, on the device."""
    try:
        with warnings.catch_warnings():
            # Older versions read constants out of a buffer that cannot be written, and say so.
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            program = torch.export.load(str(path))
        if device.type != "cpu":
            # Tensors that the program makes itself are on the device that it names, which no `to` changes.
            program = move_to_device_pass(program, device)
        module: nn.Module = program.module()
    except Exception as error:
        raise errors.InternalError(f"{path} cannot be read as a program of torch.export: {_line(error)}") from error
    return module


class HeadlessResNet50(nn.Module):
    """ResNet-50 whose layers are numbered children of `backbone`, with a linear head without bias."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(torchvision.models.resnet50(weights=None).children())[:-2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(2048, classes, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of (n, 3, side, side)."""
        logits: torch.Tensor = self.classifier(self.avgpool(self.backbone(images)).flatten(1))
        return logits


def _empty_classifier(architecture: Architecture, classes: int) -> nn.Module:
    if architecture == "resnet50":
        network: nn.Module = torchvision.models.resnet50(weights=None, num_classes=classes)
        return network
    if architecture == "headless_resnet50":
        return HeadlessResNet50(classes)
    try:
        import timm
    except ImportError as error:
        raise errors.InternalError(
            "this pipeline needs timm: pip install 'antenna-orchestration[pipelines]'"
        ) from error
    convnext: nn.Module = timm.create_model("convnext_tiny", pretrained=False, num_classes=classes)
    return convnext


def _filled(model: nn.Module, path: Path) -> nn.Module:
    """The model with the weights of a checkpoint, ready to infer. Every key has to be there, and no other."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint.get("model_state_dict") or checkpoint
        model.load_state_dict(state)
    except (*_BROKEN, AttributeError, TypeError) as error:
        raise errors.InternalError(f"weights {path} do not fit {_named(model)}: {_line(error)}") from error
    return model.eval().requires_grad_(requires_grad=False)


def _named(model: nn.Module) -> str:
    return f"{type(model).__name__} ({sum(parameter.numel() for parameter in model.parameters()):,} parameters)"


def _line(error: Exception) -> str:
    """An exception's first two lines as one; torch's first says only that something is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
