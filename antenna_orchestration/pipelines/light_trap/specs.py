"""Descriptions of the light-trap pipelines: a small network, classical image processing, and the default with both.

All were trained or fitted on drawn pictures only; `docs/model-card.md` says what each finds and misses. The work is
done in the modules that `factory` names, which only device processes import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from antenna_orchestration.domain import score_vectors
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec

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

DETECTOR = AlgorithmSpec(
    key="light_trap_detector",
    version="1",
    name="Light trap detector",
    task="localization",
    description=(
        "Finds insects on a lit sheet: what the insect network and the light trap blobs agree on counts fully, what "
        "one of them sees counts half."
    ),
)

MOTHS = AlgorithmSpec(
    key="light_trap_moths",
    version="1",
    name="Moth or not",
    task="classification",
    description="Tells moths from other insects: the mean of what network and shape say.",
    labels=("moth", "nonmoth"),
)

SETTINGS: Final = {"min_score": 0.4, "min_size": 0, score_vectors.SETTING: score_vectors.AUTO}

CHOICES: Final = {score_vectors.SETTING: score_vectors.CHOICES}

RANGES: Final = {"min_score": (0, 1), "min_size": (0, 100_000)}

MEANINGS: Final = {
    "min_score": "Smallest score of a detection; fewer and surer insects with a higher one.",
    # Because traps differ more in resolution than in the size of the sheet.
    "min_size": "Smallest longer side of a detection, in pixels of the photograph; 0 stands for 0.9 % of the "
    "photograph's longer side (37 pixels at 4096).",
    score_vectors.SETTING: score_vectors.MEANING,
}


def least_size(config: Mapping[str, Any], width: int, height: int) -> float:
    """The smallest longer side of a detection, in pixels of a photograph of `width` x `height` pixels."""
    return float(config["min_size"]) or 0.009 * max(width, height)


LIGHT_TRAP_INSECTS = PipelineSpec(
    slug="light_trap_insects",
    name="Light trap insects",
    version="2",
    description="Finds insects on a lit sheet and tells moths from others, on CPU, without any download.",
    algorithms=(DETECTOR, MOTHS),
    factory="antenna_orchestration.pipelines.light_trap.ensemble:LightTrapInsects",
    # Low enough to include an insect that only one half sees, if it is nearly certain. Chosen on drawn photographs.
    default_config={**SETTINGS, "min_score": 0.3},
    choices=CHOICES,
    ranges=RANGES,
    meanings=MEANINGS,
    batch_size=4,
)

LIGHT_TRAP_NETWORK = PipelineSpec(
    slug="light_trap_network",
    name="Light trap insects, network alone",
    version="1",
    description="The trained half of light_trap_insects: for sheets that are uneven or do not fill the picture.",
    algorithms=(NETWORK, NETWORK_MOTHS),
    factory="antenna_orchestration.pipelines.light_trap.network_detector:LightTrapNetwork",
    default_config=SETTINGS,
    choices=CHOICES,
    ranges=RANGES,
    meanings=MEANINGS,
    batch_size=4,
)

LIGHT_TRAP_BLOBS = PipelineSpec(
    slug="light_trap_blobs",
    name="Light trap insects, blobs alone",
    version="1",
    description="The classical half of light_trap_insects: background subtraction and connected components.",
    algorithms=(BLOBS, SHAPE),
    factory="antenna_orchestration.pipelines.light_trap.blob_detector:LightTrapBlobs",
    default_config=SETTINGS,
    choices=CHOICES,
    ranges=RANGES,
    meanings=MEANINGS,
    batch_size=4,
)

PIPELINES = [LIGHT_TRAP_INSECTS, LIGHT_TRAP_NETWORK, LIGHT_TRAP_BLOBS]
