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
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain import list_columns, nights
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.times import in_utc
from antenna_orchestration.submission import limits

_DELIMITERS: Final = ",;\t"

# What Excel writes and reads to say which character separates the cells.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)

_LONGEST_LINE: Final = 1_000_000
"""Characters of a line; the first one of a table has all its columns."""

_BATCH: Final = 1_000
"""Rows of a Parquet file that are read together: a value that is stored once can be large."""

_LONGEST_CELL: Final = 100_000
"""Bytes of a text that a Parquet file stores once for many rows; the longest location has 2,000."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
    """One image of a list."""

    # Line in the file, or row in the table, counted from 1; for messages.
    number: int
    location: str
    # As it is written: in its own zone, or without one.
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
    """A table before its rows are understood."""

    names: Sequence[str]
    # As they stand in the table; None without a column of locations.
    columns: list_columns.Columns | None
    # The number of each row, and its cells in the columns that are used: text, times, numbers, or None. A list may have
    # thousands of columns besides.
    rows: list[tuple[int, Sequence[Any]]]


def read(path: Path) -> Listing:
    """All entries of a list, in order.

    Raises `InvalidSource` if it cannot be read, has no column of locations, or no row of it can be used.
    """
    if path.stat().st_size > limits.MOST_LIST_BYTES:
        raise _too_large(path, f"more than {limits.MOST_LIST_BYTES // 2**20} MB")
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


def _too_large(path: Path, what: str) -> errors.InvalidSource:
    return errors.InvalidSource(f"{path} has {what}, which is too much for one list: cut it up, and submit the parts")


def _columns_of(path: Path, names: Sequence[str]) -> list_columns.Columns | None:
    if len(names) > limits.MOST_COLUMNS:
        raise _too_large(path, f"more than {limits.MOST_COLUMNS:,} columns")
    return list_columns.find(names)


def _counted(path: Path, number: int) -> int:
    """The number of a row. Raises `InvalidSource` beyond the most that a list may have."""
    if number > limits.MOST_ROWS:
        raise _too_large(path, f"more than {limits.MOST_ROWS:,} rows")
    return number


def where(path: Path, number: int) -> str:
    """Where an entry is, for messages: the file, and its line or row."""
    return f"{path}, {'line' if path.suffix.lower() in ('.txt', '.csv') else 'row'} {number}"


def _listing(path: Path, table: _Table, warnings: list[str]) -> Listing:
    """Understand the rows of a table."""
    if table.columns is None:
        has = ", ".join(table.names)[:1000] or "none"
        raise errors.InvalidSource(
            f"{path} has no column {', '.join(list_columns.LOCATIONS[:4])} or {list_columns.LOCATIONS[4]}; "
            f"its columns: {has}"
        )
    warnings += [
        f"{path} has several columns called {table.names[index]!r}: the first is used"
        for index in table.columns.used()
        if sum(list_columns.key(name) == list_columns.key(table.names[index]) for name in table.names) > 1
    ]
    columns = table.columns.packed()
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
    """A cell as a time, in its zone if it has one. Raises `ValueError` if it is not one."""
    if value is None or isinstance(value, datetime):
        return value
    if list_columns.is_day_alone(str(value)):
        raise ValueError(value)
    try:
        time = list_columns.parse_time(str(value), day_first=day_first)
        in_utc(time)
    except OverflowError as error:
        raise ValueError(value) from error
    return time


def _encoding(path: Path) -> str:
    """UTF-8, with or without a byte order mark, or UTF-16 as spreadsheets write it."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _read_text(path: Path) -> Iterator[Entry]:
    with path.open(encoding=_encoding(path)) as lines:
        for number in itertools.count(1):
            if not (line := lines.readline(_LONGEST_LINE)):
                break
            if len(line) == _LONGEST_LINE:
                raise errors.InvalidSource(f"{where(path, number)} is longer than {_LONGEST_LINE:,} characters")
            location = line.strip()
            _counted(path, number)
            if location and not location.startswith("#"):
                yield Entry(number, location, None, None)


def _read_csv(path: Path, warnings: list[str]) -> _Table:
    with path.open(encoding=_encoding(path), newline="") as file:
        skipped, delimiter, first = 0, "", ""
        while line := file.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise errors.InvalidSource(f"{where(path, skipped + 1)} is longer than {_LONGEST_LINE:,} characters")
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
            columns = _columns_of(path, names)
            rows = (
                (_counted(path, reader.line_num + skipped), row)
                for row in reader
                if any(row) and not row[0].lstrip().startswith("#")
            )
            return _Table(names, columns, _in_columns(path, len(names), columns, rows, warnings))
        except csv.Error as error:
            raise errors.InvalidSource(f"{where(path, reader.line_num + skipped)}: {error}") from None


