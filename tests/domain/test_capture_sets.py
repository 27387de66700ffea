"""Rules as they are written and read again, and nights as people name them."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.domain import times
from antenna_orchestration.domain.capture_sets import Rule, Why, as_data, every_seconds, in_words
from antenna_orchestration.domain.nights import Nights, nights_named

DAYS = st.none() | st.dates(date(1999, 1, 1), date(2030, 1, 1))
NUMBERS = st.none() | st.integers(1, 1_000)

RULES = st.builds(
    Rule,
    deployments=st.lists(st.text(min_size=1), max_size=2).map(tuple),
    nights=st.builds(Nights, DAYS, DAYS).filter(lambda one: not (one.first and one.last and one.first > one.last)),
    with_detections=st.booleans(),
    not_processed_by=st.none() | st.just("null"),
    nth=NUMBERS,
    per_night=NUMBERS,
    random=st.integers(1, 1_000),
    seed=st.none() | st.integers(0, 2**31),
    time_zone=st.sampled_from(["UTC", "+01:00", "Europe/Berlin"]),
)


@given(rule=RULES)
def test_a_rule_that_was_written_is_the_same(rule: Rule) -> None:
    assert Rule.from_data(json.loads(json.dumps(rule.as_data()))) == rule


def test_what_asks_for_nothing_is_neither_written_nor_said() -> None:
    assert Rule().as_data() == {"time_zone": "UTC"}
    assert Rule().in_words == ["all photographs"] and Rule().takes_all
    assert Rule(every=600, seed=0, random=5).in_words == [
        "the first in every 10m",
        "at most 5 photographs of all",
        "drawn with seed 0",
    ]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("", None, None),
        ("2026-06-12", date(2026, 6, 12), date(2026, 6, 12)),
        ("2026-06-12..", date(2026, 6, 12), None),
        (" ..2026-06-12", None, date(2026, 6, 12)),
        ("2026-06-12 .. 2026-06-20", date(2026, 6, 12), date(2026, 6, 20)),
    ],
)
def test_nights_are_named_by_the_first_and_the_last(text: str, first: date | None, last: date | None) -> None:
    found = nights_named(text)
    assert found == Nights(first, last)
    assert nights_named(str(found)) == found


@pytest.mark.parametrize("text", ["1s", "90s", "10m", "6h", "1d", "36h"])
def test_a_length_of_time_is_written_as_it_is_read(text: str) -> None:
    assert times.seconds_of(times.span(times.seconds_of(text, "x")), "x") == times.seconds_of(text, "x")
    assert every_seconds("") is None


def test_why_not_is_said_in_order_without_what_is_none() -> None:
    counts = {Why.NOT_DRAWN: 3, Why.NO_TIME: 1_200, Why.PROCESSED: 0}
    assert in_words(counts) == "1,200 without a time, 3 not drawn"
    assert as_data(counts) == {"no_time": 1_200, "not_drawn": 3}
