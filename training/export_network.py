"""Writes the insect network as onnxruntime reads it, from the released weights.

    python -m training.export_network

Run it whenever the weights change. It needs onnx and onnxruntime, and refuses to write what differs from torch.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from antenna_orchestration.pipelines import batch_norms
from antenna_orchestration.pipelines.light_trap import engines, insect_network, network_detector


class _Bytes(nn.Module):
    """The network with bytes as its input: a quarter of the memory on the way."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps: insect_network.Maps = self.network(pictures.float() / 255)
        return maps.middle, maps.reach, maps.moth


def main() -> None:
    """Write the file beside the weights."""
    folder = Path(str(resources.files(network_detector.__package__)))
    weights = (folder / network_detector.WEIGHTS).read_bytes()
    program = export(batch_norms.folded(network_detector.from_weights(weights)))
    network = network_detector.from_weights(weights)
    if engines.chosen(network, (lambda: engines.OnnxRuntime(program),)).name.startswith("torch"):
        sys.exit("the export is slower than torch or differs from it; nothing was written")
    (folder / engines.PROGRAM).write_bytes(program)
    print(f"wrote {folder / engines.PROGRAM}: {len(program):,} bytes")


def export(network: nn.Module) -> bytes:
    """The network as an ONNX program that takes `pictures` (1 x 3 x height x width, bytes)."""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file, warnings.catch_warnings():
        # The exporter that is said to follow needs more packages, and writes another graph with each release.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Bytes(network).eval(),
            (torch.zeros(1, 3, 352, 640, dtype=torch.uint8),),
            file.name,
            dynamo=False,
            opset_version=17,
            input_names=["pictures"],
            output_names=["middle", "reach", "moth"],
            dynamic_axes={name: {2: "height", 3: "width"} for name in ("pictures", "reach")}
            | {name: {1: "height", 2: "width"} for name in ("middle", "moth")},
        )
        return Path(file.name).read_bytes()


if __name__ == "__main__":
    main()
