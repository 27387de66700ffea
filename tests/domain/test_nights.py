"""B3: nights are cut at noon where the camera stands, once a zone is known."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.nights import night_of, zone_named

LAST = date(2026, 6, 12)


@pytest.mark.parametrize(
    ("zone", "moment", "night"),
    [
        ("UTC", datetime(2026, 6, 12, 12, tzinfo=UTC), LAST),
        ("UTC", datetime(2026, 6, 13, 11, 59, tzinfo=UTC), LAST),
        ("UTC", datetime(2026, 6, 13, 12, tzinfo=UTC), LAST + timedelta(days=1)),
        # Dusk and dawn of one night in Panama are 23:30 and 11:30 UTC; a night there goes on after noon UTC.
        ("America/Panama", datetime(2026, 6, 12, 23, 30, tzinfo=UTC), LAST),
        ("America/Panama", datetime(2026, 6, 13, 13, 0, tzinfo=UTC), LAST),
        # In Brisbane noon UTC is ten in the evening.
        ("Australia/Brisbane", datetime(2026, 6, 12, 11, 59, tzinfo=UTC), LAST),
        ("Australia/Brisbane", datetime(2026, 6, 12, 12, 1, tzinfo=UTC), LAST),
        ("Australia/Brisbane", datetime(2026, 6, 13, 2, 0, tzinfo=UTC), LAST + timedelta(days=1)),
        # Half an hour, a clock change within the night, and a moment that has a zone of its own.
        ("Asia/Kolkata", datetime(2026, 6, 12, 6, 29, tzinfo=UTC), LAST - timedelta(days=1)),
        ("Europe/Berlin", datetime(2026, 10, 25, 10, 59, tzinfo=UTC), date(2026, 10, 24)),
        ("Europe/Berlin", datetime(2026, 6, 13, 11, 30, tzinfo=timezone(timedelta(hours=2))), LAST),
        # A camera that knows no summer time.
        ("+01:00", datetime(2026, 6, 13, 10, 59, tzinfo=UTC), LAST),
        ("-0330", datetime(2026, 6, 13, 15, 29, tzinfo=UTC), LAST),
        # The ends of the calendar.
        ("America/Panama", datetime(1, 1, 1, 1, tzinfo=UTC), date(1, 1, 1)),
        ("Asia/Tokyo", datetime(9999, 12, 31, 23, tzinfo=UTC), date(9999, 12, 31)),
    ],
)
def test_a_night_lasts_from_noon_to_noon_of_its_zone(zone: str, moment: datetime, night: date) -> None:
    """B3"""
    assert night_of(moment, zone_named(zone)) == night


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Atlantis",
        "Europe",
        "",
        "../etc/passwd",
        "/etc/localtime",
        "UTC+2",
        "\0",
        "+15:00",
        "+1",
        "+01:75",
        # Another zone on each machine, or none.
        "localtime",
        "posixrules",
        "Factory",
        "right/Europe/Berlin",
    ],
)
def test_a_zone_that_does_not_exist_is_refused(name: str) -> None:
    """B3"""
    with pytest.raises(errors.InvalidInput, match="Europe/Berlin"):
        zone_named(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("europe/copenhagen", "Europe/Copenhagen"),
        ("AMERICA/new york", "America/New_York"),
        (" Asia / Nicosia", "Asia/Nicosia"),
        ("Asia\\Nicosia", "Asia/Nicosia"),
        ("utc", "UTC"),
        ("utc+2", "+02:00"),
        ("GMT -3:30", "-03:30"),
        ("UTC+20", ""),
        ("Europe", ""),
        ("Atlantis", ""),
    ],
)
def test_a_zone_that_is_nearly_right_gets_a_hint(name: str, meant: str) -> None:
    with pytest.raises(errors.InvalidInput) as refused:
        zone_named(name)
    assert (f", is it {meant}?: name one" if meant else "': name one") in str(refused.value)
    assert not meant or zone_named(meant)
