"""How fast this worker is, as measured, and how much it may therefore have in hand. Pure: no clock, no queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from antenna_orchestration.worker.policy.batch_groups import BatchGroup

COLD_LEASE: Final = 2
"""Images of a lane in hand until the first of them was finished: nothing is known of its speed."""

AHEAD: Final = 0.05
"""Seconds of work reserved beyond what loading takes, against hiccups, where a batch is shorter than that."""

STARVED: Final = 0.2
"""Share of its time that the device may wait for images to be prepared before more batches are prepared at a time."""

_LATENCY_MARGIN: Final = 1.5
_NEWEST: Final = 0.3
_NEWEST_IF_BETTER: Final = 0.5
"""Weight of the newest measurement."""

_CHEAPEST: Final = 1e-5
"""Seconds; below this a measured cost is the clock's grain."""


class DeviceSpeed:
    """Device seconds an image of each lane takes, and seconds that loading one takes."""

    def __init__(self, *, ack_wait: float, prepare_threads: int) -> None:
        self._prepare_threads = prepare_threads
        self._depths: dict[BatchGroup, int] = {}
        # What is reserved has to be finished within half a lease.
        self._half_lease = ack_wait / 2
        self._costs: dict[BatchGroup, float] = {}
        self._limits: dict[BatchGroup, int] = {}
        self._latency = 0.0

    def loaded(self, seconds: float) -> None:
        """An image was loaded in so many seconds."""
        self._latency += (seconds - self._latency) * (_NEWEST if self._latency else 1.0)

    def finished(self, lane: BatchGroup, images: int, seconds: float, *, starved: float = 0.0) -> None:
        """The device spent so many seconds on a batch, `starved` of them waiting for it to be prepared."""
        depth = self.depth(lane)
        if starved > STARVED * seconds and depth * images < self._prepare_threads:
            self._depths[lane] = depth + 1
        cost = max(seconds / images, _CHEAPEST)
        known = self._costs.get(lane)
        if known is None:
            self._costs[lane] = cost
        else:
            # Quicker is believed sooner: the first batches also pay for what happens once.
            self._costs[lane] = known + (cost - known) * (_NEWEST if cost > known else _NEWEST_IF_BETTER)

    def limit(self, lane: BatchGroup, images: int) -> None:
        """The device's memory holds so many images of the lane at once."""
        self._limits[lane] = images

    def depth(self, lane: BatchGroup) -> int:
        """Batches to have in the device process beside the one that is inferred."""
        return self._depths.get(lane, 1)

    def is_cold(self, lane: BatchGroup) -> bool:
        """Whether nothing of the lane was finished yet."""
        return lane not in self._costs

    def cost(self, lane: BatchGroup) -> float:
        """Device seconds an image takes; for a cold lane the mean of the others."""
        if lane in self._costs:
            return self._costs[lane]
        return sum(self._costs.values()) / len(self._costs) if self._costs else 1.0

    def batch(self, lane: BatchGroup, wanted: int) -> int:
        """Images in a batch: as wanted, unless two such batches take longer than half a lease."""
        wanted = min(wanted, self._limits.get(lane, wanted))
        if self.is_cold(lane):
            return min(wanted, COLD_LEASE)
        return max(1, min(wanted, int(self._half_lease / 2 / self._costs[lane])))

    def room(
        self, *, batches: Mapping[BatchGroup, int], unstarted: Mapping[BatchGroup, int], held: Mapping[BatchGroup, int]
    ) -> float:
        """Device seconds of work that may be leased now.

        A full batch of the slowest lane for when the device is free, more only if batches pass quicker than images are
        loaded; and never more than what can be finished, with all that is in hand, within half a lease. With nothing in
        hand it is at least one image. `batches` has the lanes that may be leased from with their batch sizes,
        `unstarted` the images that the device has not begun with, `held` all.
        """
        if not batches:
            return 0.0
        ahead = max(self.cost(lane) * size * self.depth(lane) for lane, size in batches.items())
        ahead = max(ahead, _LATENCY_MARGIN * self._latency + AHEAD)
        waiting = sum(self.cost(lane) * images for lane, images in unstarted.items())
        in_hand = sum(self.cost(lane) * images for lane, images in held.items())
        room = min(ahead - waiting, self._half_lease - in_hand)
        return max(room, *map(self.cost, batches)) if in_hand <= 0 else max(room, 0.0)
