"""The default pipeline, `light_trap_insects`: runs the network and the blob detector and merges what they find.

Each half is also a pipeline of its own; `candidates.agree` merges their candidates. Only device processes import this
module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, PipelineSpec, RawImage
from antenna_orchestration.pipelines.light_trap import blob_detector, network_detector, specs
from antenna_orchestration.pipelines.light_trap.candidates import agree, as_result, without_duplicates

_SIDE: Final = max(blob_detector.WORKING_SIDE, network_detector.WORKING_SIDE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A photograph, prepared for the network, and what the blob detector found in it."""

    network: network_detector.Prepared
    blobs: blob_detector.Prepared


class LightTrapInsects(Pipeline[Prepared, network_detector.Looks]):
    """Runs the network on the worker's device, and the blob detector on the CPU, in `prepare`."""

    infers_side_by_side: ClassVar[bool] = True

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        super().__init__(spec, config, top_k=top_k)
        self._network = network_detector.LightTrapNetwork(specs.LIGHT_TRAP_NETWORK, self.config)
        self._blobs = blob_detector.LightTrapBlobs(specs.LIGHT_TRAP_BLOBS, self.config)

    def load(self, device: str) -> None:
        """Load the network. Raises `InternalError` if its weights are not the ones that were released."""
        self._network.load(device)
        self.engine = self._network.engine

    def prepare(self, image: RawImage) -> Prepared:
        """Raises `ImageUnusable` as `images.decode` does."""
        decoded = images.decode(image.data, shrink_to=_SIDE)
        return Prepared(network=self._network.shape(decoded), blobs=self._blobs.shape(decoded))

    def infer(self, batch: Sequence[Prepared]) -> Sequence[network_detector.Looks]:
        """Run the network."""
        return self._network.infer([prepared.network for prepared in batch])

    def finish(self, prepared: Prepared, raw: network_detector.Looks) -> ImageResult:
        """Detections, best score first."""
        found = agree(self._network.candidates(prepared.network, raw), prepared.blobs.found)
        width, height = prepared.blobs.width, prepared.blobs.height
        return as_result(without_duplicates(found), self.spec, self.config, width=width, height=height)

    def example(self) -> RawImage:
        """A plain grey sheet."""
        return images.grey_photograph()
