"""What is wrong with the nights of a season: each rule finds what it is for, and a healthy season is silent."""

import math
import random
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from antenna_orchestration.ecology import season
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.ecology.season import NightSeen, WorkerNight

FIRST = date(2026, 6, 1)
POND = Place(deployment="pond", time_zone="UTC", zone=ZoneInfo("UTC"))


def night(number: int, **changed: object) -> NightSeen:
    """A usual night: 22:00 to 04:00, each three minutes; its photographs come at one o'clock after it."""
    day = FIRST + timedelta(days=number)
    values = {
        "pipeline": "moths",
        "deployment": "pond",
        "night": day,
        "found": 120 + number % 3,
        "done": 120 + number % 3,
        # Catches rise and fall, by a factor of three.
        "detections": round(400 * math.exp(0.5 * math.sin(number))),
        "first": datetime.combine(day, time(22)),
        "last": datetime.combine(day + timedelta(days=1), time(4, number % 7)),
        "dark": 118,
        "arrived_at": datetime.combine(day + timedelta(days=1), time(13), UTC),
    }
    return NightSeen(**{**values, **changed})  # type: ignore[arg-type]


SEASON = [night(number) for number in range(30)]
AFTER = datetime(2026, 7, 1, 14, tzinfo=UTC)
"""An hour after the last night of it came."""


def said(
    nights: list[NightSeen], *, place: Place = POND, now: datetime = AFTER, workers: list[WorkerNight] | None = None
) -> list[tuple[str, date, str]]:
    found = season.findings("alps", nights, places={"pond": place}, now=now, workers=workers or [])
    assert {one.kind for one in found} <= set(season.KINDS)
    return [(one.kind, one.night, one.text) for one in found]


def changed(number: int, **values: object) -> list[NightSeen]:
    return [*SEASON[:number], replace(SEASON[number], **values), *SEASON[number + 1 :]]  # type: ignore[arg-type]


def test_a_healthy_season_is_silent() -> None:
    assert said(SEASON) == []
    # The night that has begun is left out until it is over.
    assert said([*SEASON, night(30, found=3, done=3, detections=0, last=datetime(2026, 7, 1, 22, 6))]) == []
    # Each moment of it, too.
    for number in range(1, 30):
        assert said(SEASON[:number], now=SEASON[number - 1].arrived_at or AFTER) == [], number
        assert said(SEASON[:number], now=datetime.combine(SEASON[number].night, time(22), UTC)) == [], number


def test_a_trap_is_silent_once_its_photographs_should_have_come() -> None:
    died = SEASON[:20]
    silent = date(2026, 6, 21)
    # The night is over, and its photographs may be on their way.
    assert said(died, now=datetime(2026, 6, 22, 13, tzinfo=UTC)) == []
    assert said(died, now=datetime(2026, 6, 23, 13, tzinfo=UTC)) == [
        ("trap_silent", silent, "no photographs for 2 nights, since that of 2026-06-20")
    ]
    [(_, _, text)] = said(died)
    assert text == "no photographs for 10 nights, since that of 2026-06-20"
    taken_down = replace(POND, ends_at=datetime(2026, 6, 21, 10))
    assert said(died, place=taken_down) == []


def test_a_pause_between_nights_is_a_silent_trap() -> None:
    assert said([*SEASON[:10], *SEASON[13:]]) == [
        ("trap_silent", date(2026, 6, 11), "no photographs in 3 nights, until 2026-06-14")
    ]
    # A trap that works each third night is not silent between; one that misses its night is.
    third = SEASON[::3]
    assert said(third, now=datetime(2026, 6, 30, tzinfo=UTC)) == []
    assert [kind for kind, _, _ in said([*third[:4], *third[5:]], now=datetime(2026, 6, 30, tzinfo=UTC))] == [
        "trap_silent"
    ]


