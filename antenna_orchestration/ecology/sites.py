"""What people say of deployments: files such as `sites.csv`, and single values; read, checked, and made into places.

Names of columns are compared without case, spaces, `_`, `-` and `.`, so `coordinateUncertainty` is
`coordinate_uncertainty`. A column that is not known is kept as it is. What is said replaces what was known: an empty
cell takes a value back, and a column that is not there leaves it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain import list_columns, nights
from antenna_orchestration.ecology import table_text
from antenna_orchestration.ecology.model import Place

MOST_BYTES: Final = 16 * 2**20
"""Of a file. 50,000 deployments with ten columns take five."""

MOST_ROWS: Final = 50_000

MOST_COLUMNS: Final = 200

LONGEST_CELL: Final = 2_000
"""Characters."""

LONGEST_NAME: Final = 200
"""Characters of a deployment's name, as a submission allows."""

LONGEST_SHIFT: Final = timedelta(days=36_525)
"""A clock that was reset to 1970 is out by less than a century."""

_DELIMITERS: Final = ",;\t|"

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?", re.ASCII)

_SHIFT = re.compile(
    r"(?P<sign>[-+])(?=\d)(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m(?:in)?)?(?:(?P<s>\d+)s)?", re.I
)


class Fault(NamedTuple):
    """Why something that was said cannot be used."""

    # Where: `row 4`; empty for single values.
    row: str
    column: str
    problem: str

    def __str__(self) -> str:
        place = ", ".join(filter(None, (self.row, self.column)))
        return f"{place}: {self.problem}" if place else self.problem


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """A column that is known."""

    # Of `Place`.
    field: str
    # As error messages and `show` name it.
    name: str
    # Further names, as `list_columns.key` gives them.
    also: tuple[str, ...] = ()
    parse: Callable[[str], Any]


class _Unusable(Exception):
    """A cell cannot be used; the message says why."""


def _number(least: float, most: float, *, above: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text):
            hint = f": write a decimal point, {text.replace(',', '.')}" if re.fullmatch(r"[-+]?\d+,\d+", text) else ""
            raise _Unusable(f"{text[:40]!r} is not a number{hint}")
        number = float(text)
        if not least <= number <= most or (above and number == least) or math.isinf(number):
            limits = f"more than {least:g} and at most {most:g}" if above else f"between {least:g} and {most:g}"
            raise _Unusable(f"{text[:40]} is not {limits}")
        return number

    return parse


def _zone(text: str) -> str:
    try:
        nights.zone_named(text)
    except errors.InvalidInput as error:
        raise _Unusable(str(error)) from None
    return text


def _clock(text: str) -> str:
    if text.lower() not in ("local", "utc"):
        raise _Unusable(f"{text[:40]!r} is neither local nor UTC: what the camera's clock showed")
    return text.lower()


def _country(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2}", text):
        raise _Unusable(f"{text[:40]!r} is not a country code of two letters, such as PA")
    return text.upper()


def _text(text: str) -> str:
    if not text.replace("\n", " ").replace("\t", " ").isprintable():
        raise _Unusable(f"{text[:40]!r} holds characters that cannot be printed")
    return text


def _time(end_of_day: bool) -> Callable[[str], datetime]:
    def parse(text: str) -> datetime:
        try:
            at = list_columns.parse_time(text)
        except ValueError:
            raise _Unusable(f"{text[:40]!r} is not a time such as 2026-06-12 20:00, in local time") from None
        if not 1900 <= at.year <= 2199:
            raise _Unusable(f"{text[:40]!r} is not a time at which cameras stood anywhere")
        is_day = end_of_day and re.fullmatch(r"\d{4}-?\d\d-?\d\d", text)
        return datetime.combine(at, time(23, 59, 59)) if is_day else at

    return parse


_COLUMNS: Final = (
    _Column(field="deployment", name="deployment", also=(*list_columns.DEPLOYMENTS, "deploymentname"), parse=_text),
    _Column(field="latitude", name="latitude", also=("lat", "decimallatitude"), parse=_number(-90, 90)),
    _Column(field="longitude", name="longitude", also=("lon", "lng", "decimallongitude"), parse=_number(-180, 180)),
    _Column(
        field="uncertainty_m",
        name="coordinateUncertainty",
        also=("coordinateuncertaintyinmeters", "uncertainty", "uncertaintym"),
        parse=_number(0, 20_040_000, above=True),
    ),
    _Column(field="time_zone", name="timezone", also=("zone", "tz"), parse=_zone),
    _Column(field="clock", name="clock", parse=_clock),
    _Column(field="starts_at", name="deploymentStart", also=("start", "startsat"), parse=_time(end_of_day=False)),
    _Column(field="ends_at", name="deploymentEnd", also=("end", "endsat"), parse=_time(end_of_day=True)),
    _Column(field="location_name", name="locationName", also=("name",), parse=_text),
    _Column(field="country_code", name="countryCode", parse=_country),
    _Column(field="pixels_per_mm", name="pixels_per_mm", parse=_number(0, 1_000_000, above=True)),
)

