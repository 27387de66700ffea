"""The null pipeline: it invents insects from an image's id, for tests and benchmarks of everything around pipelines.

It neither imports torch nor decodes pixels, and it always returns the same result for the same id. The only fault that
it can imitate is a failing image; the tests have a pipeline of their own that hangs or crashes.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import Classification, Detection, GivenBox
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

SIDE = 1000.0
"""Width and height, in pixels, of the imaginary image that the boxes are in."""

_MASK = (1 << 64) - 1

NULL = PipelineSpec(
    slug="null",
    name="Null",
    version="2",
    description="Invents the same insects for an image every time, without opening it; for tests and benchmarks.",
    algorithms=(
        AlgorithmSpec(key="null_detector", version="1", name="Null detector", task="localization"),
        AlgorithmSpec(
            key="null_classifier",
            # Version 1, of version 1 of the pipeline, declared two labels however many a job asked for.
            version="2",
            name="Null classifier",
            task="classification",
            description="Labels class-0 to class-(N-1), N being the job's setting `classes`.",
        ),
    ),
    factory=f"{__name__}:NullPipeline",
    default_config={"detections": 1, "classes": 2, "delay_ms": 0, "fail_share": 0.0, "full_scores": False},
    ranges={"detections": (0, 100_000), "classes": (0, 1_000_000), "delay_ms": (0, 86_400_000), "fail_share": (0, 1)},
    meanings={
        "detections": "Insects per image.",
        "classes": "Classes of the imaginary classifier; with 0, detections are not classified.",
        "delay_ms": "Inference time per image, in milliseconds; a batch takes the sum.",
        "fail_share": "Share of the images that fail; their ids decide which.",
        "full_scores": "Whether results carry the whole score vector too, to measure large results.",
    },
    takes_detections=True,
    batch_size=16,
)

PIPELINES = [NULL]


class _Prepared(NamedTuple):
    """What is known of an image: the bits, and the boxes that it is given."""

    seed: int
    given: Sequence[GivenBox] | None


class NullPipeline(Pipeline[_Prepared, _Prepared]):
    """`prepare` hashes the image's id to 64 bits; boxes, labels and scores are made from these bits."""

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        super().__init__(spec, config, top_k=top_k)
        self._detections = int(self.config["detections"])
        self._classes = int(self.config["classes"])
        self._delay = float(self.config["delay_ms"]) / 1000
        self._fail_below = float(self.config["fail_share"]) * (_MASK + 1)
        detector, classifier = spec.algorithms
        self._detector, self._classifier = detector.ref, classifier.ref
        # The best class has a probability of 1/2, the next 1/4, then 1/8, and so on.
        self._scores = [0.5 ** (rank + 1) for rank in range(min(top_k, self._classes))]
        self._made: dict[int, list[Classification]] = {}

    def prepare(self, image: RawImage) -> _Prepared:
        """Hash the image's id. Raises `ImageUnusable` for the images that `fail_share` selects."""
        seed = _mixed(image.image)
        if seed < self._fail_below:
            raise errors.ImageUnusable(f"the null pipeline fails image {image.image}, as its fail_share asks")
        return _Prepared(seed, image.detections)

    def infer(self, batch: Sequence[_Prepared]) -> Sequence[_Prepared]:
        """Return the batch as it is, after `delay_ms` per image."""
        if self._delay:
            time.sleep(self._delay * len(batch))
        return batch

    def finish(self, prepared: _Prepared, raw: _Prepared) -> ImageResult:
        """Square boxes of 20 to 83 pixels within `SIDE`; width and height are None, because nothing was decoded."""
        detections = []
        seed = prepared.seed
        given = prepared.given
        for number in range(self._detections if given is None else len(given)):
            seed = (seed * 6364136223846793005 + 1442695040888963407) & _MASK
            x, y, side = (seed >> 44) % 900, (seed >> 24) % 900, 20 + (seed >> 58)
            detections.append(
                Detection(
                    box=given[number].box if given else (float(x), float(y), float(x + side), float(y + side)),
                    score=0.5 + ((seed >> 33) & 0xFF) / 512,
                    algorithm=self._detector,
                    classifications=self._classified((seed >> 33) % self._classes) if self._classes else [],
                )
            )
        return ImageResult(width=None, height=None, detections=detections)

    def _classified(self, best: int) -> list[Classification]:
        """The classifications of a detection whose best class is `best`; all such detections share the objects."""
        if best in self._made:
            return self._made[best]
        order = [(best + rank) % self._classes for rank in range(len(self._scores))]
        made = [
            Classification(
                algorithm=self._classifier,
                label=f"class-{best}",
                score=self._scores[0],
                top_labels=[f"class-{index}" for index in order],
                top_scores=self._scores,
                scores=self._vector(order) if self.config["full_scores"] else None,
            )
        ]
        # Whole vectors are not kept: 29,176 of them with 29,176 classes each would take 1.7 GB.
        if not self.config["full_scores"]:
            self._made[best] = made
        return made

    def _vector(self, order: Sequence[int]) -> bytes:
        vector = bytearray(2 * self._classes)
        for index, score in zip(order, self._scores, strict=True):
            struct.pack_into("<e", vector, 2 * index, score)
        return bytes(vector)


def _mixed(number: int) -> int:
    """Hash an id to 64 bits, so that consecutive ids differ in all bits (the finalizer of SplitMix64)."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
