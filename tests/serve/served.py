"""A pipeline as somebody has one, under a slug of the test's own (`SLUG` is replaced): one moth in each photograph."""

from collections.abc import Sequence

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import helpers, images
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

FINDER = AlgorithmSpec(key="SLUG_finder", version="3", name="Finder", task="localization")
NAMER = AlgorithmSpec(
    key="SLUG_namer", version="4", name="Namer", task="classification", labels=("Noctua comes", "Noctua pronuba")
)
PIPELINES = [
    PipelineSpec(
        slug="SLUG", name="Served", version="5", description="Finds one moth.", algorithms=(FINDER, NAMER),
        factory=f"{__name__}:Served", batch_size=2,
    )
]  # fmt: skip


class Served(Pipeline[tuple[int, int], None]):
    """Looks at the size of a photograph."""

    def prepare(self, image: RawImage) -> tuple[int, int]:
        decoded = images.decode(image.data)
        return decoded.width, decoded.height

    def infer(self, batch: Sequence[tuple[int, int]]) -> Sequence[None]:
        return [None] * len(batch)

    def finish(self, prepared: tuple[int, int], raw: None) -> ImageResult:
        named = helpers.top_k(NAMER, [0.125, 0.875], 2)
        found = Detection(box=(1.0, 2.0, 30.0, 40.0), score=0.75, algorithm=FINDER.ref, classifications=[named])
        return ImageResult(width=prepared[0], height=prepared[1], detections=[found])