NAMES: Final = {column.field: column.name for column in _COLUMNS}
"""Of each field of a place that people set, its column's name."""

_BY_FIELD: Final = {column.field: column for column in _COLUMNS}

_BY_KEY: Final = {
    key: column for column in _COLUMNS for key in (list_columns.key(column.name), *column.also, column.field)
}


def read_csv(data: bytes, known: Mapping[str, Place], file: str = "the file") -> list[Place]:
    """The places that a file names, in its order: what it says, over what is known of them.

    The file is UTF-8, with or without a byte order mark, or UTF-16; its cells are set off by commas, semicolons,
    tabs or bars. Raises `InvalidTable`, which lists what is wrong, for the whole of it; rows count from 1, the header.
    """
    if len(data) > MOST_BYTES:
        raise errors.InvalidTable(file, [f"more than {MOST_BYTES // 2**20} MB"])
    try:
        table = table_text.opened(table_text.decoded(data), _DELIMITERS)
    except table_text.NotText as error:
        raise errors.InvalidTable(file, [str(error)]) from None
    reader = csv.reader(io.StringIO(table.text, newline=""), delimiter=table.delimiter, strict=True)
    rows: list[tuple[str, list[str]]] = []
    try:
        for number, row in enumerate(reader, 1):
            if any(cell.strip() for cell in row):
                rows.append((f"row {number}", row))
            if len(rows) > MOST_ROWS + 1:
                raise errors.InvalidTable(file, [f"more than {MOST_ROWS:,} rows"])
    except csv.Error as error:
        raise errors.InvalidTable(file, [f"line {reader.line_num}: {error}"]) from None
    if not rows:
        raise errors.InvalidTable(file, ["it is empty"])
    (_, header), *body = rows
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    faults = _faults_of_header(names)
    faults += [
        Fault(where, "", f"{len(row)} cells, but the header has {len(names)} columns: is a separator not quoted?")
        for where, row in body
        if any(cell.strip() for cell in row[len(names) :])
    ]
    if faults:
        raise errors.InvalidTable(file, map(str, faults))
    return _places(
        (
            (where, {name: row[place] if place < len(row) else "" for place, name in enumerate(names)})
            for where, row in body
        ),
        known,
        file,
    )


def read_objects(objects: Sequence[Mapping[str, Any]], known: Mapping[str, Place]) -> list[Place]:
    """The same for objects whose keys are the columns; numbers may be numbers, and null is an empty cell."""
    file = "deployments"
    if len(objects) > MOST_ROWS:
        raise errors.InvalidTable(file, [f"more than {MOST_ROWS:,} of them"])
    faults: list[str] = []
    rows: list[tuple[str, dict[str, str]]] = []
    for number, one in enumerate(objects, 1):
        where = f"number {number}"
        faults += [str(fault._replace(row=where)) for fault in _faults_of_header(list(one))]
        faults += [
            str(Fault(where, name[:80], "neither text nor a number"))
            for name, value in one.items()
            if isinstance(value, bool) or not isinstance(value, str | int | float | None)
        ]
        rows.append((where, {name: "" if value is None else str(value) for name, value in one.items()}))
    if faults:
        raise errors.InvalidTable(file, faults)
    return _places(rows, known, file)


def changed(place: Place, values: Mapping[str, str]) -> Place:
    """The place with single values set, by the names of its fields; an empty text takes a value back.

    Raises `InvalidInput` that says what is wrong with the first of them.
    """
    for name, value in values.items():
        # In a file `nan` is an empty cell, as programs write it; here somebody typed it.
        if value.strip() and list_columns.is_missing(value) and name != "country_code":
            column = _BY_FIELD[name].name
            raise errors.InvalidInput(f"{column}: {value[:40]!r} is not a valid value; '' takes it back")
    made, faults = _merged(place, {_BY_FIELD[name].name: value for name, value in values.items()}, "")
    if faults:
        raise errors.InvalidInput(str(faults[0]))
    return made


def parse_shift(text: str) -> int:
    """A shift such as `+1h`, `-12h30m`, `+8257d` or `+90s`, in seconds. Raises `InvalidInput`."""
    match = _SHIFT.fullmatch(text.strip()) if len(text) <= LONGEST_NAME else None
    parts = {unit: int(match[unit] or 0) if len(match[unit] or "") < 12 else 10**12 for unit in "dhms"} if match else {}
    seconds = sum(count * size for count, size in zip(parts.values(), (86400, 3600, 60, 1), strict=False))
    if match is None or not seconds:
        raise errors.InvalidInput(
            f"{text[:40]!r} is not a shift: how much later the clock should have been, such as +1h, -12h30m or +8257d"
        )
    if seconds > LONGEST_SHIFT.total_seconds():
        raise errors.InvalidInput(f"a shift of {text[:40]} is more than a century")
    return -seconds if match["sign"] == "-" else seconds


