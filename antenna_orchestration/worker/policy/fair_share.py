"""Which jobs to lease from next: deficit round-robin over the active jobs, in device seconds. Pure: time is handed in.

Each visit adds to a job's deficit in proportion to its weight, and each image leased is paid for from the deficit at
its cost in device seconds. So jobs of equal weight get equal device time, however many images they have and however
slow their pipeline is. Interactive jobs have their own ring, which is served first, with at most half of the device
time while other jobs wait. Each device process has a `FairShare`; `device_shares` is about several of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.worker.policy.device_shares import Demand

REST: Final = Backoff(first=0.25, longest=2.0)
"""Seconds that a job rests after an empty pull, longer each time while it stays empty."""

_TINY: Final = 1e-9
_MANY: Final = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A job that may be leased from."""

    key: Hashable
    # Jobs of one batch group share a loaded pipeline; limits in images are given per group.
    batch_group: Hashable
    weight: float = 1.0
    interactive: bool = False
    # Device seconds per image.
    cost: float = 1.0
    # The most tasks to ask for in one turn; None: no limit.
    limit: int | None = None
    # Differs when the job was announced again, which ends its rest.
    stamp: Hashable = None


@dataclass(frozen=True, slots=True)
class Turn:
    """Ask this job for up to `wanted` tasks."""

    key: Hashable
    wanted: int


class FairShare:
    """Keeps the deficits of the jobs, and plans how many tasks to lease from each."""

    def __init__(self) -> None:
        self._places: dict[Hashable, _Place] = {}
        self._interactive: deque[_Place] = deque()
        self._others: deque[_Place] = deque()
        # Device seconds that interactive jobs may have while others wait; None while there are none.
        self._credit: float | None = None

    def update(self, entrants: Iterable[Entrant]) -> None:
        """Replace the jobs. Those that stay keep their deficits and rests; one that was announced again wakes."""
        current = {entrant.key: entrant for entrant in entrants}
        for key in [key for key, place in self._places.items() if not place.stays(current.get(key))]:
            place = self._places.pop(key)
            self._ring(place.entrant).remove(place)
        for key, entrant in current.items():
            if key in self._places:
                self._places[key].renew(entrant)
            else:
                place = self._places[key] = _Place(entrant)
                self._ring(entrant).append(place)

    def plan(
        self, budget: float, now: float, *, limits: Mapping[Any, int] | None = None, interactive: float = 0.5
    ) -> list[Turn]:
        """Share out `budget` device seconds, with at most one turn per job, so that all turns may be taken at once.

        `limits` maps batch groups to the most images they may have; a group that is not in it has no limit.
        `interactive` is the part of interactive jobs while others wait. Report each turn with `took`, and plan again
        while budget is left: other jobs then get what one job did not have.
        """
        shares = _Shares(limits or {})
        part = self._interactive_part(budget, interactive, now, shares)
        used = _serve(self._interactive, min(budget, part), now, shares)
        self._credit = part - used if part else None
        budget -= used
        _serve(self._others, budget, now, shares)
        return [Turn(key, wanted) for key, wanted in shares.turns.items()]

    def _interactive_part(self, budget: float, part: float, now: float, shares: _Shares) -> float:
        """All of the budget while nobody else waits, else a part; that of a single image is saved up for the next."""
        urgent = [place.entrant.cost for place in self._interactive if shares.may_serve(place, now)]
        if not urgent:
            return 0.0
        if not any(shares.may_serve(place, now) for place in self._others):
            return budget
        # Part of an image ahead at first, so that a single image is given to them and not to the others.
        credit = max(urgent) * (1 - part) if self._credit is None else self._credit
        return min(credit + budget * part, max(budget * part, *urgent))

    def took(self, turn: Turn, got: int, now: float) -> None:
        """A turn brought `got` tasks. With fewer than wanted a job loses its deficit, with none it rests."""
        place = self._places.get(turn.key)
        if place is None:
            return
        if got < turn.wanted:
            place.deficit = 0.0
        if got:
            place.empty_pulls = 0
        else:
            place.empty_pulls += 1
            place.awake_at = now + REST.pause(place.empty_pulls)

    def demand(self, now: float) -> Demand:
        """The weights of the jobs that do not rest."""
        ordinary, interactive = (
            sum(place.entrant.weight for place in ring if place.awake_at <= now)
            for ring in (self._others, self._interactive)
        )
        return Demand(ordinary, interactive)

    def next_wake(self, now: float) -> float | None:
        """Seconds until the next job's rest ends; 0 when one is awake, None when there are no jobs."""
        return min((max(0.0, place.awake_at - now) for place in self._places.values()), default=None)

    def _ring(self, entrant: Entrant) -> deque[_Place]:
        return self._interactive if entrant.interactive else self._others


