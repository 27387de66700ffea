"""`tables`: what ecologists open first. Observations, nights, counts, deployments and failures, one file each.

As XLSX they are the sheets of one workbook. A text that a spreadsheet would run as a formula has an apostrophe before
it in CSV; in a workbook it is marked as text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pyarrow.types

from antenna_orchestration import errors
from antenna_orchestration.domain import csv_cells
from antenna_orchestration.ecology.names import Names
from antenna_orchestration.exports.flat_columns import (
    FURTHER,
    PLACES,
    TABLES,
    WORKBOOK,
    Column,
    Layout,
    layout,
    query,
    schema,
)
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import Material, path_below
from antenna_orchestration.lake import arrow

MOST_ROWS: Final = 1_048_575
"""Rows of a sheet below its header; Excel opens no more."""

_ROWS: Final = 32_768
"""Rows that are in memory at once."""

_EARLIEST_OF_EXCEL: Final = 1900
"""Years before have no dates in Excel: they are written as text."""

Writer = Callable[[str, Sequence[Column], Iterable[pa.RecordBatch]], None]
"""Writes a table's rows."""

_MASK: Final = "mask"


def write(material: Material, out: Path, **options: Any) -> Written:
    """Write the tables into a new folder. Raises `InvalidInput` for more rows than a sheet holds."""
    kind = options.get("as", "csv")
    there = {table: material.further(table) for table in FURTHER}
    notes = []
    if kind == "xlsx":
        if _MASK in there["observations"]:
            # A cell holds 32,767 characters.
            there["observations"] = tuple(one for one in there["observations"] if one != _MASK)
            notes.append("masks do not fit into a workbook's cells: --as csv and --as parquet have them")
        _require_sheets(material, layout(there))
    out.mkdir()
    counts = {}
    with _writer(kind, out) as write_table:
        for table, columns in layout(there).items():
            batches = deployments(material).to_batches() if table == "deployments" else _rows(material, table, columns)
            rows = _Counted(batches)
            write_table(table, columns, rows)
            counts[table] = rows.number
    pipelines = sorted({one.pipeline for one in material.jobs})
    if len(pipelines) > 1 and not material.selection.pipeline:
        notes.append(f"results of {len(pipelines)} pipelines, which are never added up: choose rows by `pipeline`")
    return Written(counts=counts, notes=notes)


def check(path: Path) -> Checked:
    """Check the files of a folder."""
    # It takes long to import what only a check needs.
    from antenna_orchestration.exports import flat_tables_check

    return flat_tables_check.check(path)