def _faults_of_header(names: Sequence[str]) -> list[Fault]:
    """What is wrong with the columns."""
    if len(names) > MOST_COLUMNS:
        return [Fault("row 1", "", f"more than {MOST_COLUMNS} columns")]
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for name in names:
        column = _BY_KEY.get(list_columns.key(name))
        key = column.field if column else name
        if not name:
            faults.append(Fault("row 1", "", "a column without a name"))
        elif len(name) > LONGEST_NAME or not name.isprintable():
            faults.append(Fault("row 1", name[:40], "a column's name has at most 200 characters, on one line"))
        elif key in seen:
            faults.append(Fault("row 1", name, f"the same column as {seen[key]}"))
        seen[key] = name
    if "deployment" not in seen:
        faults.append(Fault("row 1", "", "no column deployment"))
    return faults


def _places(rows: Iterable[tuple[str, Mapping[str, str]]], known: Mapping[str, Place], file: str) -> list[Place]:
    """The place of each row. Raises `InvalidTable` with the faults of all rows."""
    places: list[Place] = []
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for where, cells in rows:
        title = next(name for name in cells if _BY_KEY.get(list_columns.key(name)) is _BY_FIELD["deployment"])
        name = cells[title].strip()
        if problem := fault_of_name(name):
            faults.append(Fault(where, title, problem))
            continue
        if name in seen:
            faults.append(Fault(where, title, f"{name!r} is in {seen[name]} already"))
            continue
        seen[name] = where
        said = {column: cell for column, cell in cells.items() if column != title}
        place, found = _merged(known.get(name) or Place(deployment=name), said, where)
        places.append(place)
        faults += found
    if not places and not faults:
        faults.append(Fault("", "", "no deployments"))
    if faults:
        raise errors.InvalidTable(file, map(str, faults))
    return places


def fault_of_name(name: str) -> str | None:
    """Why a deployment cannot have this name; None if it can."""
    if list_columns.is_missing(name):
        return "no name"
    if len(name) > LONGEST_NAME:
        return f"longer than {LONGEST_NAME} characters"
    return None if name.isprintable() else f"{name[:40]!r} holds characters that cannot be printed"


def _merged(place: Place, said: Mapping[str, str], where: str) -> tuple[Place, list[Fault]]:
    """The place with what is said of it, and what is wrong with that."""
    values: dict[str, Any] = {}
    titles: dict[str, str] = {}
    further = dict(place.further)
    faults: list[Fault] = []
    for title, cell in said.items():
        text = cell.strip()
        column = _BY_KEY.get(list_columns.key(title))
        if len(text) > LONGEST_CELL:
            faults.append(Fault(where, title, f"longer than {LONGEST_CELL:,} characters"))
        elif column is None:
            further.pop(title, None)
            if text:
                further[title] = cell
        # NA is Namibia.
        elif not text or (list_columns.is_missing(text) and column.field != "country_code"):
            values[column.field] = "local" if column.field == "clock" else None
            titles[column.field] = title
        else:
            titles[column.field] = title
            try:
                values[column.field] = column.parse(text)
            except _Unusable as error:
                faults.append(Fault(where, title, str(error)))
    faults += [
        Fault(where, name, "holds characters that cannot be stored")
        for name, text in further.items()
        if "\0" in text or text.encode("utf-8", "ignore").decode() != text
    ]
    if faults:
        return place, faults
    made = replace(place, **values, further=further)
    # A name that is there already may be of a zone that this machine does not know.
    if "time_zone" in values:
        made = replace(made, zone=nights.zone_named(made.time_zone) if made.time_zone else None)
    return _checked(made, titles, where)


def _checked(place: Place, titles: Mapping[str, str], where: str) -> tuple[Place, list[Fault]]:
    """The place, its times local; and what does not fit together."""
    faults: list[Fault] = []
    if (place.latitude is None) != (place.longitude is None):
        given, missing = ("longitude", "latitude") if place.latitude is None else ("latitude", "longitude")
        title = titles.get(missing) or titles.get(given) or missing
        faults.append(Fault(where, title, f"{given} without {missing}: give both, or neither"))
    for field in ("starts_at", "ends_at"):
        at: datetime | None = getattr(place, field)
        if at and at.tzinfo:
            if place.zone is None:
                problem = (
                    f"{at.isoformat(' ')} has an offset, but the deployment has no time zone: give it, or local time"
                )
                faults.append(Fault(where, titles.get(field, NAMES[field]), problem))
            local: dict[str, Any] = {field: at.astimezone(place.zone).replace(tzinfo=None, fold=0)}
            place = replace(place, **local)
    if place.starts_at and place.ends_at and place.ends_at <= place.starts_at:
        title = titles.get("ends_at") or titles.get("starts_at") or NAMES["ends_at"]
        faults.append(Fault(where, title, f"the end, {place.ends_at}, is not after the start, {place.starts_at}"))
    return place, faults
