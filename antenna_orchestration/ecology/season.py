"""What is wrong with the nights of a season: rules for traps, clocks, cards, catches and workers.

Each rule compares a deployment with itself: with its own other nights, at most `AROUND` on either side. A rule that
lacks what it needs, such as enough other nights, says nothing. The thresholds are the constants below, and
docs/howto/season.md explains them.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final

from antenna_orchestration.domain.nights import night_of_local
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.model import Place

AROUND: Final = 14
"""Nights on either side of a night that it is compared with."""

FEWEST_NIGHTS: Final = 5
"""Other nights from which something is usual."""

FEWEST_PHOTOGRAPHS: Final = 10
"""Photographs below which a night says nothing of shares."""

OUTLIER: Final = 5.0
"""Robust deviations from the median beyond which a night is another one. 3.5 is usual (Iglewicz and Hoaglin 1993), but
nights of animals differ more than measurements do."""

TO_DEVIATION: Final = 1.4826
"""Median absolute deviation to standard deviation, of a normal distribution."""

LEAST_SHARE: Final = 0.5
"""Share of its usual photographs below which a night is not whole."""

LEAST_CUT: Final = timedelta(hours=2)
"""By how much a night at least ends before its usual end, if it was cut off."""

WHOLE: Final = 0.85
"""Share of its usual photographs from which a night is whole, however early it ends."""

LEAST_SPREAD: Final = 0.6
"""Of the logarithm of catches: nights that are all but equal are chance."""

FEWEST_CATCHES: Final = 10
"""Other nights from which a catch is usual: catches differ more than anything else does."""

CHANCE: Final = 20
"""Detections that a night may have more or less by chance: below, logarithms differ much for few animals."""

SLOWER: Final = 2.0
"""Times that a worker's seconds per photograph are its usual ones."""

FEWEST_RATES: Final = 3
"""Earlier nights of a worker from which its rate is usual."""

FEWEST_MEASURED: Final = 50
"""Photographs of a worker in a night from which it has a rate."""

FIRST_YEAR: Final = 2010
"""Photographs of earlier years are of a clock that was never set."""

YEAR: Final = timedelta(days=365)

NEAR_A_YEAR: Final = timedelta(days=45)
"""How close to a whole year a delay is, if the clock is off by a year."""

USUAL_DELAY: Final = timedelta(days=60)
"""Within which the other nights of a deployment come, if one night is a year late by its clock."""

DARK: Final = 0.9
"""Share of photographs between sunset and sunrise of a trap that works at night."""

DAYLIGHT: Final = 0.5
"""Share below which a night of such a trap is at daylight."""

WIDEST: Final = timedelta(hours=26)
"""By how much two local times of the same moment differ at most."""

GRACE: Final = timedelta(hours=12)
"""After a night, for the way of its photographs here, at least."""

EXCEPTIONS: Final = 0.1
"""Share of pauses between nights that may be longer than usual, and of nights that may have far fewer photographs."""

LATE: Final = 1.5
"""Times that the longest wait for news, of the last ones, may be exceeded before a trap is silent."""

LAST_WAITS: Final = 7
"""Waits that say what is usual."""

FIRST_WAIT: Final = timedelta(days=3)
"""How long to wait for a trap whose photographs have come only once."""

AT_ONCE: Final = timedelta(hours=1)
"""Nights whose first results are so close came together, as of a card."""

FORGOTTEN: Final = timedelta(days=60)
"""Of silence, after which it is no news any more: in winter, most traps are silent."""

NEWS: Final = timedelta(days=14)
"""For which a finding is new, and makes a check fail."""

