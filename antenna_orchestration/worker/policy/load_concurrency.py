"""How many images are loaded from one source at a time: what the device needs, if the source can give it.

By Little's law a device that takes r images per second needs r images times the seconds of a load on their way. So
each source begins with `START` loads at a time. Where these are not enough, more are tried, up to what the measured
time of a load and the speed of the device ask for; what brought no more images per second is taken back, and a source
that says it is overloaded is asked for half. Pure: times are seconds by the worker's clock, handed in.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from antenna_orchestration.domain.backoff import Backoff

START: Final = 16
"""Loads at a time from a source that is not known yet: enough for a LAN, a NAS or a bucket, and bearable for all."""

GROWTH: Final = 2
"""More at a time is tried by this factor at most, so that a source is asked for little more than it gives."""

MARGIN: Final = 2.0
"""Times what the mean time of a load asks for: times vary, and a device that waits once has lost that time."""

LIMITED: Final = 0.9
"""Share of the loads of a period at whose end others waited; from it on, the source and not the device is the limit."""

LOOK_AFTER: Final = 4
PERIOD: Final = 1.0
"""A period lasts for so many loads for each that may be under way, and so many seconds."""

WORTH_IT: Final = 0.25
"""Share of the growth of loads by which the images per second have to grow at least."""

REST: Final = Backoff(first=10.0, longest=600.0)
"""Seconds until more is tried again after it was no good; longer each time."""


class LoadConcurrency:
    """The loads under way from each source, how many may be, and what becomes of that."""

    def __init__(self, most: int) -> None:
        """`most`: images that are loaded at the same time from all sources together."""
        self._most = most
        self._sources: defaultdict[str, _Source] = defaultdict(lambda: _Source(limit=min(START, most)))

    def limit(self, source: str) -> int:
        """How many images may be loaded from this source at a time; at least 1."""
        return self._sources[source].limit

    def has_room(self, source: str) -> bool:
        """Whether one more may be loaded now."""
        known = self._sources[source]
        return known.under_way < known.limit

    def began(self, source: str) -> None:
        """Record that the loading of an image began."""
        self._sources[source].under_way += 1

    def ended(self, source: str) -> None:
        """Record that it ended, whatever came of it."""
        self._sources[source].under_way -= 1

    def loaded(self, source: str, *, began: float, now: float, others_wait: bool) -> bool:
        """Record that an image was loaded; `others_wait` if another one could have been, had there been room.

        Returns whether it is time to `review` the source.
        """
        return self._sources[source].loaded(began=began, now=now, others_wait=others_wait)

    def review(self, source: str, now: float, *, wanted: float, room: float) -> bool:
        """Judge by what was measured since the last review; returns whether more may be loaded at a time than before.

        `wanted` is the images per second that the devices take, and `room` the images that may be under way for want of
        memory.
        """
        return self._sources[source].review(now, wanted=wanted, most=min(self._most, max(1, int(room))))

    def overloaded(self, source: str, *, began: float, now: float) -> None:
        """Record that the source could not keep up, as it answered to a load that began then, or did not answer."""
        self._sources[source].overloaded(began=began, now=now)


@dataclass(slots=True)
class _Source:
    limit: int
    under_way: int = 0
    # Loads that began before do not show what the limit does.
    changed_at: float = -math.inf
    # What was measured since: first so many loads that do not count, while connections are opened.
    to_skip: int = 0
    since: float = -math.inf
    loads: int = 0
    seconds: float = 0.0
    limited: int = 0
    # While more is tried: the limit before, and its images per second.
    before: tuple[int, float] | None = None
    # Times in a row that more was no good, and until when it is not tried.
    setbacks: int = 0
    rests_until: float = -math.inf

    def loaded(self, *, began: float, now: float, others_wait: bool) -> bool:
        if began < self.changed_at:
            return False
        if self.to_skip:
            self.to_skip -= 1
            self.since = now
            return False
        if not self.loads and self.since == -math.inf:
            self.since = began
        self.loads += 1
        self.seconds += now - began
        self.limited += others_wait
        return self.loads >= LOOK_AFTER * self.limit and now - self.since >= PERIOD

    def review(self, now: float, *, wanted: float, most: int) -> bool:
        if not self.loads:
            return False
        latency = max(self.seconds / self.loads, 1e-6)
        is_limited = self.limited >= LIMITED * self.loads
        # As many as may be were under way all the time; idle time between two jobs does not count.
        rate = self.limit / latency
        before, self.before = self.before, None
        if before is not None and is_limited:
            least = before[1] * (1 + WORTH_IT * (self.limit / before[0] - 1))
            if rate < least:
                self._set_back(now)
                self._change(before[0], now)
                return False
            self.setbacks = 0
        needed = min(math.ceil(MARGIN * wanted * latency), GROWTH * self.limit, most)
        if is_limited and needed > self.limit and now >= self.rests_until:
            self.before = (self.limit, rate)
            self._change(needed, now)
            return True
        self._measure_anew(now)
        return False

    def overloaded(self, *, began: float, now: float) -> None:
        if began < self.changed_at:
            # Loads that were under way together tell the same, and half was taken back for it.
            return
        self._set_back(now)
        self.before = None
        self._change(max(1, self.limit // 2), now)

    def _set_back(self, now: float) -> None:
        if now >= self.rests_until:
            self.setbacks += 1
        self.rests_until = now + REST.pause(max(1, self.setbacks))

    def _change(self, limit: int, now: float) -> None:
        self.limit = limit
        self.changed_at = now
        self.to_skip = limit
        self._measure_anew(now)

    def _measure_anew(self, now: float) -> None:
        self.since, self.loads, self.seconds, self.limited = now, 0, 0.0, 0
