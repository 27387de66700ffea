"""The measured speed of this worker, and how many tasks it may therefore have in hand. Pure: no clock, no queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Final

from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from antenna_orchestration.worker.policy.lease_time import LeaseTime

COLD_LEASE: Final = 2
"""The most images of a batch group in hand until its speed is known, that is, until its first batch is finished."""

AHEAD: Final = 0.05
"""Seconds of work to have ready, against hiccups, where a batch takes less than that."""

STARVED: Final = 0.2
"""Share of its time that the device may wait for images to be prepared; above it, more batches are prepared at once."""

_LATENCY_MARGIN: Final = 1.5
_NEWEST: Final = 0.3
_NEWEST_IF_BETTER: Final = 0.5
"""Weight of the newest measurement."""

_CHEAPEST: Final = 1e-5
"""Seconds; below this a measured cost is the clock's grain."""


class DeviceSpeed:
    """Device seconds per image of each batch group, seconds per lease and load, and what follows from them."""

    def __init__(self, *, lease_time: LeaseTime, prepare_threads: int, batch_size: int = 0) -> None:
        """`batch_size`: images per batch; 0 is each pipeline's own choice."""
        self._prepare_threads = prepare_threads
        self._batch_size = batch_size
        self._depths: dict[BatchGroup, int] = {}
        self._lease_time = lease_time
        self._costs: dict[BatchGroup, float] = {}
        self._limits: dict[BatchGroup, int] = {}
        # Seconds from asking for tasks to having them, and from then on to having an image.
        self._lease_latency = 0.0
        self._load_latency = 0.0

    @property
    def _half_lease(self) -> float:
        """Whatever is reserved must be finished within it."""
        return self._lease_time.seconds / 2

    def loaded(self, seconds: float) -> None:
        """Record that an image was loaded in so many seconds."""
        self._load_latency = _averaged(self._load_latency, seconds)

    def leased(self, seconds: float) -> None:
        """Record that a task was leased so many seconds after it was asked for."""
        self._lease_latency = _averaged(self._lease_latency, seconds)

    def finished(self, group: BatchGroup, images: int, seconds: float, *, starved: float = 0.0) -> None:
        """Record that the device spent so many seconds on a batch, `starved` of them waiting for it to be prepared."""
        depth = self.depth(group)
        if starved > STARVED * seconds and depth * images < self._prepare_threads:
            self._depths[group] = depth + 1
        cost = max(seconds / images, _CHEAPEST)
        known = self._costs.get(group)
        if known is None:
            self._costs[group] = cost
        else:
            # A faster measurement weighs more: the first batches also pay for one-time work.
            self._costs[group] = known + (cost - known) * (_NEWEST if cost > known else _NEWEST_IF_BETTER)

    def limit(self, group: BatchGroup, images: int | None) -> None:
        """Record how many images of the group to infer at once; None while the process never ran out of memory."""
        if images is None:
            self._limits.pop(group, None)
        else:
            self._limits[group] = images

    def depth(self, group: BatchGroup) -> int:
        """Batches of the group to have in the device process beside the one that is being inferred; 1 or more."""
        return self._depths.get(group, 1)

    def is_cold(self, group: BatchGroup) -> bool:
        """Whether the speed of the group is not known yet."""
        return group not in self._costs

    def cost(self, group: BatchGroup) -> float:
        """Device seconds per image; for a cold group the mean of the others."""
        if group in self._costs:
            return self._costs[group]
        return sum(self._costs.values()) / len(self._costs) if self._costs else 1.0

    @property
    def per_pipeline(self) -> dict[str, float]:
        """Device seconds per image by slug; the mean of its configurations."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for group, cost in self._costs.items():
            found[group.slug].append(cost)
        return {slug: mean(costs) for slug, costs in found.items()}

    def rate(self, groups: Iterable[BatchGroup]) -> float:
        """Images per second that the device processes take, each of its fastest group; those unknown do not count."""
        fastest: dict[str, float] = {}
        for group in groups:
            if group in self._costs:
                fastest[group.process] = max(fastest.get(group.process, 0.0), 1 / self._costs[group])
        return sum(fastest.values())

    def batch(self, group: BatchGroup) -> int:
        """Images that go to the device together: the batch size, or fewer if two batches would exceed half a lease."""
        wanted = self._batch_size or group.spec.batch_size
        wanted = min(wanted, self._limits.get(group, wanted))
        if self.is_cold(group):
            return min(wanted, COLD_LEASE)
        return max(1, min(wanted, int(self._half_lease / 2 / self._costs[group])))

    def room(
        self, *, batches: Mapping[BatchGroup, int], unstarted: Mapping[BatchGroup, int], held: Mapping[BatchGroup, int]
    ) -> float:
        """Device seconds of work that may be leased now.

        Enough for a full batch of the slowest group to be ready when the device is free, and for what the device takes
        while others are leased and loaded; never more than can be finished within half a lease together with all that
        is in hand. With nothing in hand it is at least one image. `batches` maps the groups that may be leased
        from to their batch sizes, `unstarted` counts the images that the device has not begun with, `held` all.
        """
        if not batches:
            return 0.0
        ahead = max(self.cost(group) * size * self.depth(group) for group, size in batches.items())
        ahead = max(ahead, AHEAD) + _LATENCY_MARGIN * (self._lease_latency + self._load_latency)
        waiting = sum(self.cost(group) * images for group, images in unstarted.items())
        in_hand = sum(self.cost(group) * images for group, images in held.items())
        room = min(ahead - waiting, self._half_lease - in_hand)
        return max(room, *map(self.cost, batches)) if in_hand <= 0 else max(room, 0.0)


def _averaged(known: float, newest: float) -> float:
    return known + (newest - known) * (_NEWEST if known else 1.0)