KINDS: Final = {
    "trap_silent": "A deployment has no photograph of a night, although it had some before and they usually come "
    "sooner; or none of a night between two others. Look at the trap: battery, card, lamp, camera. If it was "
    "taken down, say so: antenna deployments set NAME --end.",
    "clock_off": "Photographs are later than their results, older than the deployment or by about a year too old, of a "
    "year before 2010, or at daylight where the trap works at night. Compare the clock in the files with the field "
    "notes, and correct it with antenna deployments set NAME --shift; no photograph need be processed again.",
    "card_half_copied": "A night has less than half of the photographs that its deployment usually has, or ends hours "
    "before its usual end. Look whether the card was copied to its end and the upload went through; what comes "
    "later is added to the night by itself.",
    "catch_implausible": "A night's detections per photograph are far from those of the nights around it. Look at its "
    "photographs: fog, a spider before the lens and another exposure look like this, and a mass flight, too.",
    "worker_slow": "A worker needs twice as long for a photograph as in its earlier nights. Look whether it still uses "
    "its GPU (antenna workers), whether the device is hot, and what else the machine does.",
    "failed_high": "A large share of a night's photographs failed. The table photographs has the reasons; antenna jobs "
    "retry tries them again when the cause is gone.",
}
"""The checks, and what each means and asks for."""


@dataclass(frozen=True, order=True, slots=True)
class Finding:
    """Something that is wrong with a night."""

    project: str
    # None: the worker is the matter, or the photographs have no deployment.
    deployment: str | None
    # The first night, where several are wrong for the same reason.
    night: date
    # One of `KINDS`.
    kind: str
    text: str
    # When it was true last: of a night the day on which it came, of a trap that is silent still today.
    seen: date

    def is_new(self, now: datetime) -> bool:
        """Whether a check fails for it."""
        return self.seen >= (now - NEWS).date()


@dataclass(frozen=True, kw_only=True, slots=True)
class NightSeen:
    """A deployment's night by one pipeline, as the season's table has it."""

    pipeline: str
    deployment: str | None
    night: date
    found: int
    done: int = 0
    failed: int = 0
    detections: int = 0
    # Local times.
    first: datetime | None = None
    last: datetime | None = None
    # Photographs between sunset and sunrise; None where these are not known.
    dark: int | None = None
    # When its first result was there.
    arrived_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerNight:
    """What a worker did in a night."""

    worker: str
    # The pipeline and its version.
    pipeline: str
    # On which it worked, in UTC.
    night: date
    photographs: int
    # The median of one.
    seconds: float


def findings(
    project: str,
    nights: Iterable[NightSeen],
    *,
    places: Mapping[str, Place],
    now: datetime,
    workers: Iterable[WorkerNight] = (),
    failed_share: float = 0.5,
) -> list[Finding]:
    """All that is wrong in the season of a project, the newest nights first. Nights that are not over are left out."""
    found: list[Finding] = []
    of_pipeline: dict[tuple[str | None, str], list[NightSeen]] = defaultdict(list)
    for one in nights:
        of_pipeline[one.deployment, one.pipeline].append(one)
    by_deployment: dict[str | None, list[list[NightSeen]]] = defaultdict(list)
    for (deployment, _), own in sorted(of_pipeline.items(), key=lambda pair: (pair[0][0] or "", pair[0][1])):
        by_deployment[deployment].append(sorted(own, key=lambda one: one.night))
    for deployment, series in by_deployment.items():
        look = _Look(project, deployment, places.get(deployment or ""), now)
        # Several pipelines see the same photographs: what concerns these is said once.
        whole = list({one.night: one for own in series for one in sorted(own, key=lambda one: one.found)}.values())
        whole.sort(key=lambda one: one.night)
        wrong = {one.night: text for one in whole if (text := look.of_another_date(one, whole))}
        right = [one for one in whole if one.night not in wrong]
        wrong |= {one.night: text for one in right if (text := _at_daylight(one, right))}
        found += [look.finding(one, "clock_off", wrong[one.night]) for one in whole if one.night in wrong]
        if deployment is not None:
            found += look.trap_silent(right)
            found += look.card_half_copied([one for one in right if look.is_over(one.night)])
        for own in series:
            passed = [one for one in own if look.is_over(one.night)]
            found += look.failed_high(passed, failed_share)
            if deployment is not None:
                found += look.catch_implausible([one for one in passed if one.night not in wrong])
    found += _slow_workers(project, workers)
    return sorted(dict.fromkeys(found), key=lambda one: (-one.night.toordinal(), one.deployment or "", one.kind))


