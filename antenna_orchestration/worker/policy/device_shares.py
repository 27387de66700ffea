"""Which device processes wait until others had their share of the device. Pure: time is handed in.

A worker's device processes work side by side on one device, and the operating system or the driver divides it among
those that have something to do, whatever the priorities of their jobs. All that can be decided is who gets nothing new
to do for a while. So each process has a *lead*: the device seconds that it had beyond its share, in proportion to the
weights of its jobs, of the time in which several of them wanted the device. One that leads another by more than
`LEAD` is not leased for while that other one works.

While n processes work side by side, each has a second of the device in n seconds. A process that has nothing to do
neither gains nor loses, and nobody waits for it, nor for one that takes much longer than it should. While the device
has time left, nobody waits at all.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final

LEAD: Final = 1.0
"""Device seconds by which a process may lead another one that works."""

MOST: Final = 30.0
"""Device seconds by which processes differ at most; what is beyond is forgiven."""

OVERDUE: Final = 4.0
"""Times what its work should take, and `OVERDUE_LEAST` seconds, after which nobody waits for a process any more."""

OVERDUE_LEAST: Final = 2.0


@dataclass(frozen=True, slots=True)
class Demand:
    """The weights of the jobs of one device process from which something may be leased."""

    ordinary: float = 0.0
    interactive: float = 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one device process is due."""

    # Share of the device, in proportion to those of the others.
    weight: float
    # The part of it that is for interactive jobs.
    interactive: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a device process has to do now."""

    # Another one whenever the process made progress.
    mark: Hashable
    # How long it should take.
    seconds: float


def shares(demands: Mapping[str, Demand]) -> dict[str, Share]:
    """The share of each process whose jobs have something: interactive jobs get half together, the others half."""
    ordinary = sum(demand.ordinary for demand in demands.values())
    interactive = sum(demand.interactive for demand in demands.values())
    found: dict[str, Share] = {}
    for process, demand in demands.items():
        ours = demand.ordinary / ordinary if ordinary else 0.0
        urgent = demand.interactive / interactive if interactive else 0.0
        if ours or urgent:
            found[process] = Share(ours + urgent, urgent / (ours + urgent))
    return found


class DeviceShares:
    """Keeps the leads of the device processes."""

    def __init__(self) -> None:
        self._leads: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        # Those that worked since the last look, and those that would have if they had not been held back.
        self._at_work: set[str] = set()
        self._held_back: set[str] = set()
        self._looked_at = 0.0
        self._was_crowded = False
        # What each process was at work on at the last look, and since when.
        self._work: dict[str, tuple[Hashable, float]] = {}

    def held_back(
        self, now: float, *, due: Mapping[str, Share], work: Mapping[str, Work], crowded: bool = True
    ) -> set[str]:
        """The processes that nothing may be leased for now.

        `due`: the shares of those whose jobs have something. `work`: what those have to do that have something to do.
        `crowded`: whether the device has been used to the full.
        """
        if crowded and self._was_crowded:
            self._account(now - self._looked_at)
        self._looked_at, self._was_crowded = now, crowded
        self._weights = {process: share.weight for process, share in due.items()}
        self._at_work = self._moving(now, work) & due.keys()
        self._renew()
        least = min((self._leads[process] for process in self._at_work), default=math.inf)
        self._held_back = {process for process, lead in self._leads.items() if crowded and lead - least > LEAD}
        return self._held_back

    def _account(self, seconds: float) -> None:
        """Advance the leads by what happened since the last look."""
        competing = self._at_work | self._held_back
        total = sum(self._weights[process] for process in competing)
        for process in competing:
            used = seconds / len(self._at_work) if process in self._at_work else 0.0
            self._leads[process] += used - seconds * self._weights[process] / total

    def _moving(self, now: float, work: Mapping[str, Work]) -> set[str]:
        """The processes at work, without those that take much longer than they should."""
        known = self._work
        self._work = {}
        for process, one in work.items():
            mark, since = known.get(process, (None, now))
            self._work[process] = (one.mark, since if mark == one.mark else now)
        return {
            process
            for process, one in work.items()
            if now - self._work[process][1] <= OVERDUE * one.seconds + OVERDUE_LEAST
        }

    def _renew(self) -> None:
        """Forget the leads of those that have no jobs; one that is new begins with the least lead of those at work."""
        known = {process: self._leads[process] for process in self._weights if process in self._leads}
        least = min((known[process] for process in self._at_work if process in known), default=0.0)
        self._leads = {process: known.get(process, least) for process in self._weights}
        most = max(self._leads.values(), default=0.0)
        self._leads = {process: max(lead, most - MOST) for process, lead in self._leads.items()}