class _Place:
    """A job's place in its ring."""

    __slots__ = ("awake_at", "deficit", "empty_pulls", "entrant", "visited")

    def __init__(self, entrant: Entrant) -> None:
        self.entrant = entrant
        self.deficit = 0.0
        # Whether this visit's share was added already: a visit that the budget cut short goes on in the next plan.
        self.visited = False
        # In a row.
        self.empty_pulls = 0
        self.awake_at = float("-inf")

    def stays(self, entrant: Entrant | None) -> bool:
        return entrant is not None and entrant.interactive == self.entrant.interactive

    def renew(self, entrant: Entrant) -> None:
        if entrant.stamp != self.entrant.stamp:
            self.awake_at, self.empty_pulls = float("-inf"), 0
        # What was saved up is worth as many images as before: a first guess of the cost may be far off.
        self.deficit *= entrant.cost / self.entrant.cost
        self.entrant = entrant


class _Shares:
    """What one plan has given out."""

    def __init__(self, limits: Mapping[Any, int]) -> None:
        self.turns: dict[Hashable, int] = {}
        self._left: dict[Any, int] = dict(limits)

    def may_serve(self, place: _Place, now: float) -> bool:
        return place.awake_at <= now and self._room(place.entrant) > 0

    def _room(self, entrant: Entrant) -> int:
        room = self._left.get(entrant.batch_group, _MANY)
        if entrant.limit is not None:
            room = min(room, entrant.limit - self.turns.get(entrant.key, 0))
        return room

    def give(self, place: _Place, images: int) -> int:
        """Give up to so many images to a job; returns how many the limits allowed."""
        entrant = place.entrant
        images = min(images, self._room(entrant))
        if entrant.batch_group in self._left:
            self._left[entrant.batch_group] -= images
        if images:
            self.turns[entrant.key] = self.turns.get(entrant.key, 0) + images
        return images


def _serve(ring: deque[_Place], budget: float, now: float, shares: _Shares) -> float:
    """Go round the ring until the budget does not hold the next image; returns the device seconds given out."""
    active = [place for place in ring if shares.may_serve(place, now)]
    if not active:
        return 0.0
    # The heaviest job gets at least one image a visit, so a round always gives something out.
    quantum = max(place.entrant.cost for place in active) / max(place.entrant.weight for place in active)
    used, skipped = 0.0, 0
    while skipped < len(ring):
        place = ring[0]
        cost = place.entrant.cost
        if not shares.may_serve(place, now):
            skipped += 1
            _pass(ring)
            continue
        skipped = 0
        if not place.visited:
            place.deficit += quantum * place.entrant.weight
            place.visited = True
        affordable = int((budget - used) / cost + _TINY)
        due = int(place.deficit / cost + _TINY)
        given = shares.give(place, min(due, affordable))
        place.deficit -= given * cost
        used += given * cost
        if due > affordable:
            return used
        _pass(ring)
    return used


def _pass(ring: deque[_Place]) -> None:
    ring[0].visited = False
    ring.rotate(-1)
