"""When a photograph was taken, from its file's name.

Camera traps stamp local time into their names and seldom say which zone; such a time is taken as UTC, so that a night
stays in order whoever reads it. The time in a file's EXIF data, which may know its zone, is read in `pipelines.images`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

# Year to second, each pair optionally set off by one separator, and neither preceded by a digit nor followed by one
# unless those are milliseconds: a serial number is not a date.
_STAMP = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_.T ]?(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)(?=\d{3}(?!\d)|(?!\d))"
)


def from_name(name: str) -> datetime | None:
    """The first valid stamp `YYYYMMDDHHMMSS` in a file's name, as UTC; None when there is none.

    `name` may be a path or a URL: only what follows the last slash, without a query, is looked at. Separators are
    allowed between any two parts, as in `2023-11-10_21-45-39`; days and times that do not exist are no stamps.
    """
    last = name.partition("?")[0].partition("#")[0].replace("\\", "/").rstrip("/").rpartition("/")[2]
    for match in _STAMP.finditer(last):
        try:
            year, month, day, hour, minute, second = map(int, match.groups())
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            continue
    return None
