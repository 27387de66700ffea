"""Turns: which job a worker behind the gateway should serve next, and when its turn on a job is over. Pure.

Each job has a clock: the device seconds that all such workers gave to it, divided by its priority. The job whose clock
is furthest behind is owed most; what is in workers' hands counts as given. A turn is over when the worker has leased
its quantum and another job that it may serve is behind. Interactive jobs come first, and interrupt, but get at most
half of the device time while others wait: each of the two classes has a clock, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

K = TypeVar("K", bound=Hashable)

SWITCHES: Final = 20
"""A turn lasts so many times as long as the worker needs to switch, so that switching costs 5 % at most."""

BATCHES_AT_FIRST: Final = 3
"""Batches in a turn of a worker whose switching was never measured. The first of a turn may include loading models, so
its speed shows in the others."""

LONGEST_TURN: Final = 300.0
"""Device seconds in a turn at most, beyond one batch, however long the worker needs to switch."""

OVER_FOR: Final = 10.0
"""Seconds for which a turn stays over when the worker does not ask for another job; then it begins anew. Existing
workers need them for the rest of their loaders."""

LATELY: Final = 30.0
"""Seconds after its last result for which a job counts as being served."""

OWED: Final = 30.0
"""Seconds by which the clocks of jobs, between which a worker can choose, may differ, or four turns if those are
longer: so little credit has a job that lay idle, and so little debt one that was served alone."""

COLD_PACE: Final = 1.0
"""Seconds per image, until a worker's first results."""

_DECAY: Final = 0.7
"""Weight that earlier measurements keep when a new one arrives."""

_FORGET: Final = 0.02
"""Share by which the least latency approaches each one that is longer, should a worker become slower for good."""

_TINY: Final = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What all gateways know of a job's share."""

    # None for a newcomer.
    clock: float | None = None
    # Tasks in workers' hands.
    held: float = 0.0
    # When its clock last advanced, in seconds; 0 for never.
    at: float = 0.0

    def is_served(self, now: float) -> bool:
        """Whether workers serve it at present."""
        return self.clock is not None and (self.held > 0 or now - self.at < LATELY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast a worker is with a pipeline, measured from its results."""

    # Device seconds and images of late.
    seconds: float
    images: float
    # Seconds from lease to post, the least of late: of a batch that waited for no other.
    latency: float = 0.0

    @property
    def per_image(self) -> float:
        """Seconds per image."""
        return self.seconds / self.images

    def after(self, images: int, seconds: float, latency: float) -> Pace:
        """The pace with so many more images."""
        longer = max(latency - self.latency, 0.0)
        return Pace(
            seconds=self.seconds * _DECAY + seconds,
            images=self.images * _DECAY + images,
            latency=min(latency, self.latency) + _FORGET * longer,
        )


def measured(pace: Pace | None, images: int, seconds: float, latency: float, *, is_first: bool) -> Pace:
    """The pace after a post of results, `latency` seconds after their lease.

    The first post of a turn includes switching, so it can only lower the pace.
    """
    new = Pace(seconds=max(seconds, 1e-4 * images), images=images, latency=latency)
    if pace is None:
        return new
    # What is twice as fast as the only post before tells that loading was measured then. Later, it is one of several
    # posts that came together, because workers post from several threads or share a token; these are averaged.
    if pace.images <= images and new.per_image < pace.per_image / 2:
        return new
    return pace if is_first and new.per_image > pace.per_image else pace.after(images, new.seconds, latency)


def switching(before: float | None, seconds: float) -> float:
    """Seconds that a worker needs to switch, after one more measurement."""
    return max(seconds, 0.0) if before is None else before * _DECAY + max(seconds, 0.0) * (1 - _DECAY)


def quantum(batch: float, switch: float | None) -> float:
    """Device seconds that a worker leases in a turn: `batch` is one batch, `switch` what it needs to change jobs."""
    if switch is None:
        return BATCHES_AT_FIRST * batch
    return max(batch, min(SWITCHES * switch, LONGEST_TURN))


def start(standings: Iterable[Standing], now: float) -> float:
    """The clock of a newcomer among these jobs: as far as the least of those that are served; else as the furthest.

    So it is owed at once, but has no credit from the past.
    """
    known = [one for one in standings if one.clock is not None]
    served = [one.clock for one in known if one.clock is not None and one.is_served(now)]
    return min(served) if served else max((one.clock for one in known if one.clock is not None), default=0.0)


def drawn_together(clocks: Mapping[K, float], within: float) -> dict[K, float]:
    """The clocks with their differences reduced, in proportion, so that none is further than `within` from the least.

    Order and proportions stay, so that jobs which are all far behind another one still take turns.
    """
    least = min(clocks.values(), default=0.0)
    spread = max(clocks.values(), default=0.0) - least
    if spread <= within:
        return dict(clocks)
    return {key: least + (clock - least) * within / spread for key, clock in clocks.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A job that a worker may serve, with this worker's pace."""

    key: Hashable
    clock: float
    held: float = 0.0
    priority: int = 1
    interactive: bool = False
    pace: float = COLD_PACE

    @property
    def in_hands(self) -> float:
        """Device seconds that were leased and not answered."""
        return self.held * self.pace

    @property
    def reached(self) -> float:
        """The clock as it will be when workers have finished what they hold."""
        return self.clock + self.in_hands / max(self.priority, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """The device seconds given to interactive jobs, and to others."""

    interactive: float = 0.0
    others: float = 0.0

    def lead(self, entrants: Iterable[Entrant]) -> float:
        """Device seconds by which interactive jobs are ahead of the others, with what is in hands."""
        ahead = self.interactive - self.others
        for one in entrants:
            ahead += one.in_hands if one.interactive else -one.in_hands
        return ahead

    def drawn_together(self, entrants: Iterable[Entrant], *, batch: float, within: float) -> Classes:
        """The same; with no more than a batch between them where interactive jobs had more, so they never wait long."""
        lead = self.lead(entrants)
        return replace(self, interactive=self.interactive + min(max(lead, -within), batch) - lead)


def in_order(entrants: Iterable[Entrant], classes: Classes) -> list[Entrant]:
    """The jobs in the order in which to offer them to a worker."""
    ordered = sorted(entrants, key=lambda one: (one.reached, one.key))
    urgent = [one for one in ordered if one.interactive]
    others = [one for one in ordered if not one.interactive]
    return others + urgent if classes.lead(ordered) > _TINY else urgent + others


def interrupting(entrants: Iterable[Entrant], present: Entrant, classes: Classes) -> list[Entrant]:
    """The interactive jobs for which the turn on the present job ends at once, the most urgent first."""
    ordered = in_order(entrants, classes)
    if present.interactive or not ordered or not ordered[0].interactive:
        return []
    return [one for one in ordered if one.interactive]


def owed(entrants: Iterable[Entrant], present: Entrant, classes: Classes, *, batch: float) -> list[Entrant]:
    """The jobs for which a turn that is spent ends, the one that is owed most first.

    A job is owed when it is behind by more than half of a batch: equals go on side by side, each with its workers.
    """
    every = list(entrants)
    lead = classes.lead(every)
    tolerance = batch / 2 / max(present.priority, 1)

    def is_owed(one: Entrant) -> bool:
        if one.key == present.key:
            return False
        if one.interactive != present.interactive:
            return lead < -_TINY if one.interactive else lead > batch / 2
        return one.reached + tolerance < present.reached

    return [one for one in in_order(every, classes) if is_owed(one)]
