"""The moment of a photograph: zones, fixed offsets, UTC clocks, shifts, and the two nights when the clocks change."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.domain.nights import zone_named
from antenna_orchestration.ecology import places
from antenna_orchestration.ecology.model import Clock, Place


def place(zone: str | None, clock: Clock = "local", shift: int = 0) -> Place:
    return Place(
        deployment="oak", time_zone=zone, zone=zone_named(zone) if zone else None, clock=clock, shift_seconds=shift
    )


def digits(text: str) -> datetime:
    return datetime.fromisoformat(text)


COPENHAGEN = place("Europe/Copenhagen")

CASES = [
    # zone, clock, shift in seconds, stamp, its offset in minutes, moment in UTC, local time
    (None, "local", 0, "2022-08-10T22:00", None, None, "2022-08-10T22:00"),
    (None, "local", 3600, "2022-08-10T22:00", None, None, "2022-08-10T23:00"),
    (None, "local", 0, "2022-08-10T22:00", 120, "2022-08-10T20:00", "2022-08-10T22:00"),
    (None, "utc", 0, "2022-08-10T22:00", None, "2022-08-10T22:00", "2022-08-10T22:00"),
    ("America/Panama", "local", 0, "2022-08-10T22:00", None, "2022-08-11T03:00", "2022-08-10T22:00"),
    ("America/Panama", "utc", 0, "2022-08-11T03:00", None, "2022-08-11T03:00", "2022-08-10T22:00"),
    ("Asia/Nicosia", "local", 0, "2022-08-10T22:00", None, "2022-08-10T19:00", "2022-08-10T22:00"),
    ("Asia/Nicosia", "local", 0, "2022-01-10T22:00", None, "2022-01-10T20:00", "2022-01-10T22:00"),
    # What the file says is certain, whatever clock and zone.
    ("Asia/Nicosia", "local", 0, "2022-08-10T22:00", 0, "2022-08-10T22:00", "2022-08-11T01:00"),
    ("Asia/Nicosia", "utc", 0, "2022-08-10T22:00", 60, "2022-08-10T21:00", "2022-08-11T00:00"),
    # A camera that knows no summer time.
    ("+01:00", "local", 0, "2022-08-10T22:00", None, "2022-08-10T21:00", "2022-08-10T22:00"),
    ("-05:00", "local", 0, "2022-08-10T22:00", None, "2022-08-11T03:00", "2022-08-10T22:00"),
    ("+0545", "utc", 0, "2022-08-10T22:00", None, "2022-08-10T22:00", "2022-08-11T03:45"),
    # A clock that was an hour slow, and one that stood at the beginning of 2000.
    ("Europe/Copenhagen", "local", 3600, "2022-08-10T22:00", None, "2022-08-10T21:00", "2022-08-10T23:00"),
    ("Europe/Copenhagen", "local", 3600, "2022-08-10T22:00", 120, "2022-08-10T21:00", "2022-08-10T23:00"),
    ("Europe/Copenhagen", "local", 86400 * 8257, "2000-01-01T00:30", None, "2022-08-09T22:30", "2022-08-10T00:30"),
    # Summer time begins: 02:00 to 03:00 never was. Before, within, after.
    ("Europe/Copenhagen", "local", 0, "2022-03-27T01:59:59", None, "2022-03-27T00:59:59", "2022-03-27T01:59:59"),
    ("Europe/Copenhagen", "local", 0, "2022-03-27T02:00", None, "2022-03-27T01:00", "2022-03-27T03:00"),
    ("Europe/Copenhagen", "local", 0, "2022-03-27T02:30", None, "2022-03-27T01:30", "2022-03-27T03:30"),
    ("Europe/Copenhagen", "local", 0, "2022-03-27T03:00", None, "2022-03-27T01:00", "2022-03-27T03:00"),
    # A shift that leads into the gap.
    ("Europe/Copenhagen", "local", 3600, "2022-03-27T01:30", None, "2022-03-27T01:30", "2022-03-27T03:30"),
    # Summer time ends: 02:00 to 03:00 comes twice.
    ("Europe/Copenhagen", "local", 0, "2022-10-30T01:59", None, "2022-10-29T23:59", "2022-10-30T01:59"),
    ("Europe/Copenhagen", "local", 0, "2022-10-30T02:30", None, "2022-10-30T00:30", "2022-10-30T02:30"),
    ("Europe/Copenhagen", "local", 0, "2022-10-30T03:00", None, "2022-10-30T02:00", "2022-10-30T03:00"),
    ("Europe/Copenhagen", "utc", 0, "2022-10-30T01:30", None, "2022-10-30T01:30", "2022-10-30T02:30"),
    # Half an hour, in the south, in both directions; a change at one minute past midnight.
    ("Australia/Lord_Howe", "local", 0, "2022-10-02T02:15", None, "2022-10-01T15:45", "2022-10-02T02:45"),
    ("Australia/Lord_Howe", "local", 0, "2022-04-03T01:45", None, "2022-04-02T14:45", "2022-04-03T01:45"),
    ("America/St_Johns", "local", 0, "2010-03-14T00:00:30", None, "2010-03-14T03:30:30", "2010-03-14T00:00:30"),
    ("America/St_Johns", "local", 0, "2010-03-14T00:01:30", None, "2010-03-14T03:31:30", "2010-03-14T01:01:30"),
    # The ends of the calendar.
    ("Asia/Tokyo", "local", 0, "0001-01-01T00:00", None, None, "0001-01-01T00:00"),
    ("America/Panama", "local", 0, "9999-12-31T23:00", None, None, "9999-12-31T23:00"),
]


@pytest.mark.parametrize(("zone", "clock", "shift", "stamp", "offset", "moment", "local"), CASES)
def test_a_stamp_becomes_a_moment_and_a_local_time(
    zone: str | None, clock: Clock, shift: int, stamp: str, offset: int | None, moment: str | None, local: str
) -> None:
    found = places.moment(digits(stamp), offset, place(zone, clock, shift))
    assert found == (digits(moment).replace(tzinfo=UTC) if moment else None, digits(local))
    assert places.captured_at(digits(stamp), offset, place(zone, clock, shift)) == found.captured_at


def test_columns_of_stamps_become_what_single_stamps_become() -> None:
    for zone, clock, shift in {case[:3] for case in CASES}:
        there = place(zone, clock, shift)
        stamps = [None, *(digits(case[3]) for case in CASES)]
        offsets = [None, *(case[4] for case in CASES)]
        found = places.moments(pd.Series(stamps, dtype="datetime64[us]"), pd.Series(offsets, dtype="Int16"), there)
        assert str(found.captured_at.dtype) == "datetime64[us, UTC]"
        assert str(found.local_time.dtype) == "datetime64[us]"
        for stamp, offset, at, local in zip(stamps, offsets, found.captured_at, found.local_time, strict=True):
            expected = places.moment(stamp, offset, there) if stamp else (None, None)
            assert (None if at is pd.NaT else at, None if local is pd.NaT else local) == expected


@given(
    zone=st.sampled_from([None, "Europe/Copenhagen", "America/St_Johns", "Australia/Lord_Howe", "-03:30", "UTC"]),
    clock=st.sampled_from(["local", "utc"]),
    shift=st.integers(-(10**8), 10**8),
    rows=st.lists(
        st.tuples(
            st.none() | st.datetimes(datetime(1950, 1, 1), datetime(2260, 1, 1)), st.none() | st.integers(-840, 840)
        ),
        max_size=8,
    ),
)
def test_columns_follow_the_rule_for_any_stamps(
    zone: str | None, clock: Clock, shift: int, rows: list[tuple[datetime | None, int | None]]
) -> None:
    there = place(zone, clock, shift)
    stamps = pd.Series([row[0] for row in rows], dtype="datetime64[us]", index=range(5, 5 + len(rows)))
    found = places.moments(stamps, pd.Series([row[1] for row in rows], dtype="float64"), there)
    assert list(found.captured_at.index) == list(stamps.index)
    for (stamp, offset), at, local in zip(rows, found.captured_at, found.local_time, strict=True):
        expected = places.moment(stamp, offset, there) if stamp else (None, None)
        assert (None if at is pd.NaT else at, None if local is pd.NaT else local) == expected


@pytest.mark.parametrize(
    ("stamps", "second"),
    [
        # The digits go back once: what follows is of the second hour.
        (["02:40", "02:50", "02:00", "02:10"], [2, 3]),
        (["02:59:50", "02:00:10"], [1]),
        # They never go back, or often: nothing is known.
        (["02:10", "02:20", "02:30"], []),
        (["02:40", "02:10", "02:30", "02:00"], []),
        (["02:40"], []),
    ],
)
def test_the_order_of_photographs_tells_the_second_hour(stamps: list[str], second: list[int]) -> None:
    rows = [(f"IMG_{number:04}.jpg", digits(f"2022-10-30T{stamp}")) for number, stamp in enumerate(stamps)]
    hours = {name: 1 if number in second else 0 for number, (name, _) in enumerate(rows)}
    # Around them an earlier night's hours, which do not come twice.
    rows += [("IMG_0900.jpg", digits("2022-10-29T02:50")), ("IMG_0901.jpg", digits("2022-10-29T02:10"))]
    for order in (rows, rows[::-1], random.Random(7).sample(rows, len(rows))):
        times = pd.Series([stamp for _, stamp in order], dtype="datetime64[us]")
        found = places.moments(times, times.map(lambda _: None), COPENHAGEN, sequence=[name for name, _ in order])
        for (name, stamp), at, local in zip(order, found.captured_at, found.local_time, strict=True):
            assert at == (stamp - timedelta(hours=2 - hours.get(name, 0))).replace(tzinfo=UTC)
            assert local == stamp


def test_nights_of_local_times_go_from_noon_to_noon() -> None:
    times = pd.Series([digits("2022-08-10T11:59"), None, digits("2022-08-10T12:00"), datetime(1, 1, 1)])
    nights = places.nights_of(times.astype("datetime64[us]"))
    assert list(nights[[0, 2, 3]]) == [date(2022, 8, 9), date(2022, 8, 10), date(1, 1, 1)]
    assert nights.isna()[1]


@pytest.mark.parametrize(
    ("zone", "latitude", "longitude", "is_far"),
    [
        ("America/Panama", 9.15, -79.85, False),
        # Swapped, and without its sign.
        ("America/Panama", -79.85, 9.15, True),
        ("America/Panama", 9.15, 79.85, True),
        # The sun is three hours behind the clocks; and the date line lies between.
        ("Asia/Shanghai", 39.5, 73.6, False),
        ("Pacific/Kiritimati", 1.87, -157.4, False),
        # A camera's offset, wherever it stands; nothing is known.
        ("UTC", 9.15, -79.85, False),
        ("+10:00", 9.15, -79.85, False),
        ("Etc/GMT-10", 9.15, -79.85, False),
        (None, 9.15, -79.85, False),
        ("America/Panama", None, None, False),
    ],
)
def test_a_place_on_the_other_side_of_the_earth_is_seen(
    zone: str | None, latitude: float | None, longitude: float | None, is_far: bool
) -> None:
    far = replace(place(zone), latitude=latitude, longitude=longitude)
    assert places.is_far_from_zone(far) is is_far
