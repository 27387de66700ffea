"""Which columns of a list say where an image is, when it was taken, and at which deployment; and what their cells mean.

The names are those of the programs that people use: Timelapse, AddaxAI, MegaDetector, exiftool, camtrapR, camtrapDP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from antenna_orchestration.domain import capture_time

LOCATIONS: Final = (
    "url", "uri", "path", "file", "image",
    "sourcefile", "filepath", "imagepath", "absolutepath", "relativepath", "filename",
)  # fmt: skip
"""Names of the column of locations; the first that a list has is used. See `key` for how names are compared."""

_FOLDERS: Final = (("absolutepath", "relativepath"), ("relativepath", "file"), ("relativepath", "filename"),
                   ("directory", "filename"))  # fmt: skip
"""Pairs of a folder and a name: AddaxAI's, Timelapse's, camtrapR's."""

_TIMES: Final = ("capturedat", "datetimeoriginal", "datetime", "timestamp", "createdate", "datetimedigitized")

DEPLOYMENTS: Final = ("deployment", "deploymentid", "station")
"""Names of the column of deployments, as `key` gives them."""

_MISSING: Final = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none"})
"""What programs write where there is no value: R, Excel, pandas, SQL, Python."""

_LONGEST_TIME: Final = 200
"""Characters of a cell that may be a time; a file name with one is a time, too."""

_ZEROS = re.compile(r"[0\s:./T-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The columns of one list, by their index."""

    name: int
    folder: int | None
    # In order: the first that has a value counts.
    times: tuple[int, ...]
    # Date and time of day, if they are apart.
    date_and_time: tuple[int, int] | None
    site: int | None
    # The first column of times, for messages.
    time_name: str
    # AddaxAI writes times as 14/09/25 20:53:06.
    day_first: bool

    def used(self) -> tuple[int, ...]:
        """The indices of all columns that are read, each once, in order."""
        every = (self.name, self.folder, *self.times, *(self.date_and_time or ()), self.site)
        return tuple(sorted({index for index in every if index is not None}))

    def packed(self) -> Columns:
        """The same for rows that have the columns of `used` only, in that order."""
        place = {index: place for place, index in enumerate(self.used())}
        return replace(
            self,
            name=place[self.name],
            folder=None if self.folder is None else place[self.folder],
            times=tuple(place[index] for index in self.times),
            date_and_time=(place[self.date_and_time[0]], place[self.date_and_time[1]]) if self.date_and_time else None,
            site=None if self.site is None else place[self.site],
        )

    def location(self, row: Sequence[Any]) -> tuple[str | None, str | None]:
        """Where the image is, and where it is if not there; None without a value."""
        name = _cell(row, self.name)
        folder = _cell(row, self.folder) if self.folder is not None else None
        if name is None or folder is None or "://" in name or name.startswith(("/", "~")):
            return name, None
        return f"{folder.rstrip('/')}/{name}" if folder != "/" else f"/{name}", name

    def time(self, row: Sequence[Any]) -> Any:
        """The cell that says when the image was taken; None without a value."""
        for index in self.times:
            value = row[index] if index < len(row) else None
            if value is not None and (not isinstance(value, str) or not _is_zero(value)):
                return value
        if self.date_and_time is None:
            return None
        date, time = (_cell(row, index) for index in self.date_and_time)
        return f"{date} {time}" if date and time and not _is_zero(date) else None

    def deployment(self, row: Sequence[Any]) -> str | None:
        """The deployment; None without a value."""
        return None if self.site is None else _cell(row, self.site)


def key(name: str) -> str:
    """A column's name as names are compared: without case, spaces, `_`, `-` and `.`."""
    return re.sub(r"[\s_.-]", "", name.lower())


def find(names: Sequence[str]) -> Columns | None:
    """The columns of a list with this header; None without a column of locations."""
    places = {key(name): index for index, name in reversed(list(enumerate(names)))}
    best: str | None = next((name for name in LOCATIONS[:3] if name in places), None)
    pair = next((pair for pair in _FOLDERS if set(pair) <= places.keys()), None) if best is None else None
    # exiftool gives folder and name as well, without the way that it took there.
    if pair and "sourcefile" in places:
        best, pair = "sourcefile", None
    if pair:
        best = pair[1]
    elif best is None:
        best = next((name for name in LOCATIONS if name in places), None)
    if best is None:
        return None
    times = tuple(places[name] for name in _TIMES if name in places)
    date_and_time = (places["date"], places["time"]) if {"date", "time"} <= places.keys() else None
    return Columns(
        name=places[best],
        folder=places[pair[0]] if pair else None,
        times=times,
        date_and_time=date_and_time,
        site=next((places[name] for name in DEPLOYMENTS if name in places), None),
        time_name=names[times[0]].strip().lower() if times else "date",
        day_first=pair == _FOLDERS[0],
    )


def is_missing(text: str) -> bool:
    """Whether a cell stands for no value."""
    return text.strip().lower() in _MISSING


def parse_time(text: str, *, day_first: bool = False) -> datetime:
    """A time in ISO 8601, as in EXIF data, or with the month's name; its zone is kept, if it has one.

    With `day_first`, `14/09/25 20:53:06` is read as well. Raises `ValueError` for any other text: whether 09/10 is in
    September or in October, nobody can tell.
    """
    text = text.strip()
    if len(text) > _LONGEST_TIME:
        raise ValueError(text[:_LONGEST_TIME])
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        taken = capture_time.from_text(text) or capture_time.from_name(text)
    if taken:
        return taken.local.replace(tzinfo=taken.zone)
    shapes = ("%d-%b-%Y %H:%M:%S", "%d %b %Y %H:%M:%S", *(("%d/%m/%y %H:%M:%S",) if day_first else ()))
    for shape in shapes:
        try:
            return datetime.strptime(text, shape)  # noqa: DTZ007  # without a zone
        except ValueError:
            continue
    raise ValueError(text)


def is_day_alone(text: str) -> bool:
    """Whether a text is a date without a time of day, which is no moment: midnight belongs to the night before."""
    try:
        date.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


def _is_zero(text: str) -> bool:
    """Whether it stands for no time: `NA`, `0000-00-00 00:00:00`."""
    return is_missing(text) or _ZEROS.fullmatch(text) is not None


def _cell(row: Sequence[Any], index: int) -> str | None:
    value = row[index] if index < len(row) else None
    text = "" if value is None else str(value).strip()
    return None if is_missing(text) else text