def test_cards_that_are_fetched_each_week_are_waited_for() -> None:
    weekly = [
        replace(one, arrived_at=datetime.combine(FIRST + timedelta(days=number // 7 * 7 + 7), time(15), UTC))
        for number, one in enumerate(SEASON[:21])
    ]
    assert said(weekly, now=datetime(2026, 7, 1, tzinfo=UTC)) == []
    [(kind, silent, _)] = said(weekly, now=datetime(2026, 7, 6, tzinfo=UTC))
    assert (kind, silent) == ("trap_silent", date(2026, 6, 22))
    # Of the first card it is not known when the next one comes: after as long a time, it seems.
    first = [one for one in weekly if one.night < FIRST + timedelta(days=7)]
    assert said(first, now=datetime(2026, 6, 15, 14, tzinfo=UTC)) == []
    assert [kind for kind, _, _ in said(first, now=datetime(2026, 6, 20, tzinfo=UTC))] == ["trap_silent"]
    # A card that came with the last night on it, and one whose last night is old.
    once = [replace(one, arrived_at=datetime(2026, 6, 22, 13, tzinfo=UTC)) for one in SEASON[:21]]
    # A night between two others on it does not come with the next one.
    [(kind, silent, _)] = said([*once[:18], *once[19:]], now=datetime(2026, 6, 24, tzinfo=UTC))
    assert (kind, silent) == ("trap_silent", date(2026, 6, 19))
    assert said(once, now=datetime(2026, 6, 24, tzinfo=UTC)) == []
    [(kind, silent, _)] = said(once[:11], now=datetime(2026, 6, 22, 14, tzinfo=UTC))
    assert (kind, silent) == ("trap_silent", date(2026, 6, 12))


def test_an_archive_is_not_silent() -> None:
    archive = [replace(one, arrived_at=datetime(2027, 1, 10, tzinfo=UTC)) for one in SEASON]
    assert said(archive, now=datetime(2027, 1, 10, 1, tzinfo=UTC)) == []


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"night": date(2025, 6, 11), "first": datetime(2025, 6, 11, 22), "last": datetime(2025, 6, 12, 4)},
            "the photographs came 365 days after their night, those of other nights within 24 hours",
        ),
        (
            {"night": date(2027, 6, 11), "first": datetime(2027, 6, 11, 22), "last": datetime(2027, 6, 12, 4)},
            "the photographs are 365 days later than their results: the clock is ahead",
        ),
        (
            {"night": date(1970, 1, 1), "first": datetime(1970, 1, 1, 12), "last": datetime(1970, 1, 1, 18)},
            "the photographs are of 1970: the clock was not set",
        ),
    ],
)
def test_a_clock_of_another_year_is_off(values: dict[str, object], text: str) -> None:
    found = said(changed(10, **values))
    [(_, off, why)] = [one for one in found if one[0] == "clock_off"]
    assert off == values["night"] and text in why
    # The night in which it should be is missing, and nothing else is said.
    assert {kind for kind, _, _ in found} == {"clock_off", "trap_silent"}


def test_a_second_season_and_archives_have_no_clock_off() -> None:
    last_year = [
        replace(
            one,
            night=one.night - timedelta(days=365),
            first=one.first and one.first - timedelta(days=365),
            last=one.last and one.last - timedelta(days=365),
        )
        for one in SEASON
    ]
    in_time = [replace(one, arrived_at=one.arrived_at and one.arrived_at - timedelta(days=365)) for one in last_year]
    assert [kind for kind, _, _ in said([*in_time, *SEASON])] == ["trap_silent"]
    assert "clock_off" not in {kind for kind, _, _ in said([*last_year, *SEASON])}


def test_photographs_outside_of_the_deployment_have_a_clock_off() -> None:
    place = replace(POND, starts_at=datetime(2026, 6, 5, 18), ends_at=datetime(2026, 6, 29, 8))
    found = said(SEASON, place=place)
    assert [(kind, off) for kind, off, _ in found] == [
        ("clock_off", date(2026, 6, 30)),
        ("clock_off", date(2026, 6, 3)),
        ("clock_off", date(2026, 6, 2)),
        ("clock_off", date(2026, 6, 1)),
    ]


def test_a_night_trap_at_daylight_has_a_clock_off() -> None:
    [(kind, off, text)] = said(changed(10, dark=20))
    assert (kind, off) == ("clock_off", date(2026, 6, 11)) and "83% of the photographs are at daylight" in text
    by_day = [replace(one, dark=20) for one in SEASON]
    assert said([*by_day[:10], replace(by_day[10], dark=0), *by_day[11:]]) == []
    assert said([replace(one, dark=None) for one in SEASON]) == []


