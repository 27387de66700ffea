"""Checkpoints as the published ones are made, with random weights, and the plain way to run them.

The reference is written out from torchvision and timm alone; nothing of ours is in it but the drawn photograph.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms

from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.synthetic import captures

IMAGENET = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Crops = Sequence[torch.Tensor]


def photograph(width: int = 1280, height: int = 96) -> bytes:
    """A wide strip of a sheet, which is fastest for the detector."""
    return captures.draw_capture(1, width, height, trap=0)[0]


def to_tensor(data: bytes) -> torch.Tensor:
    """As the definition decodes: RGB, values in [0, 1]."""
    tensor: torch.Tensor = transforms.ToTensor()(Image.open(io.BytesIO(data)).convert("RGB"))
    return tensor


def plain_detector() -> nn.Module:
    """torchvision's own detector; its class head is biased so that some dozens of boxes pass in `photograph`."""
    torch.manual_seed(1)
    model: nn.Module = torchvision.models.get_model(
        "fasterrcnn_resnet50_fpn", num_classes=2, weights=None, weights_backbone=None, box_detections_per_img=500
    )
    head = model.roi_heads.box_predictor.cls_score
    nn.init.normal_(head.weight, std=0.01)
    head.bias.data = torch.tensor([0.0, 3.0])
    model.eval()
    with torch.inference_mode():
        scores = model([to_tensor(photograph())])[0]["scores"]
    # The bias is the logit by which the boxes around the 27th miss a score of 0.80, in the middle of the widest gap.
    logits = scores.logit()[24:31]
    gap = int((logits[:-1] - logits[1:]).argmax())
    with torch.no_grad():
        head.bias[1] += torch.tensor(0.80).logit() - (logits[gap] + logits[gap + 1]) / 2
    return model


def plain_detections(model: nn.Module, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (floats) with scores above 0.80, and these scores."""
    with torch.inference_mode():
        output = model([image])[0]
    keep = output["scores"] > 0.80
    return output["boxes"][keep].numpy(), output["scores"][keep].numpy()


def plain_crops(image: torch.Tensor, boxes: np.ndarray) -> dict[int, torch.Tensor]:
    """Slices of the image at whole pixels, by number of the box; some boxes are less than a pixel wide."""
    crops = {n: image[:, int(y1) : int(y2), int(x1) : int(x2)] for n, (x1, y1, x2, y2) in enumerate(boxes)}
    return {n: crop for n, crop in crops.items() if crop.numel()}


class PlainTuring(nn.Module):
    """A network with the layout of the checkpoints for Costa Rica, Anguilla, Kenya and Uganda."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        network = torchvision.models.resnet50(weights=None)
        self.backbone = nn.Sequential(*list(network.children())[:-2])
        self.avgpool = nn.AdaptiveAvgPool2d(output_size=(1, 1))
        self.classifier = nn.Linear(2048, classes, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.avgpool(self.backbone(x))
        return self.classifier(x.view(-1, 2048))


def plain_classifier(kind: str, classes: int) -> tuple[nn.Module, transforms.Compose]:
    """The network of a classifier, and its transform of a crop."""
    torch.manual_seed(2)
    if kind == "filter":
        model: nn.Module = torchvision.models.resnet50(weights=None, num_classes=classes)
    elif kind == "timm":
        model = timm.create_model("resnet50", num_classes=classes)
    elif kind == "turing":
        model = PlainTuring(classes)
    else:
        model = timm.create_model("convnext_tiny.fb_in22k", pretrained=False, num_classes=classes)
    contrast = 2
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            contrast = 200
            # As after training: statistics that are not those of a fresh layer.
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.8, 1.2)
            layer.weight.data.uniform_(0.4, 0.8)
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.out_features == classes:
            # Classes that differ from crop to crop, as a trained head's do.
            layer.weight.data *= contrast
    side, normalize = (300, HALVES) if kind == "turing" else (128, IMAGENET)
    return model.eval(), transforms.Compose([transforms.Resize((side, side), antialias=True), normalize])


def plain_logits(model: nn.Module, transform: transforms.Compose, crops: Crops) -> torch.Tensor:
    """Classify all crops in one forward pass."""
    with torch.inference_mode():
        return model(torch.stack([transform(crop) for crop in crops]))


def split_evenly(model: nn.Module, transform: transforms.Compose, crops: Crops) -> None:
    """Shift the filter's bias so that half of the crops pass, with a clear margin for each."""
    logits = plain_logits(model, transform, crops)
    margins = (logits[:, 0] - logits[:, 1]).sort().values
    gaps = margins.diff()
    middle = slice(len(gaps) // 4, 3 * len(gaps) // 4)
    cut = len(gaps) // 4 + int(gaps[middle].argmax())
    with torch.no_grad():
        model.fc.bias[1] += (margins[cut] + margins[cut + 1]) / 2


def save(folder: Path, uri: str | None, model: nn.Module, *, wrapped: bool) -> None:
    """Write the weights under the published name; in training's way they lie under a key."""
    assert uri is not None
    state = model.state_dict()
    if wrapped:
        # A checkpoint of the training run, with what else there is in one.
        state = {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}}
    torch.save(state, folder / uri.rpartition("/")[2])


def save_labels(folder: Path, uri: str | None, labels: Sequence[str]) -> None:
    """The category map, in another order than that of its indices."""
    assert uri is not None
    indices = sorted(((label, index) for index, label in enumerate(labels)), key=lambda item: item[0], reverse=True)
    (folder / uri.rpartition("/")[2]).write_text(json.dumps(dict(indices)))


def kind_of(spec: PipelineSpec) -> str:
    """The name of the plain classifier with which a pipeline ends."""
    if spec.slug == "moth_binary":
        return "filter"
    return {"resnet50": "timm", "headless_resnet50": "turing", "convnext_tiny": "convnext"}[
        spec.recipe.classifier.architecture
    ]