@dataclass(frozen=True, slots=True)
class _Look:
    """At one deployment."""

    project: str
    deployment: str | None
    place: Place | None
    now: datetime

    def is_over(self, night: date) -> bool:
        """Whether a night has passed where the trap is."""
        return self._end(night) <= self.now

    def _end(self, night: date) -> datetime:
        zone = self.place.zone if self.place is not None and self.place.zone is not None else UTC
        return datetime.combine(night + timedelta(days=1), time(12), zone)

    def finding(self, one: NightSeen, kind: str, text: str) -> Finding:
        """Something that is wrong with a night that is here."""
        seen = one.night if one.arrived_at is None else max(one.night, one.arrived_at.date())
        return Finding(self.project, self.deployment, one.night, kind, text, min(seen, self.now.date()))

    def of_another_date(self, one: NightSeen, nights: Sequence[NightSeen]) -> str:
        """Why a night cannot have been when its photographs say; empty if it can."""
        return self._before_or_after(one) or self._a_year_off(one, nights)

    def _before_or_after(self, one: NightSeen) -> str:
        if one.night.year < FIRST_YEAR:
            return f"the photographs are of {one.night.year}: the clock was not set"
        if one.last is not None and one.arrived_at is not None:
            ahead = one.last.replace(tzinfo=UTC) - one.arrived_at
            if ahead > WIDEST:
                return f"the photographs are {_long(ahead)} later than their results: the clock is ahead"
        day = timedelta(days=1)
        began, ended = (self.place.starts_at, self.place.ends_at) if self.place is not None else (None, None)
        if began is not None and one.last is not None and (early := began - one.last) > day:
            return f"the photographs are {_long(early)} older than the deployment, which began {began:%Y-%m-%d}"
        if ended is not None and one.first is not None and (late := one.first - ended) > day:
            return f"the photographs are {_long(late)} later than the deployment, which ended {ended:%Y-%m-%d}"
        return ""

    def _a_year_off(self, one: NightSeen, nights: Sequence[NightSeen]) -> str:
        """Of a deployment whose nights usually come soon, few that come about a whole year late."""
        delays = {other.night: delay for other in nights if (delay := self._delay(other)) is not None}
        delay = delays.get(one.night)
        if delay is None or not _is_near_a_year(delay):
            return ""
        usual = [other for other in delays.values() if other < USUAL_DELAY]
        if len(usual) < FEWEST_NIGHTS or sum(map(_is_near_a_year, delays.values())) * 2 > len(usual):
            return ""
        years = round(delay / YEAR)
        return (
            f"the photographs came {_long(delay)} after their night, those of other nights within "
            f"{_long(max(*usual, timedelta(days=1)))}: the clock may be {counted(years, 'year')} slow"
        )

    def _delay(self, one: NightSeen) -> timedelta | None:
        """How long after its night the first result of it was there; less than nothing counts as nothing."""
        return None if one.arrived_at is None else max(one.arrived_at - self._end(one.night), timedelta())

    def trap_silent(self, nights: Sequence[NightSeen]) -> Iterable[Finding]:
        """Pauses between nights, and the pause since the last one."""
        if not nights:
            return
        steps = [(later.night - earlier.night).days for earlier, later in pairwise(nights)]
        patience = self._patience(nights)
        for number, step in enumerate(steps):
            usual = _usual_step(nights, steps, number)
            following = nights[number + 1].night
            # Of few nights it is not known whether the trap works each night.
            is_silent = len(steps) > FEWEST_NIGHTS and step >= 2 * usual
            if is_silent and self._end(following - timedelta(days=1)) + self._patience(nights, following) <= self.now:
                silent = nights[number].night + timedelta(days=usual)
                text = f"no photographs in {counted((following - silent).days, 'night')}, until {following}"
                yield Finding(self.project, self.deployment, silent, "trap_silent", text, following)
        last = nights[-1]
        usual = _usual_step(nights, steps, len(steps))
        silent = last.night + timedelta(days=usual)
        until = None if self.place is None or self.place.ends_at is None else night_of_local(self.place.ends_at)
        delay = self._delay(last)
        # Of an archive, nobody says that the trap works still; and the night on which it was taken down may be short.
        if delay is None or delay > USUAL_DELAY or (until is not None and silent >= until):
            return
        if self._end(last.night) + max(patience, timedelta(days=2 * usual - 1) + GRACE) <= self.now:
            passed = night_of_local(self.now.replace(tzinfo=None)) - timedelta(days=1)
            missing = (min(passed, until or passed) - last.night).days
            text = f"no photographs for {counted(max(missing, 1), 'night')}, since that of {last.night}"
            seen = min(self.now.date(), last.night + FORGOTTEN)
            yield Finding(self.project, self.deployment, silent, "trap_silent", text, seen)

    def _patience(self, nights: Sequence[NightSeen], silent_until: date | None = None) -> timedelta:
        """How long after the newest night that is here something new must come.

        The wait for the night after a silence is not usual.
        """
        waits: list[timedelta] = []
        newest: date | None = None
        before: datetime | None = None
        for one in sorted(nights, key=lambda one: one.arrived_at or self.now):
            if one.arrived_at is None or (newest is not None and one.night <= newest):
                continue
            is_usual = one.night != silent_until
            if is_usual and newest is not None and before is not None and one.arrived_at - before > AT_ONCE:
                waits.append(one.arrived_at - self._end(newest))
            newest, before = one.night, one.arrived_at
        if waits:
            return LATE * max(*waits[-LAST_WAITS:], GRACE)
        # The first card: the next one takes as long, unless the trap was silent before this one was fetched. A night
        # between others of it does not come with the next one.
        delays = [delay for one in nights if (delay := self._delay(one)) is not None]
        is_first_card = silent_until is None and bool(delays) and min(delays) < FIRST_WAIT
        return max(FIRST_WAIT, LATE * max(delays)) if is_first_card else FIRST_WAIT

    def card_half_copied(self, nights: Sequence[NightSeen]) -> Iterable[Finding]:
        """Nights with few photographs for their deployment, or that end early."""
        for one, others in _with_others(nights):
            if not _is_steady(others):
                continue
            usual = statistics.median(other.found for other in others)
            logs = [math.log(max(other.found, 1)) for other in others]
            below = statistics.median(logs) - math.log(max(one.found, 1))
            if usual < FEWEST_PHOTOGRAPHS:
                continue
            if below > max(-math.log(LEAST_SHARE), OUTLIER * _spread(logs)):
                yield self.finding(
                    one,
                    "card_half_copied",
                    f"{counted(one.found, 'photograph')}, where {usual:.0f} are usual",
                )
                continue
            ends = [_after_noon(other) for other in others]
            known = [end for end in ends if end is not None]
            end = _after_noon(one)
            if end is None or len(known) < FEWEST_NIGHTS or one.found >= WHOLE * usual:
                continue
            middle = statistics.median(known)
            if middle - end > max(LEAST_CUT.total_seconds(), OUTLIER * _spread(known)):
                yield self.finding(
                    one,
                    "card_half_copied",
                    f"the last photograph is of {_clock(end)}, where {_clock(middle)} is usual",
                )

    def catch_implausible(self, nights: Sequence[NightSeen]) -> Iterable[Finding]:
        """Nights whose catch is far from those around.

        Catches are compared by their logarithms (Williams 1937), as if each night had as many photographs as this one.
        """
        able = [one for one in nights if one.done >= FEWEST_PHOTOGRAPHS]
        for one, others in _with_others(able, FEWEST_CATCHES):
            rates = [other.detections / other.done for other in others]
            logs = sorted(math.log(rate * one.done + CHANCE) for rate in rates)
            own = math.log(one.detections + CHANCE)
            # Another night like it makes it plausible: of one more, one such night is no proof.
            lowest, highest = logs[1], logs[-2]
            if lowest <= own <= highest:
                continue
            if abs(own - statistics.median(logs)) > OUTLIER * max(_spread(logs), LEAST_SPREAD):
                usual = statistics.median(rates)
                yield self.finding(
                    one,
                    "catch_implausible",
                    f"{one.detections / one.done:.1f} detections per photograph, where {usual:.1f} are usual",
                )

    def failed_high(self, nights: Sequence[NightSeen], most: float) -> Iterable[Finding]:
        """Nights with a large share of photographs that failed."""
        for one in nights:
            if one.found >= FEWEST_PHOTOGRAPHS and one.failed > most * one.found:
                yield self.finding(one, "failed_high", f"{one.failed:,} of {counted(one.found, 'photograph')} failed")