def test_a_card_that_was_not_copied_to_its_end() -> None:
    assert said(changed(12, found=40, done=40, detections=130)) == [
        ("card_half_copied", date(2026, 6, 13), "40 photographs, where 121 are usual")
    ]
    assert said(changed(12, last=datetime(2026, 6, 14, 1), found=80, done=80, detections=260)) == [
        ("card_half_copied", date(2026, 6, 13), "the last photograph is of 01:00, where 04:03 is usual")
    ]
    assert said(changed(12, last=datetime(2026, 6, 14, 3), found=100, done=100, detections=330)) == []
    # All photographs are there, so that nothing was cut off.
    assert said(changed(12, last=datetime(2026, 6, 14, 1))) == []
    # A camera that is triggered by what it sees has few photographs in many a night.
    triggered = [replace(one, found=found) for one, found in zip(SEASON, [9, 80, 31, 160, 15] * 6, strict=True)]
    assert said(triggered) == []


def test_a_camera_with_nights_without_photographs_is_not_silent() -> None:
    """A camera that animals trigger, and a trap that works in dry nights only."""
    rng = random.Random(4)
    told = []
    for _ in range(10):
        worked = [one for one in SEASON if rng.random() < 0.7]
        told += [kind for kind, _, _ in said(worked, now=worked[-1].arrived_at or AFTER)]
    # Were each pause an alarm, these would be some sixty.
    assert len(told) <= 3
    # The same camera, dead for ten nights.
    worked = [one for number, one in enumerate(SEASON) if not 15 <= number < 25 and number % 3]
    assert [(kind, silent) for kind, silent, _ in said(worked)] == [("trap_silent", date(2026, 6, 17))]


def test_a_trap_that_was_tried_before_its_season_is_not_silent() -> None:
    assert said([SEASON[0], *SEASON[4:6]], now=SEASON[5].arrived_at or AFTER) == []


def test_few_animals_are_no_implausible_catch() -> None:
    few = [replace(one, found=13, done=13, detections=number % 4) for number, one in enumerate(SEASON)]
    assert said([*few[:15], replace(few[15], detections=12), *few[16:]]) == []
    wet = (9, 10, 20)
    assert said([replace(one, detections=0) if number in wet else one for number, one in enumerate(SEASON)]) == []


def test_a_catch_that_is_not_plausible() -> None:
    [(kind, when, text)] = said(changed(15, detections=40_000))
    assert (kind, when) == ("catch_implausible", date(2026, 6, 16)) and "where 3." in text
    assert [kind for kind, _, _ in said(changed(15, detections=0))] == ["catch_implausible"]
    # Where some nights have ten times as many as others, one more is no news.
    assert said([replace(one, detections=d) for one, d in zip(SEASON, [20, 200, 90, 400, 35] * 6, strict=True)]) == []


def test_a_night_of_which_much_failed() -> None:
    assert said(changed(3, failed=80, done=40, detections=130)) == [
        ("failed_high", date(2026, 6, 4), "80 of 120 photographs failed")
    ]
    assert said(changed(3, failed=50, done=70, detections=230)) == []


def test_a_worker_that_is_slow_for_itself() -> None:
    usual = [
        WorkerNight(worker="gpu-1", pipeline="moths 2", night=FIRST + timedelta(days=n), photographs=400, seconds=0.1)
        for n in range(5)
    ]
    last = usual[-1]
    assert said([], workers=usual) == []
    assert said([], workers=[*usual[:-1], replace(last, seconds=0.25)]) == [
        (
            "worker_slow",
            date(2026, 6, 5),
            "worker gpu-1 needs 0.25 s for a photograph with moths 2, where 0.1 s are usual",
        )
    ]
    assert said([], workers=[*usual[:-1], replace(last, seconds=0.25, photographs=20)]) == []
    assert said([], workers=[*usual[:-1], replace(last, seconds=0.25, worker="gpu-2")]) == []


def test_what_two_pipelines_say_of_the_same_photographs_is_said_once() -> None:
    one = changed(12, found=40, done=40, detections=130)
    both = [*one, *(replace(night, pipeline="other") for night in one)]
    assert [kind for kind, _, _ in said(both)] == ["card_half_copied"]
