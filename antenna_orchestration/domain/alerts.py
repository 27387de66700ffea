"""Alerts: what is told to people that something is wrong, when, and when no more. Decided here, without a clock.

An alert is known by its key, and of one key at most one is open. Messages about it go to targets: that it began, that
it lasts, that it ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from antenna_orchestration.domain import plain_text, times
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.domain.redaction import without_secrets
from antenna_orchestration.domain.texts import counted, storable

LONGEST_SUBJECT: Final = 150
LONGEST_TEXT: Final = 2_500
"""Characters of a message; Slack takes 3,000 in one block, and cuts longer ones."""

LONGEST_NAME: Final = 100

GAP: Final = 60.0
"""Seconds for which nothing must be seen of what was not told yet until it has ended, and not lasted."""

CALM: Final = 300.0
"""Likewise of what was told: what comes and goes is one alert, and no message every few minutes."""

_UNSEEN: Final = "\N{REPLACEMENT CHARACTER}"


class Event(StrEnum):
    """What alerts are about."""

    JOB_FAILURE = "job_failure"
    JOB_SUCCESS = "job_success"
    NO_WORKER = "no_worker"
    SOURCE = "source"
    CHECK = "check"
    SEASON = "season"


UNLESS_NAMED: Final = frozenset(Event) - {Event.JOB_SUCCESS}
"""What a target gets that names no events."""

ENDS_AT_ONCE: Final = frozenset({Event.JOB_SUCCESS})
"""What is told once and lasts no longer."""

TOLD_ONCE: Final = frozenset({Event.JOB_FAILURE, Event.JOB_SUCCESS})
"""What is not told again while it lasts: a failed job stays one until somebody tries it again."""


class Telling(StrEnum):
    """What a message says of its alert."""

    BEGINS = "begins"
    LASTS = "lasts"
    ENDS = "ends"
    SEVERAL = "several"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What is wrong, as a source of alerts sees it. Texts are stored and sent as `made` leaves them."""

    key: str
    event: Event
    # Empty: of the whole installation.
    project: str = ""
    subject: str
    # What is wrong, and what to do about it; lines.
    text: str
    # Of Dagster's page about it, from the root of its address.
    path: str = ""

    def made(self) -> Alert:
        """The same alert fit for every target: without secrets, controls and texts of any length."""
        return Alert(
            key=storable(self.key)[:500],
            event=self.event,
            project=self.project,
            subject=shortened(one_line(without_secrets(self.subject)), LONGEST_SUBJECT),
            text=shortened("\n".join(map(one_line, without_secrets(self.text).split("\n"))), LONGEST_TEXT),
            path=self.path,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a source of alerts saw."""

    # It saw all that there is of what has keys that begin so: what is open of them and not among `alerts` has ended.
    # Two sources may have alerts of one event, and one of them may be unable to look.
    of: Collection[str]
    alerts: Sequence[Alert]
    # Keys of alerts that are over without being well, of which nothing more is told.
    dropped: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAlert(Alert):
    """An alert that has not ended, as the catalog has it."""

    alert_id: int
    began_at: datetime
    seen_at: datetime
    # None: it has not lasted long enough to be told.
    told_at: datetime | None
    reminded_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What is to be told and noted, by the alerts' numbers."""

    begins: Collection[int]
    lasts: Collection[int]
    ends: Collection[int]
    # Ended without a word.
    dropped: Collection[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one target is told, with a number by which it can recognize that it was told before."""

    message_id: str
    telling: Telling
    event: str
    project: str
    subject: str
    text: str
    link: str
    since: datetime


def decide(
    opened: Iterable[OpenAlert],
    seen: Iterable[Seen],
    *,
    now: datetime,
    patience: Mapping[Event, float],
    remind_after: float,
) -> Decided:
    """What is to be told now. `patience` are the seconds that an alert of an event must last before it is told."""
    looked: set[str] = set()
    dropped: set[str] = set()
    for one in seen:
        looked |= set(one.of)
        dropped |= set(one.dropped)
    is_looked_for = tuple(looked)
    begins: set[int] = set()
    lasts: set[int] = set()
    ends: set[int] = set()
    silently: set[int] = set()
    for alert in opened:
        unseen = (now - alert.seen_at).total_seconds()
        if alert.key in dropped:
            silently.add(alert.alert_id)
        elif alert.event in ENDS_AT_ONCE:
            begins.add(alert.alert_id)
            silently.add(alert.alert_id)
        elif unseen >= (CALM if alert.told_at else GAP) and alert.key.startswith(is_looked_for):
            (ends if alert.told_at else silently).add(alert.alert_id)
        elif alert.told_at is None:
            # Not by the time now: nobody looked since it was seen.
            if (alert.seen_at - alert.began_at).total_seconds() >= patience.get(alert.event, 0.0):
                begins.add(alert.alert_id)
        elif alert.event not in TOLD_ONCE and now - (alert.reminded_at or alert.told_at) >= timedelta(
            seconds=remind_after
        ):
            lasts.add(alert.alert_id)
    return Decided(begins=begins, lasts=lasts, ends=ends, dropped=silently)


def message(number: int, telling: Telling, alert: Alert, *, since: datetime, at: datetime, link: str) -> Message:
    """What a target is told of one alert."""
    subject, text = alert.subject, alert.text
    lasted = duration(max((at - since).total_seconds(), 0))
    if telling is Telling.LASTS:
        subject, text = f"still: {subject}", f"{text}\nThis is so for {lasted}."
    elif telling is Telling.ENDS:
        subject, text = (
            f"well again: {subject}",
            f"This was so for {lasted}, since {times.in_utc(since):%F %R} UTC, and is over.",
        )
    return Message(
        message_id=str(number),
        telling=telling,
        event=alert.event,
        project=alert.project,
        subject=shortened(subject, LONGEST_SUBJECT),
        text=text,
        link=link,
        since=since,
    )


def summary(messages: Sequence[Message], *, link: str) -> Message:
    """One message in place of several."""
    counts = {telling: sum(one.telling is telling for one in messages) for telling in Telling}
    said = [
        f"{counts[Telling.BEGINS]} new" if counts[Telling.BEGINS] else "",
        f"{counts[Telling.LASTS]} that last" if counts[Telling.LASTS] else "",
        f"{counts[Telling.ENDS]} well again" if counts[Telling.ENDS] else "",
    ]
    lines = [f"- {one.subject}" for one in messages]
    shown = lines[:20]
    if len(lines) > len(shown):
        shown.append(f"… and {counted(len(lines) - len(shown), 'other')}")
    return Message(
        message_id=f"{messages[0].message_id}-{messages[-1].message_id}",
        telling=Telling.SEVERAL,
        event="several",
        project="",
        subject=f"{counted(len(messages), 'alert')}: {', '.join(filter(None, said))}",
        text=shortened("\n".join([*shown, "antenna alerts list shows all that is wrong now."]), LONGEST_TEXT),
        link=link,
        since=min(one.since for one in messages),
    )


def named(name: str) -> str:
    """A name that somebody gave, as it stands in an alert's text: on one line, and not long."""
    return quoted(name, LONGEST_NAME)


def quoted(said: str, most: int) -> str:
    """What somebody or something said, likewise."""
    return shortened(one_line(without_secrets(said)), most)


def one_line(text: str) -> str:
    """The text on one line, without what cannot be seen."""
    return plain_text.seen(storable(text), _UNSEEN)


def shortened(text: str, most: int) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else text[: most - 1] + "…"