def _at_daylight(one: NightSeen, nights: Sequence[NightSeen]) -> str:
    """Of a trap that works at night, a night at daylight."""
    share = _dark(one)
    others = [other for each in nights if each.night != one.night and (other := _dark(each)) is not None]
    if share is None or len(others) < FEWEST_NIGHTS or statistics.median(others) < DARK or share >= DAYLIGHT:
        return ""
    return f"{1 - share:.0%} of the photographs are at daylight, where the trap works at night: is the clock right?"


def _slow_workers(project: str, nights: Iterable[WorkerNight]) -> Iterable[Finding]:
    """Nights in which a worker was slow for itself."""
    of_worker: dict[tuple[str, str], list[WorkerNight]] = defaultdict(list)
    for one in nights:
        if one.photographs >= FEWEST_MEASURED:
            of_worker[one.worker, one.pipeline].append(one)
    for (worker, pipeline), own in sorted(of_worker.items()):
        own.sort(key=lambda one: one.night)
        for number, one in enumerate(own):
            earlier = own[max(0, number - AROUND) : number]
            if len(earlier) < FEWEST_RATES:
                continue
            usual = statistics.median(other.seconds for other in earlier)
            if one.seconds > SLOWER * usual:
                yield Finding(
                    project,
                    None,
                    one.night,
                    "worker_slow",
                    f"worker {worker} needs {one.seconds:.2g} s for a photograph with {pipeline}, where {usual:.2g} s "
                    "are usual",
                    one.night,
                )


