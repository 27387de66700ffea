"""Arrow columns from Python values, without pandas.

`pa.array`, `pa.scalar` and functions that use them import pandas at their first call, which costs every run of a job a
second of CPU and 40 MB. This module does what runs need of them; a test checks that pandas is not imported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Sized
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types

Numbers = npt.NDArray[Any]

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST_DAY: Final = date(1970, 1, 1)


def table(
    schema: pa.Schema, columns: Sequence[Sequence[Any] | Numbers | pa.Array], *, nulls: Collection[str] = ()
) -> pa.Table:
    """A table from columns of equal length, in the schema's order; `nulls` names those that may hold None."""
    arrays = [
        values if isinstance(values, pa.Array) else column(values, field.type, nulls=field.name in nulls)
        for values, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def table_of_rows(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table from rows, which may have more keys than the schema and None as any value."""
    return table(schema, [[row[name] for row in rows] for name in schema.names], nulls=schema.names)


def column(values: Sequence[Any] | Numbers, kind: pa.DataType, *, nulls: bool = False) -> pa.Array:
    """One column of numbers, booleans, texts, bytes, datetimes (aware if it has a zone), dates, or lists of these.

    With `nulls`, None becomes null. Raises `OverflowError` for a number beyond the type, and for more than 2 GiB of
    text or bytes.
    """
    filled, valid = values, None
    if nulls and None in values:
        valid = _bits([value is not None for value in values])
        blank = _blank(kind)
        filled = [blank if value is None else value for value in values]
    children = []
    if pa.types.is_boolean(kind):
        buffers = [_bits(filled)]
    elif pa.types.is_list(kind):
        buffers = [_offsets(filled)]
        children = [column(list(chain.from_iterable(filled)), kind.value_type)]
    elif pa.types.is_string(kind):
        buffers = _texts(filled)
    elif pa.types.is_binary(kind):
        buffers = [_offsets(filled), pa.py_buffer(b"".join(filled))]
    elif pa.types.is_timestamp(kind):
        epoch = _epoch(kind)
        buffers = [_numbers([(value - epoch) // _MICROSECOND for value in filled], np.int64)]
    elif pa.types.is_date32(kind):
        buffers = [_numbers([(value - _FIRST_DAY).days for value in filled], np.int32)]
    else:
        buffers = [_numbers(filled, kind.to_pandas_dtype())]
    return pa.Array.from_buffers(kind, len(values), [valid, *buffers], children=children)


def moments(array: pa.Array) -> list[datetime | None]:
    """The values of a column of timestamps in microseconds, as datetimes in UTC."""
    values = array.cast(pa.int64()).to_pylist()
    return [None if value is None else _EPOCH + value * _MICROSECOND for value in values]


def fitted(rows: Rows, schema: pa.Schema) -> Rows:
    """A table or batch with exactly the schema's columns; a column that an earlier version did not write is null."""
    there = set(rows.schema.names)
    arrays = [
        rows[field.name].cast(field.type) if field.name in there else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return type(rows).from_arrays(arrays, schema=schema)


def with_constants(rows: Rows, values: Mapping[str, str | None], *, missing: Collection[str] = ()) -> Rows:
    """A table or batch in which these columns of texts, which it has, hold one value in every row.

    Those in `missing` keep what they have, and get the value where that is null.
    """
    first = column(np.zeros(rows.num_rows, np.int64), pa.int64())
    arrays = [
        column([values[field.name]], field.type, nulls=True).take(first) if field.name in values else rows[field.name]
        for field in rows.schema
    ]
    arrays = [
        pc.coalesce(rows[field.name], array) if field.name in missing else array
        for field, array in zip(rows.schema, arrays, strict=True)
    ]
    return type(rows).from_arrays(arrays, schema=rows.schema)


def _blank(kind: pa.DataType) -> Any:
    """The value stored in a null's place."""
    if pa.types.is_timestamp(kind):
        return _epoch(kind)
    if pa.types.is_date32(kind):
        return _FIRST_DAY
    if pa.types.is_list(kind):
        return ()
    return "" if pa.types.is_string(kind) else b"" if pa.types.is_binary(kind) else 0


def _epoch(kind: pa.DataType) -> datetime:
    """From when a column of timestamps counts, with a zone if the column has one."""
    return _EPOCH if kind.tz else _EPOCH.replace(tzinfo=None)


def _numbers(values: Any, kind: Any) -> pa.Buffer:
    return pa.py_buffer(np.array(values, kind))


def _bits(values: Any) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(values, bool), bitorder="little"))


def _texts(values: Any) -> list[pa.Buffer]:
    joined = "".join(values)
    encoded = joined.encode()
    # If every character is one byte, the texts need not be encoded one by one.
    lengths: Sequence[Sized] = values if len(encoded) == len(joined) else [value.encode() for value in values]
    return [_offsets(lengths), pa.py_buffer(encoded)]


def _offsets(values: Any) -> pa.Buffer:
    """The offsets at which each value begins, and at which the last one ends."""
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=ends[1:])
    if ends[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"{ends[-1]} bytes do not fit into one column")
    return pa.py_buffer(ends.astype(np.int32))
