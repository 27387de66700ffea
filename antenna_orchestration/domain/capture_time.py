"""When a photograph was taken, from its file's name or from the tags of its EXIF data.

Camera traps stamp local time and seldom say which zone; such a time is taken as UTC where the deployment's zone is not
known, so that a night stays in order whoever reads it (`ecology.places` has the rule). This module decides what a name
or a tag means; `pipelines.images` reads the tags of a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

_SPACE = " \u00a0\u202f"
"""Spaces that systems put before AM and PM."""

# Year to second, each part optionally set off by a separator, and neither preceded by a digit nor followed by one
# unless those are a fraction of the second: a serial number is not a date. A counter (`-0016`) is not a zone, so a zone
# west of Greenwich needs its colon.
_STAMP = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)[-_. :]?(?P<month>\d\d)[-_. :]?(?P<day>\d\d)"
    rf"(?:[-_{_SPACE}]+at[-_{_SPACE}]+|[-_.,Tt ]{{1,3}})?"
    r"(?P<hour>\d\d|(?<!\d)\d(?=[-_.:h ]))[-_.:h ]?(?P<minute>\d\d)[-_.:m ]?(?P<second>\d\d)"
    r"(?:[.,]?(?P<fraction>\d{6}|\d{3})(?!\d)|(?!\d))"
    rf"(?:[-_.{_SPACE}]?(?P<half>[AaPp])\.?[Mm](?![A-Za-z]))?"
    r"(?P<zone>[Zz](?![A-Za-z])|\+\d\d:?\d\d(?!\d)|-\d\d:\d\d(?!\d))?"
)

# YYMMDDHHMMSS; a date and a time that are set off are more than twelve digits in a row.
_SHORT_STAMP = re.compile(
    r"(?<!\d)(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)[-_ ]?(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?!\d)"
)

# As motion and motionEye write them: 2025-09-14/20-53-06.jpg, or -01 for the second picture of that second.
_FOLDER_OF_A_DAY = re.compile(r"(\d{4}[-_.]?\d\d[-_.]?\d\d)/(\d\d[-_.]?\d\d[-_.]?\d\d)([-_]\d{1,3})?\.\w+", re.ASCII)

_EXIF_TIME = re.compile(
    r"(?P<year>\d{4})[-:/.](?P<month>[ \d]?\d)[-:/.](?P<day>[ \d]?\d)[Tt ]+"
    r"(?P<hour>\d{1,2}):(?P<minute>[ \d]?\d)(?::(?P<second>[ \d]?\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    rf"[{_SPACE}]*(?:(?P<half>[AaPp])\.?[Mm]\.?)?[{_SPACE}]*(?P<zone>[Zz]|[-+]\d.*)?"
)

_OFFSET = re.compile(r"(?:UTC|GMT)?\s*(?:(?P<sign>[-+])(?P<hours>\d{1,2})(?::?(?P<minutes>\d\d))?(?::?00)?|Z)?", re.I)

_TIMES: Final = (
    # DateTimeOriginal, DateTimeDigitized and DateTime; each with its own SubSecTime and OffsetTime.
    (0x9003, 0x9291, 0x9011),
    (0x9004, 0x9292, 0x9012),
    (0x0132, 0x9290, 0x9010),
)
_TIME_ZONE_OFFSET: Final = 0x882A
"""Whole hours, written by older cameras: one number, or two of which the first is for the photograph."""

_LONGEST: Final = 100
"""Characters of a time. One of 100,000 spaces took ten minutes to be recognized as none."""

_WIDEST_OFFSET: Final = timedelta(hours=14)
"""No place on Earth is further from UTC."""


class Taken(NamedTuple):
    """When a photograph was taken, as its camera wrote it."""

    # Without a time zone.
    local: datetime
    # None if the camera wrote none.
    zone: timezone | None

    @classmethod
    def of(cls, time: datetime) -> Taken:
        """The same of a time as it is written: its digits, and its offset if it has a zone."""
        offset = time.utcoffset()
        return cls(time.replace(tzinfo=None, fold=0), None if offset is None else timezone(offset))

    @property
    def offset(self) -> int | None:
        """How many minutes east of UTC the local time is; None if the camera wrote no zone."""
        return round(self.zone.utcoffset(None).total_seconds() / 60) if self.zone else None

    @property
    def utc(self) -> datetime:
        """The moment in UTC; without a zone the local time is taken as UTC."""
        try:
            return self.local.replace(tzinfo=self.zone or UTC).astimezone(UTC)
        except OverflowError:
            return self.local.replace(tzinfo=UTC)


def from_name(name: str) -> Taken | None:
    """The first valid stamp from year to second in a file's name; None when there is none.

    `name` may be a path or a URL: only what follows the last slash, without a query, is looked at, and the folder above
    it if that is a day and the name a time. Separators are allowed between any two parts, as in `2023-11-10_21-45-39`,
    and so are a fraction of the second, AM or PM, and a zone. A year may have two digits where twelve digits stand in a
    row. Days and times that do not exist are not stamps.
    """
    if name.startswith(("http://", "https://")):
        name = name.partition("?")[0].partition("#")[0]
    path = name.replace("\\", "/").rstrip("/")
    *_, folder, last = ["", *path.split("/")]
    for match in _STAMP.finditer(last):
        if taken := _taken(match.groupdict()):
            return taken
    for match in _SHORT_STAMP.finditer(last):
        # 201012102053 may also be 2010-12-10 20:53; a wrong time is worse than none.
        taken = _taken({**match.groupdict(), "year": f"20{match['year']}"})
        if taken and not _is_minute(match.group()):
            return taken
    by_day = _FOLDER_OF_A_DAY.fullmatch(f"{folder}/{last}")
    stamp = by_day and _STAMP.fullmatch(f"{by_day[1]} {by_day[2]}")
    return _taken(stamp.groupdict()) if stamp else None


def from_exif(tags: Mapping[int, Any]) -> Taken | None:
    """The time in EXIF tags, given by their numbers: when it was taken, else digitized, else written; None without any.

    It is read with its fraction of a second and its zone, if they are there. Times may be written with colons, dashes
    or as ISO 8601, and on a clock of twelve or of 24 hours.
    """
    for time, fraction, offset in _TIMES:
        match = _EXIF_TIME.fullmatch(_text(tags.get(time)))
        if match is None:
            continue
        parts = match.groupdict()
        digits = re.match(r"\d+", _text(tags.get(fraction)))
        parts["fraction"] = parts["fraction"] or (digits.group() if digits else None)
        if taken := _taken(parts):
            return taken if taken.zone else taken._replace(zone=_exif_zone(tags, offset))
    return None


def from_text(text: str) -> Taken | None:
    """A time as EXIF data have it, `2025:09:14 20:53:06`, in any of its variants; None for other text."""
    match = _EXIF_TIME.fullmatch(text) if len(text) <= _LONGEST else None
    return _taken(match.groupdict()) if match else None


def together(in_name: Taken, in_exif: Taken) -> Taken:
    """The better of two times of one photograph: the name's, unless the EXIF data say the same and more.

    The same local time with a zone says more than one without, and so does a fraction of the second. Other times in the
    EXIF data count less than the name: clocks are set right, and files renamed, by people.
    """
    if in_name.zone is None and in_exif.local.replace(microsecond=0) == in_name.local.replace(microsecond=0):
        return Taken(in_exif.local if in_exif.local.microsecond else in_name.local, in_exif.zone)
    if not in_name.local.microsecond and in_exif.utc.replace(microsecond=0) == in_name.utc:
        return in_exif
    return in_name


def parse_offset(text: str) -> timezone | None:
    """A zone such as `+02:00`, `+2:00`, `-0330`, `+2`, `UTC+2` or `Z`; None for anything else."""
    match = _OFFSET.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or not text:
        return None
    offset = timedelta(hours=int(match["hours"] or 0), minutes=int(match["minutes"] or 0))
    if offset > _WIDEST_OFFSET:
        return None
    return timezone(-offset if match["sign"] == "-" else offset)


def _taken(parts: Mapping[str, str | None]) -> Taken | None:
    """The time of parts that were matched; None if there is no such day or time."""
    year, month, day, hour, minute, second = (
        int(parts.get(name) or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    half = (parts.get("half") or "").lower()
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    fraction = ((parts.get("fraction") or "") + "000000")[:6]
    try:
        local = datetime(year, month, day, hour, minute, second, int(fraction))  # noqa: DTZ001  # the zone is apart
    except ValueError:
        return None
    return Taken(local, parse_offset((parts.get("zone") or "").strip()))


def _is_minute(digits: str) -> bool:
    """Whether the digits are also a date with four digits for the year, and a time without seconds."""
    try:
        datetime.strptime(digits, "%Y%m%d%H%M")  # noqa: DTZ007
    except ValueError:
        return False
    return digits.startswith(("19", "20"))


def _exif_zone(tags: Mapping[int, Any], own: int) -> timezone | None:
    """The zone: of the time itself, else of another time of the photograph, else in whole hours."""
    for tag in (own, *(offset for _, _, offset in _TIMES)):
        if zone := parse_offset(_text(tags.get(tag))):
            return zone
    hours = tags.get(_TIME_ZONE_OFFSET)
    hours = hours[0] if isinstance(hours, tuple) and hours else hours
    return timezone(timedelta(hours=hours)) if isinstance(hours, int) and abs(hours) <= 14 else None


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.partition("\0")[0].strip()[:_LONGEST]
