"""A table as CSV: UTF-8, a header line, lists as JSON, times in ISO 8601, nothing for null."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types

from antenna_orchestration.domain import csv_cells
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.lake import arrow, schemas
from antenna_orchestration.lake.store import Lake

_ROWS: Final = 5_000
"""Rows made into text at once, which bounds memory."""


def columns_of(table: str) -> list[str]:
    """The columns of a job's table in order: all but the whole score vectors, which are bytes."""
    return [field.name for field in schemas.TABLES[table] if not pa.types.is_binary(field.type)]


def of_job(lake: Lake, table: str, job: JobId) -> Iterator[bytes]:
    """The job's table as CSV, in pieces. Blocks on the lake: call it from a thread. Raises `Unavailable`."""
    columns = columns_of(table)
    return lines(columns, lake.batches(table, job, columns))


def lines(columns: Sequence[str], batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """Batches with these columns as CSV, in pieces; a text that looks like a formula has an apostrophe before it.

    A moment ends in `Z`; a local time has no zone.
    """
    yield (",".join(columns) + "\r\n").encode()
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            text = io.StringIO()
            writer = csv.writer(text)
            writer.writerows(zip(*(_cells(column) for column in batch.slice(start, _ROWS).columns), strict=True))
            yield text.getvalue().encode("utf-8", "replace")


def _cells(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        zone = "Z" if column.type.tz else ""
        return _by_value(column, lambda values: [_time(at, zone) for at in arrow.moments(values) if at])
    if pa.types.is_string(column.type):
        return _by_value(column, lambda values: [csv_cells.cell(value) for value in values.to_pylist()])
    if pa.types.is_float32(column.type):
        texts: list[str] = np.asarray(column.fill_null(0.0)).astype(np.str_).tolist()
        # numpy's text of a float32 is the shortest number that means the same.
        return [text if is_valid else None for text, is_valid in zip(texts, column.is_valid().to_pylist(), strict=True)]
    values: list[Any] = column.to_pylist()
    if pa.types.is_list(column.type):
        return [
            None if value is None else csv_cells.cell(json.dumps(_short(value), ensure_ascii=False)) for value in values
        ]
    return values


def _by_value(column: pa.Array, texts_of: Callable[[pa.Array], Sequence[Any]]) -> list[Any]:
    """The text of each value, made once for all that are the same: most columns have few values in many rows.

    `texts_of` gets values without null.
    """
    encoded = column.dictionary_encode()
    texts = texts_of(encoded.dictionary)
    return [None if place is None else texts[place] for place in encoded.indices.to_pylist()]


def _short(values: list[Any]) -> list[Any]:
    """The shortest numbers that mean the same float32."""
    return [float(str(np.float32(value))) if isinstance(value, float) else value for value in values]


def _time(at: datetime, zone: str) -> str:
    return at.isoformat().replace("+00:00", zone)
