"""Writes the insect network as onnxruntime reads it, from the released weights: in float32, and in int8.

    python -m training.export_network

Run it whenever the weights change. It needs onnx and onnxruntime, and refuses to write what differs from torch. Nothing
but drawn scenes decides how the numbers between layers are rounded to 8 bits.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from antenna_orchestration.pipelines import batch_norms
from antenna_orchestration.pipelines.light_trap import engines, insect_network, network_detector
from training import scenes

FIRST_SEED: Final = 3_000_000
"""Of the scenes that ranges are taken from. Training draws from 1,000,003 on, benchmarks from 2,000,000."""
SCENES: Final = 96
SIDE: Final = 512

ROUNDED: Final = ("Conv", "Add", "Relu", "Resize")
"""Operations in int8, each with the numbers that it takes and gives."""


class _Centred(nn.Module):
    """The network that takes bytes less their mean. It divides by their spread in its first layer's weights.

    onnxruntime would take as long for dividing each pixel as for three small layers. What is added around the picture
    stays the mean, as in the network itself. The three last layers are one, which reads its input once.
    """

    def __init__(self, network: insect_network.InsectNetwork) -> None:
        super().__init__()
        self.network = network
        lasts = network.middle, network.reach, network.moth
        self.last = nn.Conv2d(network.middle.in_channels, sum(one.out_channels for one in lasts), 1)
        with torch.no_grad():
            first = next(module for module in network.stem.modules() if isinstance(module, nn.Conv2d))
            first.weight.div_(255 * insect_network.SPREAD)
            self.last.weight.copy_(torch.cat([one.weight for one in lasts]))
            self.last.bias.copy_(torch.cat([one.bias for one in lasts]))  # type: ignore[union-attr, misc]

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        middle, reach, moth = self.last(self.network.shared(pictures)).split((1, 4, 1), 1)
        maps = insect_network.as_maps(middle, reach, moth)
        return maps.middle, maps.reach, maps.moth


def main() -> None:
    """Write both files beside the weights."""
    folder = Path(str(resources.files(network_detector.__package__)))
    weights = (folder / network_detector.WEIGHTS).read_bytes()
    program = export(batch_norms.folded(network_detector.from_weights(weights)))
    programs = {
        name: _noted(data) for name, data in {engines.PROGRAM: program, engines.INT8_PROGRAM: in_int8(program)}.items()
    }
    for name, data in programs.items():
        made = engines.OnnxRuntime(data, network_detector.WEIGHTS_SHA256, int8=name == engines.INT8_PROGRAM)
        if engines.chosen(network_detector.from_weights(weights), (lambda made=made: made,)) is not made:
            sys.exit(f"{name} is slower than torch or differs from it; nothing was written")
    for name, data in programs.items():
        (folder / name).write_bytes(data)
        print(f"wrote {folder / name}: {len(data):,} bytes")


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


def _noted(program: bytes) -> bytes:
    """The program, with the digest of the weights that it was made from."""
    model = onnx.load_from_string(program)
    model.metadata_props.add(key=engines.WEIGHTS, value=network_detector.WEIGHTS_SHA256)
    return model.SerializeToString()


def in_int8(program: bytes) -> bytes:
    """The exported network with weights of 7 bits and numbers of 8 bits between layers.

    Pixels, the first layer and the last stay float32: they cost little, and rounding there moves scores most. Weights
    have 7 bits, because sums of products of 8 bits overflow on x86 processors without VNNI.
    """
    with tempfile.TemporaryDirectory() as folder:
        exported, plain, rounded = (Path(folder) / name for name in ("exported.onnx", "plain.onnx", "int8.onnx"))
        exported.write_bytes(program)
        quant_pre_process(exported, plain, skip_symbolic_shape=True)
        layers = onnx.load(plain).graph.node
        convolutions = [layer for layer in layers if layer.op_type == "Conv"]
        [activation] = [layer for layer in layers if convolutions[0].output[0] in layer.input]
        quantization.quantize_static(
            plain,
            rounded,
            _Scenes(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=list(ROUNDED),
            nodes_to_exclude=[convolutions[0].name, activation.name, convolutions[-1].name],
        )
        return rounded.read_bytes()


class _Scenes(quantization.CalibrationDataReader):
    """Drawn scenes that nothing was trained on, one at a time."""

    def __init__(self) -> None:
        self._drawn = self._draw()

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:  # type: ignore[override]
        return next(self._drawn, None)

    def _draw(self) -> Iterator[dict[str, Any]]:
        for seed in range(FIRST_SEED, FIRST_SEED + SCENES):
            picture = insect_network.as_input(scenes.draw_scene(seed, SIDE).pixels)[None]
            yield {"pictures": engines.centred(picture).numpy()}


if __name__ == "__main__":
    main()