def _in_columns(
    path: Path,
    width: int,
    columns: list_columns.Columns | None,
    rows: Iterable[tuple[int, list[str]]],
    warnings: list[str],
) -> list[tuple[int, Sequence[Any]]]:
    """The rows, without what stands beside the columns: R's row names, and cells behind the last column."""
    used = columns.used() if columns else ()
    kept: list[tuple[int, Sequence[Any]]] = []
    # The same if the first cell of each is the row's name.
    named: list[tuple[int, Sequence[Any]]] | None = []
    long = _Trouble()
    for number, row in rows:
        if named is not None and len(row) == width + 1 and row[0].isdigit():
            named.append((number, [row[index + 1] for index in used]))
        else:
            named = None
        kept.append((number, [row[index] if index < len(row) else None for index in used]))
        if any(row[width:]):
            long.add(where(path, number))
    if named:
        return named
    if long.count:
        warnings.append(
            f"{counted(long.count, 'row has', 'rows have')} more cells than the header of {path} has columns, is a "
            f"separator not quoted? The first: {long.first}"
        )
    return kept


def _read_json(path: Path, _warnings: list[str]) -> _Table:
    """MegaDetector's results, the output of `exiftool -json`, and any other list of objects."""
    try:
        with path.open(encoding=_encoding(path)) as file:
            text = file.read()
        if text.count("{") + text.count("[") > limits.MOST_CONTAINERS:
            raise _too_large(path, f"more than {limits.MOST_CONTAINERS:,} objects and lists")
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise errors.InvalidSource(f"{path} cannot be read as JSON: {error}") from None
    images = found.get("images") if isinstance(found, dict) else found
    if not isinstance(images, list) or not all(isinstance(one, dict) for one in images):
        raise errors.InvalidSource(f"{path} is not a list of objects, and has no list `images`")
    _counted(path, len(images))
    names = list(dict.fromkeys(name for one in images for name in one))
    columns = _columns_of(path, names)
    used = [names[index] for index in columns.used()] if columns else []
    return _Table(
        names,
        columns,
        [
            (number, [value if isinstance(value := one.get(name), str | int | float) else None for name in used])
            for number, one in enumerate(images, 1)
        ],
    )


def _read_parquet(path: Path, _warnings: list[str]) -> _Table:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            # A few bytes can stand for millions of rows.
            _counted(path, file.metadata.num_rows)
            names = list(file.schema_arrow.names)
            columns = _columns_of(path, names)
            used = [names[index] for index in columns.used()] if columns else []
            if _unpacked(file.metadata, used) > limits.MOST_LIST_BYTES:
                raise _too_large(path, f"more than {limits.MOST_LIST_BYTES // 2**20} MB, unpacked")
        rows: list[tuple[int, Sequence[Any]]] = []
        size = 0
        # A text that is stored once stays so until its length is known.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=used) as file:
            for batch in file.iter_batches(_BATCH, columns=used):
                # Two columns may have one name.
                columns_read = [
                    _unfolded(path, batch.column(batch.schema.get_all_field_indices(name)[0])) for name in used
                ]
                size += sum(one.nbytes for one in columns_read)
                if size > limits.MOST_LIST_BYTES:
                    raise _too_large(path, f"more than {limits.MOST_LIST_BYTES // 2**20} MB, unpacked")
                rows += enumerate(zip(*map(_plain, columns_read), strict=True), len(rows) + 1)
    except pyarrow.ArrowException as error:
        raise errors.InvalidSource(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    return _Table(names, columns, rows)


def _unpacked(metadata: Any, used: Sequence[str]) -> int:
    """Bytes of these columns in a Parquet file before they are packed, as it says itself."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(one.total_uncompressed_size for one in chunks if one.path_in_schema.split(".")[0] in used)


def _unfolded(path: Path, column: Any) -> Any:
    """A column with each of its values, which may be stored once for many rows."""
    import pyarrow
    import pyarrow.compute

    if not pyarrow.types.is_dictionary(column.type):
        return column
    if pyarrow.types.is_string(column.type.value_type) or pyarrow.types.is_binary(column.type.value_type):
        longest = pyarrow.compute.max(pyarrow.compute.binary_length(column.dictionary)).as_py() or 0
        if longest > _LONGEST_CELL:
            raise _too_large(path, f"a cell of more than {_LONGEST_CELL:,} characters")
    return column.dictionary_decode()


def _plain(column: Any) -> list[Any]:
    """The values of a column as text, or, for timestamps, as times, in the column's zone if it has one.

    What no calendar holds stays a number.
    """
    import pyarrow

    if not pyarrow.types.is_temporal(column.type):
        return list(column.cast(pyarrow.string()).to_pylist())
    seconds = pyarrow.types.is_timestamp(column.type) and column.type.unit == "s"
    zone = column.type.tz if pyarrow.types.is_timestamp(column.type) else None
    unit = "s" if seconds else "us"
    plain = column.cast(pyarrow.timestamp(unit, zone), safe=False).cast(pyarrow.int64())
    there = nights.zone_named(zone) if zone else None
    return [None if value is None else _moment(value, there, seconds=seconds) for value in plain.to_pylist()]


def _moment(value: int, zone: tzinfo | None, *, seconds: bool) -> datetime | str:
    try:
        at = _EPOCH + (timedelta(seconds=value) if seconds else timedelta(microseconds=value))
        return at.astimezone(zone) if zone else at.replace(tzinfo=None)
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
