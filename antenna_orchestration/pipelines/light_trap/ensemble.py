"""The default pipeline at work: the network and the blobs look at each photograph, and their findings become one list.

Imported by device processes only. Each half is a pipeline of its own; how they agree is in `candidates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, PipelineSpec, RawImage
from antenna_orchestration.pipelines.light_trap import blob_detector, network_detector, sheets, specs
from antenna_orchestration.pipelines.light_trap.candidates import agree, as_detections, without_doubles

_SIDE: Final = max(blob_detector.WORKING_SIDE, network_detector.WORKING_SIDE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A photograph ready for both."""

    network: network_detector.Prepared
    blobs: blob_detector.Prepared


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """What both say of it."""

    network: network_detector.Looks
    blobs: sheets.Departure


class LightTrapInsects(Pipeline[Prepared, Raw]):
    """The network runs on the device that the worker has, the blobs on the CPU."""

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        super().__init__(spec, config, top_k=top_k)
        self._network = network_detector.LightTrapNetwork(specs.LIGHT_TRAP_NETWORK, self.config)
        self._blobs = blob_detector.LightTrapBlobs(specs.LIGHT_TRAP_BLOBS, self.config)

    def load(self, device: str) -> None:
        """Raises `InternalError` when the network's weights are not the ones it was released with."""
        self._network.load(device)

    def prepare(self, image: RawImage) -> Prepared:
        """Raises `ImageUnusable` as `images.decode` does."""
        decoded = images.decode(image.data, shrink_to=_SIDE)
        return Prepared(network=self._network.shape(decoded), blobs=self._blobs.shape(decoded))

    def infer(self, batch: Sequence[Prepared]) -> Sequence[Raw]:
        """Both, one photograph after the other."""
        looks = self._network.infer([prepared.network for prepared in batch])
        departures = self._blobs.infer([prepared.blobs for prepared in batch])
        return [Raw(network=look, blobs=departure) for look, departure in zip(looks, departures, strict=True)]

    def finish(self, prepared: Prepared, raw: Raw) -> ImageResult:
        """Detections, most certain first."""
        found = agree(
            self._network.candidates(prepared.network, raw.network), self._blobs.candidates(prepared.blobs, raw.blobs)
        )
        width, height = prepared.blobs.width, prepared.blobs.height
        detections = as_detections(
            without_doubles(found),
            specs.DETECTOR,
            specs.MOTHS,
            min_score=self.config["min_score"],
            min_size=specs.least_size(self.config, width, height),
        )
        return ImageResult(width=width, height=height, detections=detections)

    def example(self) -> RawImage:
        """An even grey sheet."""
        return self._network.example()