class _Counted:
    """Batches of rows, which are counted as they pass."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.number = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.number += batch.num_rows
            yield batch


# Rows


def _rows(material: Material, table: str, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    made = _made(material)
    for batch in material.batches(query(table, columns), _ROWS):
        arrays = [
            _mapped(batch[one.name], made[one.made]) if one.made else batch[one.name].cast(one.kind) for one in columns
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema(columns))


def _made(material: Material) -> dict[str, Callable[[str], str | None]]:
    """What is made of a URL or a taxon."""
    names: Names = material.names

    def above(rank: str, taxon: str) -> str | None:
        known = names.match(taxon)
        return known.lineage.get(rank) if known else None

    return {
        "path": partial(path_below, material.base()),
        **{rank: partial(above, rank) for rank in ("class", "order", "family", "genus")},
    }


def _mapped(texts: pa.Array, function: Callable[[str], str | None]) -> pa.Array:
    """The texts, each made into another one or null; those that are the same are made once."""
    distinct = texts.dictionary_encode()
    made = [None if one is None else function(one) for one in distinct.dictionary.to_pylist()]
    return arrow.column(made, pa.string(), nulls=True).take(distinct.indices)


def deployments(material: Material) -> pa.Table:
    """A row for each deployment that has photographs, with the columns of `flat_columns`."""
    rows = []
    for row in material.rows(PLACES):
        place = material.places.get(row["deployment"])
        known = {} if place is None else {
            "location_name": place.location_name,
            "latitude": place.latitude,
            "longitude": place.longitude,
            "coordinate_uncertainty_m": place.uncertainty_m,
            "country_code": place.country_code,
            "time_zone": place.time_zone,
            "deployment_start": place.starts_at,
            "deployment_end": place.ends_at,
        }  # fmt: skip
        rows.append({**row, **known})
    return pa.Table.from_pylist(rows, schema=schema(TABLES["deployments"]))


# Files


@contextmanager
def _writer(kind: str, out: Path) -> Iterator[Writer]:
    if kind != "xlsx":
        yield partial(_write_csv if kind == "csv" else _write_parquet, out)
        return
    with _workbook(out / WORKBOOK) as book:
        yield partial(_write_sheet, book)


def _write_parquet(out: Path, table: str, columns: Sequence[Column], rows: Iterable[pa.RecordBatch]) -> None:
    with pq.ParquetWriter(out / f"{table}.parquet", schema(columns), compression="zstd") as file:
        for batch in rows:
            file.write_batch(batch)


def _write_csv(out: Path, table: str, columns: Sequence[Column], rows: Iterable[pa.RecordBatch]) -> None:
    texts = pa.schema([pa.field(one.name, _kind_in_csv(one)) for one in columns])
    with pa.csv.CSVWriter(out / f"{table}.csv", texts) as file:
        for batch in rows:
            file.write_batch(pa.RecordBatch.from_arrays([_cells(one) for one in batch.columns], schema=texts))


def _kind_in_csv(column: Column) -> pa.DataType:
    is_time = pa.types.is_timestamp(column.kind) or pa.types.is_time(column.kind)
    return pa.string() if is_time else column.kind


def _cells(column: pa.Array) -> pa.Array:
    """The values as cells of CSV; times as ISO 8601 has them, with fractions of a second only where there are some."""
    if pa.types.is_string(column.type):
        return _mapped(column, csv_cells.cell)
    if pa.types.is_time(column.type):
        return pc.utf8_slice_codeunits(column.cast(pa.string()), 0, 8)
    if not pa.types.is_timestamp(column.type):
        return column
    whole = pc.floor_temporal(column, unit="second")
    microseconds = pc.subtract(column.cast(pa.int64()), whole.cast(pa.int64()))
    digits = pc.utf8_lpad(microseconds.cast(pa.string()), 6, "0")
    fraction = pc.if_else(pc.equal(microseconds, 0), "", pc.binary_join_element_wise(".", digits, ""))
    shown = pc.strftime(whole.cast(pa.timestamp("s", column.type.tz)), "%Y-%m-%dT%H:%M:%S")
    return pc.binary_join_element_wise(shown, fraction, "Z" if column.type.tz else "", "")


def _require_sheets(material: Material, layout: Layout) -> None:
    """Raise `InvalidInput` if a table has more rows than a sheet."""
    for table, columns in layout.items():
        if table == "deployments":
            continue
        (found,) = material.rows(f"SELECT count(*) AS rows FROM ({query(table, columns)})")  # noqa: S608  # ours
        if found["rows"] > MOST_ROWS:
            raise errors.InvalidInput(
                f"{table} has {found['rows']:,} rows, and a sheet of Excel holds {MOST_ROWS:,}: "
                "write --as csv or --as parquet, or choose nights with --from and --to"
            )


@contextmanager
def _workbook(path: Path) -> Iterator[_Book]:
    import xlsxwriter

    # Rows go to a temporary file as they come. Nothing that is written is taken for a formula, a number or a link.
    # xlsxwriter closes and removes that file only when the workbook is complete.
    with tempfile.TemporaryDirectory(prefix=".antenna-xlsx-", dir=path.parent) as rows:
        book = xlsxwriter.Workbook(
            str(path),
            {"constant_memory": True, "tmpdir": rows, "default_date_format": "yyyy-mm-dd hh:mm:ss"},
        )
        try:
            yield _Book(book)
            book.close()
        finally:
            for sheet in book.worksheets():
                sheet.row_data_fh.close()


class _Book:
    """A workbook, and how its cells look."""

    def __init__(self, book: Any) -> None:
        self.book = book
        self.bold = book.add_format({"bold": True})
        self.day = book.add_format({"num_format": "yyyy-mm-dd"})
        self.clock = book.add_format({"num_format": "hh:mm:ss"})


def _write_sheet(book: _Book, table: str, columns: Sequence[Column], rows: Iterable[pa.RecordBatch]) -> None:
    sheet = book.book.add_worksheet(table)
    sheet.freeze_panes(1, 0)
    for number, column in enumerate(columns):
        sheet.write_string(0, number, column.name, book.bold)
    writers = [_cell_writer(sheet, book, column) for column in columns]
    line = 0
    for batch in rows:
        for row in zip(*(one.to_pylist() for one in _for_sheet(batch).columns), strict=True):
            line += 1
            for number, (write_cell, value) in enumerate(zip(writers, row, strict=True)):
                if value is not None:
                    write_cell(line, number, value)
    sheet.autofilter(0, 0, line, len(writers) - 1)


def _for_sheet(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Moments as digits of UTC, since cells have no zone, and the shortest numbers that mean the same float32."""
    columns = []
    for column in batch.columns:
        kind = column.type
        if pa.types.is_timestamp(kind) and kind.tz:
            columns.append(column.cast(pa.timestamp("us")))
        elif pa.types.is_float32(kind):
            columns.append(column.cast(pa.string()).cast(pa.float64()))
        elif pa.types.is_string(kind):
            columns.append(_mapped(column, csv_cells.shown))
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _cell_writer(sheet: Any, book: _Book, column: Column) -> Callable[[int, int, Any], object]:
    kind = column.kind
    if pa.types.is_string(kind):
        return lambda line, number, text: sheet.write_string(line, number, text) if text else None
    if pa.types.is_boolean(kind):
        return sheet.write_boolean  # type: ignore[no-any-return]
    if pa.types.is_time(kind):
        return lambda line, number, at: sheet.write_datetime(line, number, at.replace(microsecond=0), book.clock)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        format_ = (book.day,) if pa.types.is_date(kind) else ()

        def write_time(line: int, number: int, at: Any) -> None:
            if at.year < _EARLIEST_OF_EXCEL:
                sheet.write_string(line, number, at.isoformat())
            else:
                sheet.write_datetime(line, number, at, *format_)

        return write_time
    return sheet.write_number  # type: ignore[no-any-return]
