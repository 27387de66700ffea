"""Python values into Arrow columns.

`pa.array`, `pa.scalar` and what is made with them import pandas at their first call: a second of CPU and 40 MB, which
every run of a job would pay. What a run needs of them is here; a test watches that none imports pandas.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Sized
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types

Numbers = npt.NDArray[Any]

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def table(
    schema: pa.Schema, columns: Sequence[Sequence[Any] | Numbers | pa.Array], *, nulls: Collection[str] = ()
) -> pa.Table:
    """A table of columns of equal length, in the schema's order; those that may hold None are named in `nulls`."""
    arrays = [
        values if isinstance(values, pa.Array) else column(values, field.type, nulls=field.name in nulls)
        for values, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def table_of_rows(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The same of rows, which may hold more than the schema names, and None anywhere."""
    return table(schema, [[row[name] for row in rows] for name in schema.names], nulls=schema.names)


def column(values: Sequence[Any] | Numbers, kind: pa.DataType, *, nulls: bool = False) -> pa.Array:
    """One column of numbers, truth values, texts, bytes, aware datetimes, or lists of these.

    None is null where it is allowed. Raises `OverflowError` for a number beyond the type, and for more than 2 GiB of
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
        buffers = [_numbers([(value - _EPOCH) // _MICROSECOND for value in filled], np.int64)]
    else:
        buffers = [_numbers(filled, kind.to_pandas_dtype())]
    return pa.Array.from_buffers(kind, len(values), [valid, *buffers], children=children)


def moments(array: pa.Array) -> list[datetime | None]:
    """A column of timestamps in microseconds, in UTC."""
    values = array.cast(pa.int64()).to_pylist()
    return [None if value is None else _EPOCH + value * _MICROSECOND for value in values]


def fitted(rows: Rows, schema: pa.Schema) -> Rows:
    """A table or batch with the columns of today: one of an earlier version has nulls where one was added since."""
    there = set(rows.schema.names)
    arrays = [
        rows[field.name].cast(field.type) if field.name in there else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return type(rows).from_arrays(arrays, schema=schema)


def _blank(kind: pa.DataType) -> Any:
    """What stands in a null's place."""
    if pa.types.is_timestamp(kind):
        return _EPOCH
    if pa.types.is_list(kind):
        return ()
    return "" if pa.types.is_string(kind) else b"" if pa.types.is_binary(kind) else 0


def _numbers(values: Any, kind: Any) -> pa.Buffer:
    return pa.py_buffer(np.array(values, kind))


def _bits(values: Any) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(values, bool), bitorder="little"))


def _texts(values: Any) -> list[pa.Buffer]:
    joined = "".join(values)
    encoded = joined.encode()
    # Where every character is a byte, there is no need to encode each text by itself.
    lengths: Sequence[Sized] = values if len(encoded) == len(joined) else [value.encode() for value in values]
    return [_offsets(lengths), pa.py_buffer(encoded)]


def _offsets(values: Any) -> pa.Buffer:
    """Where each value begins, and where the last one ends."""
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=ends[1:])
    if ends[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"{ends[-1]} bytes do not fit into one column")
    return pa.py_buffer(ends.astype(np.int32))
