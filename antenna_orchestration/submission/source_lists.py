"""Reads lists of images: text files with one location per line, and tables (.csv, .parquet, .json) as people have them.

`domain.list_columns` decides which columns say what. This module only reads; `locations` decides what a location means,
and `sources` which images are submitted. A row that cannot be read is left out and counted; a list is refused when it
cannot be read as a whole, or nothing of it is left.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain import list_columns
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.times import in_utc

_DELIMITERS: Final = ",;\t"

# What Excel writes and reads to say which character separates the cells.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
    """One image of a list."""

    # Line in the file, or row in the table, counted from 1; for messages.
    number: int
    location: str
    captured_at: datetime | None
    deployment: str | None
    # Where the image is if it is not at the location: lists name folders of the computer that wrote them.
    otherwise: str | None = None


@dataclass(kw_only=True, slots=True)
class Listing:
    """What a list names, and what the user should know of it."""

    entries: list[Entry]
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Trouble:
    """Rows that share a fault: how many, and the first of them."""

    count: int = 0
    first: str = ""

    def add(self, place: str) -> None:
        self.count += 1
        self.first = self.first or place


class _Table(NamedTuple):
    """A table before its columns are understood."""

    names: Sequence[str]
    # The number of each row, and its cells: text, times, numbers, or None.
    rows: list[tuple[int, Sequence[Any]]]


def read(path: Path) -> Listing:
    """All entries of a list, in order.

    Raises `InvalidSource` if it cannot be read, has no column of locations, or no row of it can be used.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".json": _read_json}
    try:
        if path.suffix.lower() == ".txt":
            return Listing(entries=list(_read_text(path)))
        warnings: list[str] = []
        return _listing(path, readers[path.suffix.lower()](path, warnings), warnings)
    except OSError as error:
        raise errors.InvalidSource(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise errors.InvalidSource(
            f"{path}, line {_undecodable_line(path)}: not UTF-8 text; save it as UTF-8"
        ) from None


def where(path: Path, number: int) -> str:
    """Where an entry is, for messages: the file, and its line or row."""
    return f"{path}, {'line' if path.suffix.lower() in ('.txt', '.csv') else 'row'} {number}"


def _listing(path: Path, table: _Table, warnings: list[str]) -> Listing:
    """Understand the rows of a table."""
    columns = list_columns.find(table.names)
    if columns is None:
        has = ", ".join(table.names) or "none"
        raise errors.InvalidSource(
            f"{path} has no column {', '.join(list_columns.LOCATIONS[:4])} or {list_columns.LOCATIONS[4]}; "
            f"its columns: {has}"
        )
    warnings += [
        f"{path} has several columns called {table.names[index]!r}: the first is used"
        for index in columns.used()
        if sum(list_columns.key(name) == list_columns.key(table.names[index]) for name in table.names) > 1
    ]
    nowhere, timeless = _Trouble(), _Trouble()
    times = 0
    entries: list[Entry] = []
    for number, row in table.rows:
        location, otherwise = columns.location(row)
        if location is None:
            nowhere.add(where(path, number))
            continue
        time, text = None, columns.time(row)
        try:
            time = _time(text, day_first=columns.day_first)
        except ValueError:
            timeless.add(f"{where(path, number)}: {columns.time_name} {str(text)[:80]!r}")
        times += text is not None
        entries.append(Entry(number, location, time, columns.deployment(row), otherwise))
    if nowhere.count and not entries:
        raise errors.InvalidSource(f"{nowhere.first}: no location")
    if nowhere.count:
        warnings.append(
            f"{counted(nowhere.count, 'row')} of {path} without a location: left out; the first: {nowhere.first}"
        )
    if timeless.count:
        message = f"{timeless.first} is not an ISO 8601 time such as 2024-06-01T23:15:00+02:00"
        if timeless.count == times and list_columns.key(columns.time_name) == "capturedat":
            raise errors.InvalidSource(message)
        warnings.append(f"{timeless.count} of {counted(times, 'time')} in {path} cannot be read: not used; {message}")
    return Listing(entries=entries, warnings=warnings)


def _time(value: Any, *, day_first: bool) -> datetime | None:
    """A cell as a time in UTC. Raises `ValueError` if it is not one."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        return in_utc(list_columns.parse_time(str(value), day_first=day_first))
    except OverflowError as error:
        raise ValueError(value) from error


def _encoding(path: Path) -> str:
    """UTF-8, with or without a byte order mark, or UTF-16 as spreadsheets write it."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _read_text(path: Path) -> Iterator[Entry]:
    with path.open(encoding=_encoding(path)) as lines:
        for number, line in enumerate(lines, 1):
            location = line.strip()
            if location and not location.startswith("#"):
                yield Entry(number, location, None, None)


def _read_csv(path: Path, warnings: list[str]) -> _Table:
    with path.open(encoding=_encoding(path), newline="") as file:
        skipped, delimiter, first = 0, "", ""
        for line in file:
            if said := _SEPARATOR_LINE.fullmatch(line):
                delimiter = said[1]
            elif line.strip() and not line.startswith("#"):
                first = line
                break
            skipped += 1
        # Spreadsheets write semicolons in countries where the comma is the decimal sign.
        delimiter = delimiter or max(_DELIMITERS, key=first.count)
        reader = csv.reader(itertools.chain([first], file), delimiter=delimiter, strict=True)
        try:
            names = next(reader, [])
            rows = [
                (reader.line_num + skipped, row) for row in reader if any(row) and not row[0].lstrip().startswith("#")
            ]
        except csv.Error as error:
            raise errors.InvalidSource(f"{where(path, reader.line_num + skipped)}: {error}") from None
    return _Table(names, _in_columns(path, len(names), rows, warnings))


def _in_columns(
    path: Path, width: int, rows: list[tuple[int, list[str]]], warnings: list[str]
) -> list[tuple[int, Sequence[Any]]]:
    """The rows without what stands beside the columns: R's row names, and cells behind the last column."""
    if rows and all(len(row) == width + 1 and row[0].isdigit() for _, row in rows):
        return [(number, row[1:]) for number, row in rows]
    long = _Trouble()
    for number, row in rows:
        if any(row[width:]):
            long.add(where(path, number))
    if long.count:
        warnings.append(
            f"{counted(long.count, 'row has', 'rows have')} more cells than the header of {path} has columns, is a "
            f"separator not quoted? The first: {long.first}"
        )
    return [(number, row[:width]) for number, row in rows]


def _read_json(path: Path, _warnings: list[str]) -> _Table:
    """MegaDetector's results, the output of `exiftool -json`, and any other list of objects."""
    try:
        with path.open(encoding=_encoding(path)) as file:
            found = json.load(file)
    except (json.JSONDecodeError, RecursionError) as error:
        raise errors.InvalidSource(f"{path} cannot be read as JSON: {error}") from None
    images = found.get("images") if isinstance(found, dict) else found
    if not isinstance(images, list) or not all(isinstance(one, dict) for one in images):
        raise errors.InvalidSource(f"{path} is no list of objects, and has no list `images`")
    names = list(dict.fromkeys(name for one in images for name in one))
    return _Table(
        names,
        [
            (number, [value if isinstance(value := one.get(name), str | int | float) else None for name in names])
            for number, one in enumerate(images, 1)
        ],
    )


def _read_parquet(path: Path, _warnings: list[str]) -> _Table:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            columns = list_columns.find(names)
            used = columns.used() if columns else ()
            table = file.read(columns=[names[index] for index in used])
        cells: list[Iterable[Any]] = [itertools.repeat(None, table.num_rows)] * len(names)
        for index in used:
            # Two columns may have one name.
            cells[index] = _plain(table.column(table.schema.get_all_field_indices(names[index])[0]))
        rows = list(enumerate(zip(*cells, strict=True), 1))
    except pyarrow.ArrowException as error:
        raise errors.InvalidSource(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    return _Table(names, [(number, row) for number, row in rows])


def _plain(column: Any) -> list[Any]:
    """The values of a column as text, or, for timestamps, as times in UTC; what no calendar holds stays a number."""
    import pyarrow

    if not pyarrow.types.is_temporal(column.type):
        return list(column.cast(pyarrow.string()).to_pylist())
    seconds = pyarrow.types.is_timestamp(column.type) and column.type.unit == "s"
    zone = column.type.tz if pyarrow.types.is_timestamp(column.type) else None
    unit = "s" if seconds else "us"
    plain = column.cast(pyarrow.timestamp(unit, zone), safe=False).cast(pyarrow.int64())
    return [None if value is None else _moment(value, seconds=seconds) for value in plain.to_pylist()]


def _moment(value: int, *, seconds: bool) -> datetime | str:
    try:
        return _EPOCH + (timedelta(seconds=value) if seconds else timedelta(microseconds=value))
    except OverflowError:
        return f"{value} {'seconds' if seconds else 'microseconds'} after 1970"


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
