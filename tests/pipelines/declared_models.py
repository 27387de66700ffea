"""Small models with random weights, written as labs have them, and photographs of several sizes and turns."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from antenna_orchestration.pipelines import interface, registry
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, RawImage

has_onnx = pytest.mark.skipif(
    find_spec("onnx") is None or find_spec("onnxruntime") is None, reason="onnx and onnxruntime are not installed"
)
RUNTIMES = [pytest.param("onnx", marks=has_onnx), "torchscript"]
"""Of the programs that are quickly written; test_exported.py has those of torch.export."""


class SmallYolo(nn.Module):
    """Like YOLO's head: n x (4 + classes) x anchors, centre and size in pixels of the input, scores in [0, 1]."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.scores = nn.Conv2d(3, classes, 16, 16)
        self.sizes = nn.Conv2d(3, 4, 16, 16)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        scores = (self.scores(pictures) * 8).sigmoid()
        moved = self.sizes(pictures).sigmoid()
        down = torch.arange(moved.shape[2], dtype=torch.float32)[:, None] * 16 + 8
        across = torch.arange(moved.shape[3], dtype=torch.float32)[None] * 16 + 8
        centres = torch.stack([across + 16 * moved[:, 0], down + 16 * moved[:, 1]], dim=1)
        return torch.cat([centres, 16 + 64 * moved[:, 2:], scores], dim=1).flatten(2)


class SmallClassifier(nn.Module):
    """Logits of pictures of any size."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 5, 2)
        self.head = nn.Linear(8, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(pictures).relu().mean(dim=(2, 3)) * 20)
        return logits


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with weights that only the seed decides, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 1 / max(1, parameter[0].numel()) ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()


def write(module: nn.Module, path: Path, example: torch.Tensor, *, dynamic: bool = True) -> Path:
    """Write a program as the file's ending says: .onnx, .torchscript or .pt2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".onnx":
            names: dict[str, Any] = {"input_names": ["images"], "output_names": ["output"]}
            axes = {"dynamic_axes": {"images": {0: "batch"}, "output": {0: "batch"}}} if dynamic else {}
            torch.onnx.export(module, (example,), str(path), dynamo=False, **names, **axes)
        elif path.suffix == ".torchscript":
            torch.jit.save(torch.jit.trace(module, example), str(path))
        else:
            shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if dynamic else None
            torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), path)
    return path


def drawn(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A light sheet with dark spots; RGB."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 220, np.int16) + rng.integers(-8, 8, (height, width, 3))
    for _ in range(12):
        x, y, side = rng.integers(0, width), rng.integers(0, height), rng.integers(8, 60)
        pixels[y : y + side, x : x + side] = rng.integers(0, 150, 3)
    return pixels.clip(0, 255).astype(np.uint8)


def file_of(pixels: NDArray[np.uint8], turn: int = 1) -> bytes:
    """The pixels as a PNG, which keeps them, with an EXIF orientation."""
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    return stream.getvalue()


def declared(folder: Path, text: str, config: dict[str, Any] | None = None, *, top_k: int = 10) -> Pipeline[Any, Any]:
    """The pipeline that a YAML text declares, loaded on the CPU."""
    slug = re.findall(r"^slug: (.+)$", text, re.MULTILINE)[0]
    # Of its own for each text: what is read of a file is kept for a moment.
    path = folder / f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.yaml"
    path.write_text(text)
    pipeline = interface.build(registry.get(slug, [path]), config or {}, top_k=top_k)
    pipeline.load("cpu")
    return pipeline


def results(pipeline: Pipeline[Any, Any], files: Sequence[bytes], **given: Any) -> list[ImageResult]:
    """What a pipeline finds in files, all in one batch."""
    prepared = [pipeline.prepare(RawImage(image=n, uri="", data=data, **given)) for n, data in enumerate(files)]
    return [pipeline.finish(*pair) for pair in zip(prepared, pipeline.infer(prepared), strict=True)]
