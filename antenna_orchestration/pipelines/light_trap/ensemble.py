"""The default pipeline, `light_trap_insects`: runs the network and the blob detector and merges what they find.

Each half is also a pipeline of its own; `candidates.agree` merges their candidates. Only device processes import this
module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, PipelineSpec, RawImage
from antenna_orchestration.pipelines.light_trap import blob_detector, network_detector, sheets, specs
from antenna_orchestration.pipelines.light_trap.candidates import agree, as_result, without_duplicates

_SIDE: Final = max(blob_detector.WORKING_SIDE, network_detector.WORKING_SIDE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A photograph, prepared for both halves."""

    network: network_detector.Prepared
    blobs: blob_detector.Prepared


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """What both halves found in a photograph."""

    network: network_detector.Looks
    blobs: sheets.Departure


class LightTrapInsects(Pipeline[Prepared, Raw]):
    """Runs the network on the worker's device and the blob detector on the CPU."""

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        super().__init__(spec, config, top_k=top_k)
        self._network = network_detector.LightTrapNetwork(specs.LIGHT_TRAP_NETWORK, self.config)
        self._blobs = blob_detector.LightTrapBlobs(specs.LIGHT_TRAP_BLOBS, self.config)

    def load(self, device: str) -> None:
        """Load the network. Raises `InternalError` if its weights are not the ones that were released."""
        self._network.load(device)

    def prepare(self, image: RawImage) -> Prepared:
        """Raises `ImageUnusable` as `images.decode` does."""
        decoded = images.decode(image.data, shrink_to=_SIDE)
        return Prepared(network=self._network.shape(decoded), blobs=self._blobs.shape(decoded))

    def infer(self, batch: Sequence[Prepared]) -> Sequence[Raw]:
        """Run the network on all photographs, then the blob detector."""
        looks = self._network.infer([prepared.network for prepared in batch])
        departures = self._blobs.infer([prepared.blobs for prepared in batch])
        return [Raw(network=look, blobs=departure) for look, departure in zip(looks, departures, strict=True)]

    def finish(self, prepared: Prepared, raw: Raw) -> ImageResult:
        """Detections, best score first."""
        found = agree(
            self._network.candidates(prepared.network, raw.network), self._blobs.candidates(prepared.blobs, raw.blobs)
        )
        width, height = prepared.blobs.width, prepared.blobs.height
        return as_result(without_duplicates(found), self.spec, self.config, width=width, height=height)

    def example(self) -> RawImage:
        """A plain grey sheet."""
        return images.grey_photograph()
