"""Which night a photograph belongs to."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from antenna_orchestration import errors

UTC_NAME: Final = "UTC"
"""The zone of everything for which none was named."""

_NOON: Final = timedelta(hours=12)


def night_of(moment: datetime, zone: tzinfo) -> date:
    """The night of a moment: from noon to noon in `zone`, named for the day on which it begins.

    `moment` is aware. At the calendar's two ends, where there is no day before or after, it is the moment's own date.
    """
    try:
        return (moment.astimezone(zone).replace(tzinfo=None) - _NOON).date()
    except OverflowError:
        return moment.date()


def zone_named(name: str) -> ZoneInfo:
    """The time zone of that name in the IANA list, such as `Europe/Berlin`. Raises `InvalidInput` for another name."""
    try:
        return ZoneInfo(name)
    # An absolute path or one with `..` is a `ValueError`, a folder of zones such as `Europe` an `OSError`.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise errors.InvalidInput(
            f"there is no time zone {name!r}: name one of the IANA list, such as Europe/Berlin, America/Panama or UTC"
        ) from None
