"""Which night a photograph belongs to, and in which time zone."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Final
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
    if fixed := _FIXED.fullmatch(name):
        offset = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
        if offset <= _WIDEST_OFFSET:
            return timezone(-offset if fixed[1] == "-" else offset)
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


def _meant(name: str) -> str:
    """The zone whose name differs in case, in spaces, or in a `UTC` before an offset only; empty if there is none."""
    if offset := re.fullmatch(r"(?:UTC|GMT)\s*([-+])(\d\d?)(?::?([0-5]\d))?", name.strip(), re.ASCII | re.IGNORECASE):
        return f"{offset[1]}{int(offset[2]):02}:{offset[3] or '00'}" if int(offset[2]) <= 14 else ""
    wanted = _plain(name)
    return next((one for one in sorted(available_timezones()) if _plain(one) == wanted), "")


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip().replace("\\", "/")).replace("_/", "/").replace("/_", "/").casefold()
