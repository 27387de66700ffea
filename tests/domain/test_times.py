"""Moments in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.domain.times import due, in_utc

NOW = datetime(2026, 6, 12, 23, 0, tzinfo=UTC)

MOMENTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1))


@given(MOMENTS)
def test_a_moment_without_a_zone_is_taken_as_utc(moment: datetime) -> None:
    assert in_utc(moment) == moment.replace(tzinfo=UTC)


@given(MOMENTS, st.integers(min_value=-14, max_value=14))
def test_a_moment_with_a_zone_stays_the_same_moment(moment: datetime, hours: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert in_utc(aware) == aware
    assert in_utc(aware).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("", None),
        ("90m", NOW + timedelta(minutes=90)),
        (" 6h ", NOW + timedelta(hours=6)),
        ("2d", NOW + timedelta(days=2)),
        ("2026-06-13T06:00+02:00", datetime(2026, 6, 13, 4, 0, tzinfo=UTC)),
        ("2026-06-13T06:00Z", datetime(2026, 6, 13, 6, 0, tzinfo=UTC)),
    ],
)
def test_a_deadline_is_a_span_or_a_moment(text: str, moment: datetime | None) -> None:
    assert due(text, NOW) == moment


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tomorrow", "is not a time"),
        ("6 hours", "is not a time"),
        ("2026-06-13T06:00", "a time with its zone"),
        ("2026-06-12T23:00Z", "is over already"),
        ("0m", "is over already"),
        ("0001-01-01T00:00+14:00", "outside of the calendar"),
    ],
)
def test_what_is_no_deadline_is_refused(text: str, said: str) -> None:
    with pytest.raises(errors.InvalidInput, match=said):
        due(text, NOW)
