"""The default pipeline's description: insects on the lit sheet of a light trap, with nothing to download.

Only the description: the work is in `light_trap_pipeline`, which a device process imports.
"""

from __future__ import annotations

from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec

DETECTOR = AlgorithmSpec(
    key="light_trap_blobs",
    version="1",
    name="Light trap blobs",
    task="localization",
    description=(
        "Finds what departs in lightness or colour from the smooth sheet that it stands on. Classical image "
        "processing; its scores were fitted on drawn photographs. Needs a lit, even background."
    ),
)

CLASSIFIER = AlgorithmSpec(
    key="insect_shape",
    version="1",
    name="Moth or not, by shape",
    task="classification",
    description="Tells moths from other insects by outline, thickness, legs and colour; fitted on drawn photographs.",
    labels=("moth", "nonmoth"),
)

LIGHT_TRAP_INSECTS = PipelineSpec(
    slug="light_trap_insects",
    name="Light trap insects",
    version="1",
    description="Finds insects on a lit sheet and tells moths from others, on CPU, without any download.",
    algorithms=(DETECTOR, CLASSIFIER),
    factory="antenna_orchestration.pipelines.light_trap_pipeline:LightTrapInsects",
    default_config={
        # Blobs less likely to be an insect than this are left out.
        "min_score": 0.4,
        # Insects whose longer side is shorter than this are left out, in pixels of the photograph. 0: 0.9 % of the
        # photograph's longer side, 37 pixels at 4096, for traps differ in resolution more than in sheet size.
        "min_size": 0,
    },
    batch_size=4,
)

PIPELINES = [LIGHT_TRAP_INSECTS]
