"""Takes loaded images through the device processes: in batches, several requests together, and the guilty one alone.

A batch that a process died with is tried again image by image, each with nothing else in that process. So whoever sent
the image that ends it learns of that, and nobody else does.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from antenna_orchestration import errors, kernel
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import DeviceLost, Shipment
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.policy.batch_groups import BatchGroup

logger = logging.getLogger(__name__)

DEPTH: Final = 2
"""Batches of a pipeline in its process at a time: one is inferred while the next is prepared."""


@dataclass(slots=True, eq=False)
class _Image:
    group: BatchGroup
    shipment: Shipment
    outcome: asyncio.Future[protocol.Done | protocol.Failed]
    # The process died with it and others.
    suspect: bool = False

    @property
    def is_unwanted(self) -> bool:
        """Whether whoever sent it has left."""
        return self.outcome.done()


@dataclass(slots=True)
class _Lane:
    """What waits for one device process, and what is in it."""

    ready: dict[BatchGroup, deque[_Image]] = field(default_factory=dict)
    suspects: deque[_Image] = field(default_factory=deque)
    flying: dict[asyncio.Task[None], list[_Image]] = field(default_factory=dict)

    def next_batch(self, size: int) -> list[_Image]:
        """The images to send now; empty if there are none, or they wait for more to fill a batch."""
        self._forget_unwanted()
        if any(batch[0].suspect for batch in self.flying.values()):
            return []
        if self.suspects:
            # Nothing else may be in the process.
            return [] if self.flying else [self.suspects.popleft()]
        # In the order of their oldest image.
        for group in sorted(self.ready, key=lambda one: self.ready[one][0].shipment.item.number):
            line, most = self.ready[group], size or group.spec.batch_size
            flights = sum(batch[0].group is group for batch in self.flying.values())
            if not flights or (flights < DEPTH and len(line) >= most):
                return [line.popleft() for _ in range(min(most, len(line)))]
        return []

    def _forget_unwanted(self) -> None:
        self.suspects = deque(one for one in self.suspects if not one.is_unwanted)
        for line in self.ready.values():
            if any(one.is_unwanted for one in line):
                kept = [one for one in line if not one.is_unwanted]
                line.clear()
                line.extend(kept)
        self.ready = {group: line for group, line in self.ready.items() if line}


class Lanes:
    """One lane for each device process."""

    def __init__(self, device: DevicePool, *, batch_size: int) -> None:
        """`batch_size`: images per batch; 0 is each pipeline's own choice."""
        self._device = device
        self._batch_size = batch_size
        self._numbers = itertools.count()
        # By `BatchGroup.process`.
        self._lanes: defaultdict[str, _Lane] = defaultdict(_Lane)

    async def process(self, group: BatchGroup, item: protocol.Item, data: bytes) -> protocol.Done | protocol.Failed:
        """Process an image; its `number` is given here.

        Raises `DeviceLost` when the process dies of it, and `PipelineUnavailable` when the pipeline cannot be loaded.
        """
        numbered = protocol.Item(next(self._numbers), len(data), item.image, item.uri, None, None, item.detections)
        image = _Image(group, Shipment(item=numbered, data=data), asyncio.get_running_loop().create_future())
        self._put(image)
        try:
            return await image.outcome
        except asyncio.CancelledError:
            image.outcome.cancel()
            await asyncio.shield(self._device.forget([numbered.number]))
            raise

    async def end(self) -> None:
        """Stop waiting for what is in the device processes."""
        flights = [task for lane in self._lanes.values() for task in lane.flying]
        await kernel.end(*flights)

    def _put(self, image: _Image) -> None:
        lane = self._lanes[image.group.process]
        if image.suspect:
            lane.suspects.append(image)
        else:
            lane.ready.setdefault(image.group, deque()).append(image)
        self._send(lane)

    def _send(self, lane: _Lane) -> None:
        while batch := lane.next_batch(self._batch_size):
            task = asyncio.create_task(self._fly(lane, batch), name=f"batch-{batch[0].shipment.item.number}")
            lane.flying[task] = batch

    async def _fly(self, lane: _Lane, batch: list[_Image]) -> None:
        try:
            await self._device.load_despite_losses(batch[0].group)
            report = await self._device.run(batch[0].group, [one.shipment for one in batch], lambda: None)
        except DeviceLost as lost:
            self._after_loss(batch, lost)
        except errors.AntennaError as error:
            _fail(batch, error)
        except Exception as error:
            logger.exception("a batch of %s", batch[0].group.slug)
            _fail(batch, errors.InternalError(f"{type(error).__name__}: {error}"))
        else:
            self._sort_out(batch, report)
        finally:
            this = asyncio.current_task()
            assert this is not None
            lane.flying.pop(this, None)
            self._send(lane)

    def _sort_out(self, batch: Sequence[_Image], report: protocol.Report) -> None:
        images = {one.shipment.item.number: one for one in batch}
        for said in report.outcomes:
            image = images[said.number]
            if image.is_unwanted:
                continue
            if isinstance(said, protocol.Dropped):
                # Its pipeline had to leave the device before its turn came.
                self._put(image)
            else:
                image.outcome.set_result(said)

    def _after_loss(self, batch: Sequence[_Image], lost: DeviceLost) -> None:
        """A single image is the cause; of several, each is tried alone. What may be no image's fault is tried again."""
        if len(batch) == 1 and lost.alone and (batch[0].suspect or not lost.may_be_ours):
            _fail(batch, lost)
            return
        for image in batch:
            if not image.is_unwanted:
                image.suspect = True
                self._put(image)


def _fail(batch: Sequence[_Image], error: errors.AntennaError) -> None:
    for image in batch:
        if not image.is_unwanted:
            image.outcome.set_exception(error)
