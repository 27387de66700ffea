"""The derived tables of nights whose numbers are worked out by hand."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antenna_orchestration.ecology import columns, sun, tables
from antenna_orchestration.ecology.model import Classes, Night, Place
from antenna_orchestration.ecology.steps import best_picture
from antenna_orchestration.ecology.steps.best_picture import BestPictureParameters
from antenna_orchestration.ecology.tables import Decision, Scope
from tests.ecology.nights_by_hand import LABELS, MOTHS, capture, detection, night_of, times

SCOPE = Scope(project="pond", pipeline="moths", recipe="0123456789ab", count_without=frozenset({"fixture"}))
DUSK = datetime(2026, 6, 1, 22)
GAMMA, PRONUBA = "Autographa gamma", "Noctua pronuba"


def made(name: str, night: Night, scope: Scope = SCOPE) -> list[dict[str, Any]]:
    table = tables.of_night(night, scope)[name]
    assert table.schema.equals(columns.SCHEMAS[name])
    return table.to_pylist()


def flagged(night: Night, row: int, flag: str) -> Night:
    frame = night.detections.copy()
    frame.at[row, "flags"] = (flag,)
    return replace(night, detections=frame)


def tracked(night: Night, tracks: list[str | None]) -> Night:
    return replace(night, detections=night.detections.assign(track=np.array(tracks, object)), tracked=True)


def seen_night() -> Night:
    """Three photographs around midnight; two moths sit on the first, one of them stays."""
    moments = [datetime(2026, 6, 1, 23), datetime(2026, 6, 2, 0), datetime(2026, 6, 2, 1)]
    return night_of(
        [capture(number, moment) for number, moment in enumerate(moments, 1)],
        [
            detection(1, 0, GAMMA, 0.75),
            detection(1, 1, GAMMA, 0.5),
            detection(2, 0, GAMMA, 0.875),
            detection(3, 0, PRONUBA, 0.625),
            detection(3, 1, None),
        ],
    )


def test_counts_are_what_a_person_counts() -> None:
    rows = made("counts", tracked(seen_night(), ["1-1-0", "1-1-1", "1-1-0", "1-3-0", None]))

    gamma, pronuba, unknown = rows
    assert [row["taxon"] for row in rows] == [GAMMA, PRONUBA, None]
    assert {name: gamma[name] for name in ("detections", "photographs", "max_n", "tracks", "best_score", "rank")} == {
        "detections": 3,
        "photographs": 2,
        "max_n": 2,
        "tracks": 2,
        "best_score": 0.875,
        "rank": "species",
    }
    assert (gamma["first"], gamma["last"]) == (datetime(2026, 6, 1, 23), datetime(2026, 6, 2))
    assert gamma["median_time"] == time(23), "23:00, 23:00 and 0:00"
    assert (pronuba["median_time"], pronuba["tracks"]) == (time(1), 1)
    assert (unknown["detections"], unknown["rank"], unknown["best_score"], unknown["tracks"]) == (1, None, None, 0)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [((23, 25), time(0)), ((12, 35), time(23, 30)), ((18,), time(18)), ((22, 23, 26, 27), time(0, 30))],
)
def test_the_median_time_is_of_the_night(hours: tuple[int, ...], expected: time) -> None:
    moments = [datetime(2026, 6, 1) + timedelta(hours=hour) for hour in hours]
    night = night_of(
        [capture(n, one) for n, one in enumerate(moments)], [detection(n, 0, GAMMA) for n in range(len(moments))]
    )

    assert made("counts", night)[0]["median_time"] == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # expected photographs, interval, gaps, longest gap, photographs that share a time
        ((), (None, None, None, None, 0)),
        ((0,), (None, None, None, None, 0)),
        ((0, 60), (None, None, None, 60.0, 0)),
        ((0, 60, 120), (3, 60.0, 0, 60.0, 0)),
        ((0, 60, 120, 240, 300), (6, 60.0, 0, 120.0, 0)),
        ((0, 60, 120, 300, 360, 720), (13, 60.0, 2, 360.0, 0)),
        ((0, 0, 60, 120, 120, 120), (None, 0.0, None, 60.0, 5)),
        ((0, 0, 0), (None, 0.0, None, 0.0, 3)),
    ],
)
def test_what_a_night_should_have_had(seconds: tuple[float, ...], expected: tuple[Any, ...]) -> None:
    [row] = made("nights", night_of([capture(n, one) for n, one in enumerate(times(DUSK, seconds))]))

    wanted = dict(
        zip(("expected", "interval_seconds", "gaps", "longest_gap_seconds", "same_time"), expected, strict=True)
    )
    if seconds == (0, 0, 60, 120, 120, 120):
        # Median of 0, 60, 60, 0, 0.
        wanted |= {"interval_seconds": 0.0, "gaps": None}
    assert {name: row[name] for name in wanted} == wanted
    assert row["found"] == len(seconds)


def test_a_night_counts_its_photographs_by_outcome() -> None:
    photographs = [capture(n, one) for n, one in enumerate(times(DUSK, [0, 60, 120, 180]))]
    photographs[1] |= {"status": "failed", "width": None, "height": None}
    photographs[2] |= {"width": 800}
    [row] = made("nights", night_of(photographs, [detection(0, 0, GAMMA), detection(0, 1, GAMMA)]))

    names = ("found", "done", "failed", "empty", "detections", "sizes", "first", "last", "tracked")
    assert [row[name] for name in names] == [4, 3, 1, 2, 2, 2, DUSK, DUSK + timedelta(seconds=180), False]


def test_photographs_without_a_time_are_a_group_of_their_own() -> None:
    night = night_of([capture(n, None) for n in range(4)], [detection(0, 0, GAMMA)], night=None)

    [row], [count] = made("nights", night), made("counts", night)
    assert (row["night"], row["found"], row["first"], row["expected"], row["sunset"]) == (None, 4, None, None, None)
    assert (count["night"], count["detections"], count["median_time"]) == (None, 1, None)


def test_summer_time_is_no_pause() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    # From 1:30 to 3:30 summer time is an hour.
    locals_ = [datetime(2026, 3, 29, 0, 30), datetime(2026, 3, 29, 1, 30), datetime(2026, 3, 29, 3, 30)]
    [row] = made("nights", night_of([capture(n, one, zone=berlin) for n, one in enumerate(locals_)]))

    assert (row["expected"], row["gaps"], row["longest_gap_seconds"]) == (3, 0, 3600.0)


def test_what_the_recipe_leaves_out_is_not_counted() -> None:
    night = flagged(flagged(seen_night(), 0, "fixture"), 3, "at_edge")

    assert [row["detections"] for row in made("counts", night)] == [2, 1, 1]
    assert [row["counted"] for row in made("observations", night)] == [False, True, True, True, True]


def test_a_person_wins_over_all_that_steps_decided() -> None:
    said = {
        (1, "1-0"): Decision(taxon=PRONUBA, rank="species", taxon_id="1776155", reviewer="Ada", reviewed_at=seen_at()),
        (1, "2-0"): Decision(taxon=None, reviewer="Ada", reviewed_at=seen_at()),
    }
    night = flagged(seen_night(), 0, "fixture")
    rows = made("observations", night, replace(SCOPE, decisions=said))

    first, _, rejected, *_ = rows
    assert [first[name] for name in ("taxon", "score", "source", "counted", "reviewer", "reviewed_at", "label")] == [
        PRONUBA,
        None,
        "human",
        True,
        "Ada",
        seen_at(),
        GAMMA,
    ]
    assert (rejected["taxon"], rejected["rank"], rejected["counted"], rejected["source"]) == (
        None,
        None,
        False,
        "human",
    )
    counted = made("counts", night, replace(SCOPE, decisions=said))
    assert [(row["taxon"], row["detections"], row["taxon_id"]) for row in counted] == [
        (GAMMA, 1, None),
        (PRONUBA, 2, "1776155"),
        (None, 1, None),
    ]


def test_what_people_say_changes_the_best_pictures() -> None:
    said = {
        # Was the best of the first taxon, and is now the second's.
        (1, "2-0"): Decision(taxon=PRONUBA, rank="species", reviewed_at=seen_at()),
        (1, "3-1"): Decision(taxon=None, reviewed_at=seen_at()),
    }
    chooses = BestPictureParameters()
    night = best_picture.apply(seen_night(), chooses)
    assert [row["best_picture"] for row in made("observations", night)] == [False, False, True, True, False]
    rows = made("observations", night, replace(SCOPE, decisions=said, best_picture=chooses))
    assert [row["best_picture"] for row in rows] == [True, False, True, False, False]
    none = made("observations", seen_night(), replace(SCOPE, decisions=said))
    assert not any(row["best_picture"] for row in none)


def seen_at() -> datetime:
    return datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_an_observation_says_what_it_is_and_where_from() -> None:
    place = Place(deployment="by the pond", pixels_per_mm=4.0)
    photographs = [capture(2, DUSK, job_id=7)]
    [row, other] = made(
        "observations",
        night_of(
            photographs,
            [detection(2, 10, "unlike any", job_id=7), detection(2, 9, None, job_id=7)],
            place=place,
        ),
    )

    assert (row["observation_id"], other["observation_id"]) == ("7-2-9", "7-2-10"), "by number, not as text"
    assert (row["source"], row["taxon"], row["classifier"], row["score"]) == ("detector", None, None, None)
    assert (other["source"], other["taxon"], other["rank"]) == ("classifier", "unlike any", None)
    assert (other["url"], other["stamp"], other["length_mm"]) == ("file:///card/002.jpg", DUSK, 2.0)
    assert (other["project"], other["pipeline"], other["recipe"]) == ("pond", "moths", "0123456789ab")


def test_a_track_is_what_most_of_its_detections_are() -> None:
    night = tracked(seen_night(), ["1-1-0", "1-1-1", "1-1-0", "1-1-0", None])
    first, second = made("tracks", night)

    assert (first["taxon"], first["detections"], first["seconds"], first["best_observation"]) == (
        GAMMA,
        3,
        7200.0,
        "1-2-0",
    )
    assert (first["score"], first["first"], first["last"]) == (0.875, datetime(2026, 6, 1, 23), datetime(2026, 6, 2, 1))
    assert (second["track"], second["seconds"]) == ("1-1-1", 0.0)


@pytest.mark.parametrize(
    ("zone", "latitude", "longitude", "night", "expected"),
    [
        # From the day's length at the latitude, and how far the zone is from the sun's noon.
        ("Europe/Copenhagen", 55.68, 12.57, date(2026, 6, 21), ("21:57", "04:25")),
        ("America/Panama", 9.0, -79.5, date(2026, 12, 21), ("18:04", "06:28")),
        ("Pacific/Auckland", -36.85, 174.76, date(2026, 12, 21), ("20:39", "05:58")),
        ("Pacific/Kiritimati", 1.87, -157.4, date(2026, 3, 20), ("18:41", "06:33")),
        ("Europe/Oslo", 69.65, 18.96, date(2026, 6, 21), (None, None)),
        ("Europe/Oslo", 69.65, 18.96, date(2026, 12, 21), (None, None)),
    ],
)
def test_sunset_and_the_sunrise_after_it(
    zone: str, latitude: float, longitude: float, night: date, expected: tuple[str | None, str | None]
) -> None:
    place = Place(deployment="x", latitude=latitude, longitude=longitude, time_zone=zone, zone=ZoneInfo(zone))
    found = sun.of_night(place, night)

    for moment, text, day in zip(found, expected, (night, night + timedelta(days=1)), strict=True):
        if text is None:
            assert moment is None
        else:
            wanted = datetime.combine(day, time.fromisoformat(text))
            assert moment is not None
            assert abs(moment - wanted) < timedelta(minutes=3)


@pytest.mark.parametrize("missing", ["zone", "latitude"])
def test_no_sun_where_place_or_zone_are_unknown(missing: str) -> None:
    place = Place(deployment="x", latitude=55.0, longitude=12.0, zone=UTC)

    assert sun.of_night(replace(place, **{missing: None}), date(2026, 6, 1)) == (None, None)
    assert sun.of_night(None, date(2026, 6, 1)) == (None, None)
    assert sun.of_night(place, date.max) == (None, None)


def test_scores_are_whole_vectors_or_the_best_few() -> None:
    night = night_of(
        [capture(1, DUSK)],
        [
            detection(1, 0, GAMMA, 0.5),
            detection(
                1, 1, PRONUBA, 0.5, scores=None, top_labels=[PRONUBA, "new", GAMMA], top_scores=[0.5, 0.25, 0.125]
            ),
            detection(1, 2, PRONUBA, 0.5, scores=b"\x00\x00", top_labels=[], top_scores=[]),
            detection(1, 3, PRONUBA, None, scores=None, top_labels=None, top_scores=None),
        ],
    )

    vectors = night.vectors[MOTHS]
    assert vectors.rows.tolist() == [0, 1, 2, 3]
    assert vectors.partial.tolist() == [False, True, True, True]
    assert vectors.scores.tolist() == [[0.5, 0.25, 0.25], [0.125, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_vectors_in_an_unknown_order_are_not_read() -> None:
    # Only the labels that occur are known, and by chance there are as many as the vector is long.
    seen = Classes(algorithm=MOTHS, labels=LABELS, taxa=(None,) * 3, is_in_order=False)
    backwards = np.array([0.125, 0.25, 0.625], "<f2").tobytes()
    given = detection(1, 0, GAMMA, 0.625, scores=backwards, top_labels=[GAMMA, PRONUBA], top_scores=[0.625, 0.25])
    vectors = night_of([capture(1, DUSK)], [given], classes={MOTHS: seen}).vectors[MOTHS]
    assert (vectors.scores.tolist(), vectors.partial.tolist()) == ([[0.625, 0.25, 0.0]], [True])


@pytest.mark.parametrize(
    "other",
    [
        {"terminal": False, "label_score": 0.99, "created_at": datetime(2026, 7, 2, tzinfo=UTC)},
        {"terminal": True, "label_score": 0.99, "created_at": datetime(2026, 6, 30, tzinfo=UTC)},
        {"terminal": True, "label_score": 0.25, "created_at": seen_at()},
        {"terminal": True, "label_score": None, "created_at": seen_at()},
        {"terminal": None, "label_score": 0.99, "created_at": None},
    ],
)
def test_last_step_then_newest_then_best_score_decides(other: dict[str, Any]) -> None:
    said = {"image_id": 1, "detection_id": "1-0", "classifier": MOTHS.key, "classifier_version": MOTHS.version}
    night = night_of(
        [capture(1, DUSK)],
        [detection(1, 0, GAMMA, 0.5, created_at=seen_at())],
        classifications=[{**said, "label": PRONUBA, **other}],
    )

    assert night.detections["label"].tolist() == [GAMMA]


LABEL = st.sampled_from([GAMMA, PRONUBA, "unlike any", None])


@pytest.mark.long
@given(
    st.lists(st.tuples(st.sampled_from([None, 0, 60, 60, 600]), st.lists(LABEL, max_size=12)), max_size=6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30)
def test_the_order_of_rows_changes_no_table(
    photographs: list[tuple[int | None, list[str | None]]], chance: Any
) -> None:
    captures = [
        capture(number, None if second is None else DUSK + timedelta(seconds=second))
        for number, (second, _) in enumerate(photographs)
    ]
    detections = [
        detection(image, number, label)
        for image, (_, labels) in enumerate(photographs)
        for number, label in enumerate(labels)
    ]
    before = tables.of_night(night_of(captures, detections), SCOPE)
    chance.shuffle(captures)
    chance.shuffle(detections)

    assert tables.of_night(night_of(captures, detections), SCOPE) == before
