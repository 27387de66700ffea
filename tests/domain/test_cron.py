"""When cron expressions say that a source is looked at."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.cron import next_after

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("expression", "after", "at"),
    [
        ("0 7 * * *", "2026-06-12T04:59:00Z", "2026-06-12T05:00:00Z"),
        ("0 7 * * *", "2026-06-12T05:00:00Z", "2026-06-13T05:00:00Z"),
        ("0 7 * * *", "2026-12-12T05:00:00Z", "2026-12-12T06:00:00Z"),
        ("*/20 6-8 * 4-10 *", "2026-11-01T00:00:00Z", "2027-04-01T04:00:00Z"),
        # Clocks are put forward over it, and back over it.
        ("30 2 * * *", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
        ("30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
    ],
)
def test_times_are_those_of_a_zone(expression: str, after: str, at: str) -> None:
    assert next_after(expression, datetime.fromisoformat(after), BERLIN) == datetime.fromisoformat(at)


@pytest.mark.parametrize(
    "expression", ["", "x", "0 7 * *", "0 0 7 * * *", "61 7 * * *", "0 0 31 2 *", "@daily", "7" * 999]
)
def test_what_is_no_expression_is_refused_in_a_line(expression: str) -> None:
    with pytest.raises(errors.InvalidInput, match=r"is not a cron expression: .*7:00$") as refused:
        next_after(expression, datetime(2026, 6, 12, tzinfo=UTC), BERLIN)
    assert len(str(refused.value)) < 250
