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


class _Centred(nn.Module):
    """The network that takes bytes less their mean. It divides by their spread in its first layer's weights.

    onnxruntime would take as long for dividing each pixel as for three small layers. What is added around the picture
    stays the mean, as in the network itself.
    """

    def __init__(self, network: insect_network.InsectNetwork) -> None:
        super().__init__()
        self.network = network
        with torch.no_grad():
            first = next(module for module in network.stem.modules() if isinstance(module, nn.Conv2d))
            first.weight.div_(255 * insect_network.SPREAD)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.network.maps(pictures)
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


def export(network: insect_network.InsectNetwork) -> bytes:
    """The network as an ONNX program that takes `pictures` as `engines.OnnxRuntime` gives them. Changes `network`."""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file, warnings.catch_warnings():
        # The exporter that is said to follow needs more packages, and writes another graph with each release.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Centred(network).eval(),
            (torch.zeros(1, 3, 352, 640),),
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
