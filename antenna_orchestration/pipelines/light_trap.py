"""The two pipelines for insects on the lit sheet of a light trap, with nothing to download: their descriptions.

One is a small trained network, the other classical image processing; both learned from drawn photographs alone.
`docs/model-card.md` says what each finds and misses. The work is in `light_trap_network` and `light_trap_blobs`, which
device processes import.
"""

from __future__ import annotations

from typing import Final

from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec

AUTOMATIC_SIZE: Final = 0.009
"""`min_size` 0 means this share of the photograph's longer side."""

NETWORK = AlgorithmSpec(
    key="insect_network",
    version="1",
    name="Insect network",
    task="localization",
    description="Finds insects on a lit sheet. A small convolutional network, trained on drawn scenes.",
)

NETWORK_MOTHS = AlgorithmSpec(
    key="insect_network_moths",
    version="1",
    name="Moth or not, by network",
    task="classification",
    description="Tells moths from other insects: a second head of the network that finds them.",
    labels=("moth", "nonmoth"),
)

BLOBS = AlgorithmSpec(
    key="light_trap_blobs",
    version="1",
    name="Light trap blobs",
    task="localization",
    description=(
        "Finds what departs in lightness or colour from the smooth sheet that it stands on. Classical image "
        "processing; its scores were fitted on drawn photographs. Needs a lit, even background."
    ),
)

SHAPE = AlgorithmSpec(
    key="insect_shape",
    version="1",
    name="Moth or not, by shape",
    task="classification",
    description="Tells moths from other insects by outline, thickness, legs and colour; fitted on drawn photographs.",
    labels=("moth", "nonmoth"),
)

# Insects whose longer side is shorter than min_size are left out, in pixels of the photograph. 0: 0.9 % of the
# photograph's longer side, 37 pixels at 4096, for traps differ in resolution more than in sheet size.
_SETTINGS: Final = {"min_score": 0.4, "min_size": 0}

LIGHT_TRAP_INSECTS = PipelineSpec(
    slug="light_trap_insects",
    name="Light trap insects",
    version="1",
    description="Finds insects on a lit sheet and tells moths from others, on CPU, without any download.",
    algorithms=(BLOBS, SHAPE),
    factory="antenna_orchestration.pipelines.light_trap_blobs:LightTrapBlobs",
    default_config=_SETTINGS,
    batch_size=4,
)

LIGHT_TRAP_NETWORK = PipelineSpec(
    slug="light_trap_network",
    name="Light trap insects, by network",
    version="1",
    description="Finds insects on a lit sheet and tells moths from others with a small network; no download.",
    algorithms=(NETWORK, NETWORK_MOTHS),
    factory="antenna_orchestration.pipelines.light_trap_network:LightTrapNetwork",
    default_config=_SETTINGS,
    batch_size=4,
)

PIPELINES = [LIGHT_TRAP_INSECTS, LIGHT_TRAP_NETWORK]
