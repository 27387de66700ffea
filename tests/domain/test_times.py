"""Moments in UTC."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.domain.times import in_utc

MOMENTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1))


@given(MOMENTS)
def test_a_moment_without_a_zone_is_taken_as_utc(moment: datetime) -> None:
    assert in_utc(moment) == moment.replace(tzinfo=UTC)


@given(MOMENTS, st.integers(min_value=-14, max_value=14))
def test_a_moment_with_a_zone_stays_the_same_moment(moment: datetime, hours: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert in_utc(aware) == aware
    assert in_utc(aware).tzinfo is UTC
