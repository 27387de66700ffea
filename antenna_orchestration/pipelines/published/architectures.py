"""Builds the networks of the published checkpoints and loads weights into them.

Networks are built with `weights=None`. By default torchvision would download an ImageNet backbone for a detector that
gets weights of its own anyway, and would fail without internet access.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from antenna_orchestration import errors
from antenna_orchestration.pipelines.published import checkpoint_files
from antenna_orchestration.pipelines.published.specs import Architecture

DETECTIONS: Final = 500
"""Largest number of boxes that the detector returns per image."""


def detector(checkpoint: Path) -> nn.Module:
    """Faster R-CNN with a ResNet-50 FPN backbone and frozen batch norm; two classes: background and insect.

    In eval mode, as torchvision's detectors: it takes a list of float images (3 x height x width, RGB in [0, 1]) and
    returns a dict per image with `boxes` (n x 4: x1, y1, x2, y2 in pixels), `scores` and `labels`, best score first.
    Raises `InternalError` if the checkpoint does not fit.
    """
    return _filled(empty_detector(), checkpoint)


def empty_detector() -> nn.Module:
    """The detector's network with random weights."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    network: nn.Module = FasterRCNN(backbone, num_classes=2, box_detections_per_img=DETECTIONS)
    return network


def classifier(architecture: Architecture, checkpoint: Path, classes: int) -> nn.Module:
    """A classifier of crops, on the CPU: takes n x 3 x side x side and returns logits (n x classes).

    Raises `InternalError` if the checkpoint does not fit, or if the architecture needs timm and it is not installed.
    """
    return _filled(_empty_classifier(architecture, classes), checkpoint)


class HeadlessResNet50(nn.Module):
    """ResNet-50 with numbered layers under `backbone`, and a linear head without bias, as its checkpoints name them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(torchvision.models.resnet50(weights=None).children())[:-2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(2048, classes, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n x classes) of crops (n x 3 x side x side)."""
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
        raise errors.InternalError("this pipeline needs timm: pip install 'antenna-orchestration[worker]'") from error
    convnext: nn.Module = timm.create_model("convnext_tiny", pretrained=False, num_classes=classes)
    return convnext


def _filled(model: nn.Module, path: Path) -> nn.Module:
    """Load a checkpoint into the model, in eval mode without gradients. Its keys must be exactly the model's."""
    state = checkpoint_files.read(path)
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        why = checkpoint_files.misfit(state, model.state_dict())
        raise errors.InternalError(f"weights {path} do not fit {_named(model)}: {why}") from error
    if (layer := checkpoint_files.not_finite(state)) is not None:
        raise errors.InternalError(f"weights {path}: {layer} holds values that are not numbers (NaN or infinite)")
    return model.eval().requires_grad_(requires_grad=False)


def _named(model: nn.Module) -> str:
    return f"{type(model).__name__} ({sum(parameter.numel() for parameter in model.parameters()):,} parameters)"
