"""Which photographs are wanted: the rule by which some are chosen of many, and why the others are left out.

A submission narrows what it names by the first part of a rule, a capture set is a frozen list that a whole rule made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain import texts, times
from antenna_orchestration.domain.nights import EVERY_NIGHT, UTC_NAME, Nights, nights_named, zone_named
from antenna_orchestration.domain.texts import counted

_DAY: Final = 86_400
"""Seconds; an interval is counted from the noon of each night, so a longer one would be no other."""

_MOST: Final = 2**31 - 1


class Why(StrEnum):
    """Why a photograph is not chosen, in the order in which it is asked."""

    REPLACED = "replaced"
    OTHER_DEPLOYMENT = "other_deployment"
    NO_TIME = "no_time"
    OTHER_NIGHT = "other_night"
    NO_DETECTIONS = "no_detections"
    PROCESSED = "processed"
    SAME_INTERVAL = "same_interval"
    BETWEEN = "between"
    FULL_NIGHT = "full_night"
    NOT_DRAWN = "not_drawn"


_IN_WORDS: Final = {
    Why.REPLACED: "whose place another photograph has taken",
    Why.OTHER_DEPLOYMENT: "of other deployments",
    Why.NO_TIME: "without a time",
    Why.OTHER_NIGHT: "of other nights",
    Why.NO_DETECTIONS: "without detections",
    Why.PROCESSED: "processed before",
    Why.SAME_INTERVAL: "not the first in their interval",
    Why.BETWEEN: "passed over in counting",
    Why.FULL_NIGHT: "beyond the most of a night",
    Why.NOT_DRAWN: "not drawn",
}

NotChosen = Mapping[Why, int]
"""How many photographs are not chosen, by the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Which photographs are wanted. What is None, false or empty asks for nothing.

    The filters come first, then `every` or `nth`, then `per_night`, then `random`: each takes from what is left.
    """

    # Names; photographs of any of them.
    deployments: tuple[str, ...] = ()
    nights: Nights = EVERY_NIGHT
    # Only photographs with detections by any pipeline, or by this one.
    with_detections: bool = False
    with_detections_of: str | None = None
    # Only photographs that a submission to this pipeline would not skip.
    not_processed_by: str | None = None
    # The first photograph of each deployment in each interval of so many seconds, counted from the night's noon.
    every: int | None = None
    # The first photograph of each deployment and night, and each nth after it.
    nth: int | None = None
    # At most so many of each deployment and night, drawn at random.
    per_night: int | None = None
    # At most so many of all, drawn at random.
    random: int | None = None
    # What is drawn depends on it and on the photographs, not on their order or number.
    seed: int | None = None
    # At whose noon nights are cut where the deployment's zone is not known.
    time_zone: str = UTC_NAME

    def __post_init__(self) -> None:
        """Raise `InvalidInput` for what contradicts itself or cannot be."""
        zone_named(self.time_zone)
        if self.every is not None and self.nth is not None:
            raise errors.InvalidInput("--every and --nth both thin out a night: choose one")
        if self.every is not None and not 1 <= self.every <= _DAY:
            raise errors.InvalidInput("--every: an interval is between 1s and 1d")
        for name, number in (("nth", self.nth), ("per-night", self.per_night), ("random", self.random)):
            if number is not None and not 1 <= number <= _MOST:
                raise errors.InvalidInput(f"--{name} {number}: must be 1 or more")
        if self.seed is not None and not self.draws:
            raise errors.InvalidInput("--seed is for --random and --per-night: nothing else is drawn")
        if self.with_detections and self.with_detections_of is not None:
            raise errors.InvalidInput(
                "--with-detections asks for those of any pipeline, --with-detections-of of one: choose one"
            )

    @property
    def draws(self) -> bool:
        """Whether chance decides."""
        return self.per_night is not None or self.random is not None

    @property
    def needs_time(self) -> bool:
        """Whether photographs without a time cannot be chosen."""
        return not (self.nights.is_every and self.every is None and self.nth is None and self.per_night is None)

    @property
    def takes_all(self) -> bool:
        """Whether every photograph is wanted."""
        return self == Rule(time_zone=self.time_zone)

    def as_data(self) -> dict[str, Any]:
        """For JSON, without what asks for nothing."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        found["deployments"] = list(self.deployments)
        found["nights"] = str(self.nights)
        return {name: value for name, value in found.items() if value not in (None, [], "") and value is not False}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Rule:
        """What `as_data` wrote."""
        return cls(
            **{
                **data,
                "deployments": tuple(data.get("deployments", ())),
                "nights": nights_named(data.get("nights", "")),
            }
        )

    @property
    def in_words(self) -> list[str]:
        """For people, a line for each thing that is asked for."""
        lines = [
            f"of {texts.listed(self.deployments)}" if self.deployments else "",
            f"nights {self.nights}" if not self.nights.is_every else "",
            "with detections" if self.with_detections else "",
            f"with detections of {self.with_detections_of}" if self.with_detections_of else "",
            f"not processed by {self.not_processed_by}" if self.not_processed_by else "",
            f"the first in every {times.span(self.every)}" if self.every else "",
            f"one of each {self.nth} of a night" if self.nth else "",
            f"at most {counted(self.per_night, 'photograph')} of a night" if self.per_night else "",
            f"at most {counted(self.random, 'photograph')} of all" if self.random else "",
            f"drawn with seed {self.seed}" if self.draws else "",
        ]
        return list(filter(None, lines)) or ["all photographs"]


def every_seconds(text: str) -> int | None:
    """The interval that `--every` names; None for an empty text. Raises `InvalidInput`."""
    return times.seconds_of(text, "every") if text.strip() else None


def in_words(not_chosen: NotChosen) -> str:
    """For people: `1,204 of other nights, 12 without a time`; empty if all are chosen."""
    return ", ".join(f"{not_chosen[why]:,} {_IN_WORDS[why]}" for why in Why if not_chosen.get(why))


def none_left(not_chosen: NotChosen) -> str:
    """The message if no photograph is chosen."""
    return f"no photograph is left of {sum(not_chosen.values()):,}: {in_words(not_chosen)}"


def as_data(not_chosen: NotChosen) -> dict[str, int]:
    """For JSON."""
    return {why.value: not_chosen[why] for why in Why if not_chosen.get(why)}


@dataclass(frozen=True, kw_only=True, slots=True)
class NightOfSet:
    """How many photographs a set has of one night at one deployment; None: not known."""

    deployment: str | None
    night: date | None
    photographs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessedBy:
    """How many photographs of a set one version of a pipeline has done, and on how many it found something."""

    pipeline: str
    version: str | None
    photographs: int
    with_detections: int
