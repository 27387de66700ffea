"""Moments in time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from antenna_orchestration import errors

_SPAN: Final = re.compile(r"(\d{1,6})([mhd])")
_MINUTES: Final = {"m": 1, "h": 60, "d": 1440}

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str, what: str) -> int:
    """A length of time: `90s`, `10m`, `6h` or `1d`; `0` for none. Raises `InvalidInput`, which names it `what`."""
    span = re.fullmatch(r"(\d{1,6})([smhd])|0", text.strip(), re.ASCII)
    if span is None:
        raise errors.InvalidInput(f"{what} {text!r} is not a length of time: 90s, 10m, 6h and 1d are")
    return int(span[1]) * _SECONDS[span[2]] if span[1] else 0


def span(seconds: int) -> str:
    """A length of time as `seconds_of` reads it, in the largest unit that fits: `10m`."""
    unit, size = next((unit, size) for unit, size in reversed(_SECONDS.items()) if seconds % size == 0)
    return f"{seconds // size}{unit}"


def with_zone(moment: datetime) -> datetime:
    """The moment in its own time zone, whatever its date; one without a time zone is taken as UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def in_utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a time zone is taken as UTC. Raises `OverflowError` at the calendar's ends."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def due(text: str, now: datetime) -> datetime | None:
    """By when something is wanted: `90m`, `6h` or `2d` from now, or a moment; None for an empty text.

    A moment is ISO 8601 with a time zone, `2026-06-13T06:00+02:00`. Raises `InvalidInput`, also for one that is over.
    """
    text = text.strip()
    if not text:
        return None
    try:
        if span := _SPAN.fullmatch(text):
            moment = now + timedelta(minutes=int(span[1]) * _MINUTES[span[2]])
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        moment = in_utc(moment)
    except ValueError:
        raise errors.InvalidInput(
            f"{text!r} is not a time: `90m`, `6h` or `2d` from now, or a time with its zone: 2026-06-13T06:00+02:00"
        ) from None
    except OverflowError:
        raise errors.InvalidInput(f"{text!r} lies outside of the calendar") from None
    if moment <= now:
        raise errors.InvalidInput(f"{text!r} is over already; it is {now:%Y-%m-%dT%H:%M}Z")
    return moment