def _with_others(
    nights: Sequence[NightSeen], fewest: int = FEWEST_NIGHTS
) -> Iterable[tuple[NightSeen, Sequence[NightSeen]]]:
    """Each night and those around it, where these are enough."""
    for number, one in enumerate(nights):
        near = [
            other
            for other in (*nights[max(0, number - AROUND) : number], *nights[number + 1 : number + 1 + AROUND])
            if abs((other.night - one.night).days) <= 2 * AROUND
        ]
        if len(near) >= fewest:
            yield one, near


def _spread(values: Sequence[float]) -> float:
    """A robust standard deviation."""
    middle = statistics.median(values)
    return TO_DEVIATION * statistics.median(abs(value - middle) for value in values)


def _usual_step(nights: Sequence[NightSeen], steps: Sequence[int], number: int) -> int:
    """How many days pass from one night to the next: 1, or more for a trap that does not work each night.

    Nine of ten pauses around are no longer. A camera that animals trigger has a night without photographs now and then.
    """
    around = sorted(step for place, step in enumerate(steps) if place != number and abs(place - number) <= AROUND)
    if len(around) < FEWEST_NIGHTS:
        return 1
    usual = around[math.ceil(len(around) * (1 - EXCEPTIONS)) - 1]
    return usual if _is_steady(nights[max(0, number - AROUND) : number + AROUND + 1]) else max(usual, 2)


def _is_steady(nights: Sequence[NightSeen]) -> bool:
    """Whether a camera takes about as many photographs each night, as by a clock; those that animals trigger do not."""
    least = LEAST_SHARE * statistics.median(one.found for one in nights)
    # One is an exception however few there are.
    return sum(one.found < least for one in nights) <= max(1, EXCEPTIONS * len(nights))


def _is_near_a_year(delay: timedelta) -> bool:
    years = round(delay / YEAR)
    return years >= 1 and abs(delay - years * YEAR) <= NEAR_A_YEAR


def _dark(one: NightSeen) -> float | None:
    return None if one.dark is None or one.found < FEWEST_PHOTOGRAPHS else one.dark / one.found


def _after_noon(one: NightSeen) -> float | None:
    """Seconds from the night's noon to its last photograph."""
    return None if one.last is None else (one.last - datetime.combine(one.night, time(12))).total_seconds()


def _clock(after_noon: float) -> str:
    hours, minutes = divmod(round(after_noon / 60) + 12 * 60, 60)
    return f"{hours % 24:02}:{minutes:02}"


def _long(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return counted(round(days), "day") if days >= 2 else counted(round(span / timedelta(hours=1)), "hour")
