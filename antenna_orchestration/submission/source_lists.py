"""Reads lists of images: .txt files with one location per line, .csv and .parquet files with a column of locations.

This module only reads. `locations` decides what a location means, and `sources` which images are submitted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain.times import in_utc

LIST_SUFFIXES: Final = (".txt", ".csv", ".parquet")

LOCATION_COLUMNS: Final = ("url", "uri", "path", "file", "image")
"""Names of the location column, in any case; the first of these that a list has is used."""

_DELIMITERS: Final = ",;\t"


class Entry(NamedTuple):
    """One image of a list."""

    # Line in the file, or row in the Parquet table, counted from 1; for messages.
    number: int
    location: str
    captured_at: datetime | None
    deployment: str | None


def read(path: Path) -> list[Entry]:
    """All entries of a list, in order. Raises `InvalidSource`, which names the line that cannot be read."""
    readers = {".txt": _read_text, ".csv": _read_csv, ".parquet": _read_parquet}
    try:
        return list(readers[path.suffix.lower()](path))
    except OSError as error:
        raise errors.InvalidSource(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise errors.InvalidSource(f"{path}, line {_undecodable_line(path)}: not UTF-8 text") from None


def where(path: Path, number: int) -> str:
    """Where an entry is, for messages: the file, and its line or row."""
    return f"{path}, {'row' if path.suffix.lower() == '.parquet' else 'line'} {number}"


def parse_time(text: str) -> datetime | None:
    """Parse an ISO 8601 time; returns it in UTC, or None for empty text. A time without a zone is taken as UTC.

    Raises `InvalidSource` for any other text.
    """
    text = text.strip()
    if not text:
        return None
    try:
        return in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise errors.InvalidSource(f"{text!r} is not an ISO 8601 time such as 2024-06-01T23:15:00+02:00") from None


def _read_text(path: Path) -> Iterator[Entry]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            location = line.strip()
            if location and not location.startswith("#"):
                yield Entry(number, location, None, None)


def _read_csv(path: Path) -> Iterator[Entry]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        # Spreadsheets write semicolons in countries where the comma is the decimal sign.
        delimiter = max(_DELIMITERS, key=first.count)
        file.seek(0)
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            location, captured_at, deployment = _columns(path, next(rows, []))
            for row in rows:
                if not any(row):
                    continue
                place = where(path, rows.line_num)
                if len(row) <= location or not row[location].strip():
                    raise errors.InvalidSource(f"{place}: no location")
                yield Entry(
                    rows.line_num,
                    row[location].strip(),
                    _time_at(place, _cell(row, captured_at)),
                    _cell(row, deployment).strip() or None,
                )
        except csv.Error as error:
            raise errors.InvalidSource(f"{where(path, rows.line_num)}: {error}") from None


def _read_parquet(path: Path) -> Iterator[Entry]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            chosen = [None if index is None else names[index] for index in _columns(path, names)]
            table = file.read(columns=[name for name in chosen if name is not None])
        locations, times, deployments = (
            [None] * table.num_rows if name is None else _plain(table[name], is_time=name == chosen[1])
            for name in chosen
        )
    except pyarrow.ArrowException as error:
        raise errors.InvalidSource(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    for number, (location, time, deployment) in enumerate(zip(locations, times, deployments, strict=True), 1):
        place = where(path, number)
        if not location or not location.strip():
            raise errors.InvalidSource(f"{place}: no location")
        captured_at = time.replace(tzinfo=UTC) if isinstance(time, datetime) else _time_at(place, time or "")
        yield Entry(number, location.strip(), captured_at, (deployment or "").strip() or None)


def _plain(column: Any, *, is_time: bool) -> list[Any]:
    """The values of a column: as text, or, for timestamps, as naive datetimes in UTC."""
    import pyarrow

    if is_time and pyarrow.types.is_temporal(column.type):
        if pyarrow.types.is_timestamp(column.type) and column.type.tz:
            column = column.cast(pyarrow.timestamp("us", "UTC"), safe=False)
        return list(column.cast(pyarrow.timestamp("us"), safe=False).to_pylist())
    return list(column.cast(pyarrow.string()).to_pylist())


def _columns(path: Path, names: Sequence[str]) -> tuple[int, int | None, int | None]:
    """The indices of the columns location, captured_at and deployment; None for the latter two if missing."""
    places = {name.strip().lower(): index for index, name in reversed(list(enumerate(names)))}
    for wanted in LOCATION_COLUMNS:
        if wanted in places:
            return places[wanted], places.get("captured_at"), places.get("deployment")
    has = ", ".join(names) or "none"
    raise errors.InvalidSource(f"{path} has no column {', '.join(LOCATION_COLUMNS[:-1])} or image; its columns: {has}")


def _cell(row: Sequence[str], index: int | None) -> str:
    return row[index] if index is not None and index < len(row) else ""


def _time_at(place: str, text: str) -> datetime | None:
    try:
        return parse_time(text)
    except errors.InvalidSource as error:
        raise errors.InvalidSource(f"{place}: captured_at {error}") from None


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
