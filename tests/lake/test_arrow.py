"""Our columns against those that pyarrow makes of the same values."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antenna_orchestration.lake import arrow, schemas

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): TEXTS,
    pa.binary(): st.binary(),
    schemas.TIME: st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    pa.date32(): st.dates(),
    pa.list_(pa.string()): st.lists(TEXTS),
    pa.list_(pa.float32()): st.lists(st.floats(width=32, allow_nan=False)),
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
@settings(deadline=None)
@given(data=st.data())
def test_a_column_is_what_pyarrow_makes(kind: pa.DataType, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | VALUES[kind]))
    made = arrow.column(values, kind, nulls=True)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))


@settings(deadline=None)
@given(st.lists(st.none() | VALUES[schemas.TIME]))
def test_moments_come_back(moments: list[datetime | None]) -> None:
    assert arrow.moments(arrow.column(moments, schemas.TIME, nulls=True)) == moments


def test_numbers_beyond_the_type_are_refused() -> None:
    with pytest.raises(OverflowError):
        arrow.column([2**31], pa.int32())


def test_an_older_table_gets_nulls_for_new_columns() -> None:
    older = pa.table({"image_id": [1], "reason": ["404"]})
    fitted = arrow.fitted(older, schemas.FAILED_IMAGES)
    nothing = dict.fromkeys(schemas.FAILED_IMAGES.names)
    assert fitted.to_pylist() == [nothing | {"image_id": 1, "reason": "404"}]
    of_job = arrow.with_constants(fitted, {"project": "traps", "pipeline_version": None})
    assert of_job.to_pylist() == [nothing | {"image_id": 1, "reason": "404", "project": "traps"}]
