"""Which night a photograph belongs to, and in which time zone."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from antenna_orchestration import errors

UTC_NAME: Final = "UTC"
"""The zone of everything for which none was named."""

TIME_UNKNOWN: Final = "time unknown"
"""What people read in place of a night."""

_NOON: Final = timedelta(hours=12)

_FIXED = re.compile(r"([-+])(\d\d?):?([0-5]\d)", re.ASCII)

_NO_PLACE: Final = re.compile(r"localtime|posixrules|Factory|(posix|right)/.*")
"""Files beside those of the IANA list: the machine's own zone, placeholders, and copies, some with leap seconds."""

_WIDEST_OFFSET: Final = timedelta(hours=14)
"""No place on Earth is further from UTC."""


class Nights(NamedTuple):
    """Nights from the first to the last, both included; None: no matter how early or late."""

    first: date | None = None
    last: date | None = None

    @property
    def is_every(self) -> bool:
        """Whether any night is one of them."""
        return self.first is None and self.last is None

    def have(self, night: date) -> bool:
        """Whether a night is one of them."""
        return (self.first is None or self.first <= night) and (self.last is None or night <= self.last)

    def __str__(self) -> str:
        """As `nights_named` reads it; empty for every night."""
        if self.is_every or self.first == self.last:
            return str(self.first or "")
        return f"{self.first or ''}..{self.last or ''}"


EVERY_NIGHT: Final = Nights()


def nights_named(text: str) -> Nights:
    """The nights of `2026-06-12..2026-06-20`, of `2026-06-12..` or `..2026-06-20`, or one night; an empty text: every.

    Raises `InvalidInput`.
    """
    first, between, last = text.strip().partition("..")
    try:
        if between and not (first or last):
            raise ValueError
        found = Nights(*(date.fromisoformat(one.strip()) if one else None for one in (first, last)))
    except ValueError:
        raise errors.InvalidInput(
            f"nights {text!r}: name one night, such as 2026-06-12, or the first and the last, 2026-06-12..2026-06-20; "
            "either may be left out"
        ) from None
    if not between:
        return found._replace(last=found.first)
    if found.first and found.last and found.first > found.last:
        raise errors.InvalidInput(f"nights {text}: {found.first} is after {found.last}")
    return found


def night_of_local(local_time: datetime) -> date:
    """The night of a local time, which has no zone: from noon to noon, named for the day on which it begins."""
    try:
        return (local_time - _NOON).date()
    except OverflowError:
        return local_time.date()


def night_of(moment: datetime, zone: tzinfo) -> date:
    """The night of a moment: from noon to noon in `zone`, named for the day on which it begins.

    `moment` is aware. At the calendar's two ends, where there is no day before or after, it is the moment's own date.
    """
    try:
        return night_of_local(moment.astimezone(zone).replace(tzinfo=None))
    except OverflowError:
        return moment.date()


def named(moment: datetime | None, zone: tzinfo) -> str:
    """The night as people read it, also of a moment that is not known."""
    return TIME_UNKNOWN if moment is None else str(night_of(moment, zone))


def zone_named(name: str) -> tzinfo:
    """The time zone of that name: one of the IANA list such as `Europe/Berlin`, or a fixed offset such as `+01:00`.

    Cameras that know no summer time have a fixed offset all year. Raises `InvalidInput` for another name.
    """
    if (east := fixed_offset(name)) is not None:
        return timezone(east)
    try:
        if _NO_PLACE.fullmatch(name):
            raise ValueError
        return ZoneInfo(name)
    # An absolute path or one with `..` is a `ValueError`, a folder of zones such as `Europe` an `OSError`.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        meant = _meant(name)
        raise errors.InvalidInput(
            f"there is no time zone {name!r}{f', is it {meant}?' if meant else ''}: name one of the IANA list, such as "
            "Europe/Berlin, America/Panama or UTC, or a fixed offset such as +01:00"
        ) from None


def fixed_offset(name: str) -> timedelta | None:
    """How far east of UTC a zone with a fixed offset such as `+01:00` is; None for another name."""
    if fixed := _FIXED.fullmatch(name):
        offset = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
        if offset <= _WIDEST_OFFSET:
            return -offset if fixed[1] == "-" else offset
    return None


def _meant(name: str) -> str:
    """The zone whose name differs in case, in spaces, or in a `UTC` before an offset only; empty if there is none."""
    if offset := re.fullmatch(r"(?:UTC|GMT)\s*([-+])(\d\d?)(?::?([0-5]\d))?", name.strip(), re.ASCII | re.IGNORECASE):
        return f"{offset[1]}{int(offset[2]):02}:{offset[3] or '00'}" if int(offset[2]) <= 14 else ""
    wanted = _plain(name)
    return next((one for one in sorted(available_timezones()) if _plain(one) == wanted), "")


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip().replace("\\", "/")).replace("_/", "/").replace("/_", "/").casefold()
