"""Drawn sequences of a sheet at a light: which animal sits where on which photograph, with the right answer for each.

Boxes and labels alone, no pixels: what a detector and a classifier would say, with their usual faults. Animals stay,
walk, cross the sheet, leave, and come back. For choosing the parameters of tracking, and for its tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

WIDTH: Final = 4096
HEIGHT: Final = 2160

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """One animal as a detector sees it on one photograph."""

    # The animal; below 0 for what is none.
    animal: int
    species: int
    # The classifier's answer; differs from `species` where it errs.
    label: int
    # x1, y1, x2, y2 in pixels.
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """How animals behave, and how well they are seen. Times are in seconds, distances in lengths of the animal."""

    animals: int = 60
    species: int = 12
    # Mean of how long an animal stays at a time.
    stays: float = 1500.0
    # Mean time between two walks of one that stays, and how far a walk leads.
    rests: float = 240.0
    walks: float = 1.5
    # Share of those that cross the sheet without a rest, and their lengths a second.
    crossing: float = 0.15
    pace: float = 0.25
    # Share of those that come back once, and the mean time until then.
    coming_back: float = 0.25
    away: float = 900.0
    # Length in pixels: the geometric mean, and the spread of its logarithm.
    length: float = 110.0
    spread: float = 0.5
    # How far a box is off, as a share of its sides; shares of animals missed and named wrongly; false boxes on each
    # photograph.
    jitter: float = 0.04
    missed: float = 0.05
    mistaken: float = 0.1
    false_boxes: float = 0.2


@dataclass(slots=True)
class _Animal:
    species: int
    sides: Floats
    # Where it is when, while it is there: times and positions, and the spans between which it is away.
    times: list[float] = field(default_factory=list)
    places: list[Floats] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)

    def at(self, time: float) -> Floats | None:
        if not any(start <= time < end for start, end in self.spans):
            return None
        x, y = np.array(self.places).T
        return np.array([np.interp(time, self.times, x), np.interp(time, self.times, y)])


def sequence(seed: int, times: Sequence[float], habits: Habits | None = None) -> list[list[Sighting]]:
    """What is seen on photographs at these times, in seconds from the first animal's earliest arrival.

    The animals depend on the seed, the habits and the last time only: the same night may be photographed at another
    interval.
    """
    habits = habits or Habits()
    lives = np.random.default_rng([seed, 0])
    animals = [_animal(lives, habits, max(times, default=0.0)) for _ in range(habits.animals)]
    faults = np.random.default_rng([seed, 1])
    return [_seen(animals, time, faults, habits) for time in times]


def _animal(random: np.random.Generator, habits: Habits, end: float) -> _Animal:
    length = habits.length * float(np.exp(habits.spread * random.normal()))
    animal = _Animal(
        species=int(random.integers(habits.species)), sides=length * np.array([1.0, random.uniform(0.5, 1.0)])
    )
    arrives = float(random.uniform(0, end))
    if random.random() < habits.crossing:
        _cross(animal, random, arrives, length * habits.pace)
        return animal
    leaves = _stay(animal, random, arrives, habits, length)
    if random.random() < habits.coming_back:
        _stay(animal, random, leaves + float(random.exponential(habits.away)), habits, length)
    return animal


def _cross(animal: _Animal, random: np.random.Generator, arrives: float, pace: float) -> None:
    start, end = (np.array([x, random.uniform(0, HEIGHT)]) for x in (0.0, float(WIDTH)))
    leaves = arrives + float(np.linalg.norm(end - start)) / pace
    animal.times += [arrives, leaves]
    animal.places += [start, end]
    animal.spans.append((arrives, leaves))


def _stay(animal: _Animal, random: np.random.Generator, arrives: float, habits: Habits, length: float) -> float:
    """Let it sit down somewhere and walk now and then; returns when it leaves."""
    leaves = arrives + float(random.exponential(habits.stays))
    place = random.uniform([0, 0], [WIDTH, HEIGHT])
    now = arrives
    animal.times.append(now)
    animal.places.append(place)
    while (begins := now + float(random.exponential(habits.rests))) < leaves:
        way = random.normal(size=2) * habits.walks * length
        now = begins + float(np.linalg.norm(way)) / (habits.pace * length)
        animal.times += [begins, now]
        animal.places += [place, np.clip(place + way, 0, [WIDTH, HEIGHT])]
        place = animal.places[-1]
    leaves = max(leaves, now)
    animal.times.append(leaves)
    animal.places.append(place)
    animal.spans.append((arrives, leaves))
    return leaves


def _seen(animals: Sequence[_Animal], time: float, random: np.random.Generator, habits: Habits) -> list[Sighting]:
    found = []
    for number, animal in enumerate(animals):
        place = animal.at(time)
        if place is None or random.random() < habits.missed:
            continue
        wrong = random.random() < habits.mistaken
        label = int(random.integers(habits.species)) if wrong else animal.species
        box = _box(place, animal.sides, random, habits)
        found.append(Sighting(animal=number, species=animal.species, label=label, box=box))
    for number in range(int(random.poisson(habits.false_boxes))):
        place, sides = random.uniform([0, 0], [WIDTH, HEIGHT]), np.full(2, habits.length / 2)
        label = int(random.integers(habits.species))
        box = _box(place, sides, random, habits)
        found.append(Sighting(animal=-1 - number, species=label, label=label, box=box))
    return found


def _box(
    place: Floats, sides: Floats, random: np.random.Generator, habits: Habits
) -> tuple[float, float, float, float]:
    corners = np.concatenate([place - sides / 2, place + sides / 2])
    corners += random.normal(size=4) * habits.jitter * np.tile(sides, 2)
    x1, y1, x2, y2 = np.clip(corners, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).tolist()
    return x1, y1, max(x1, x2), max(y1, y2)
