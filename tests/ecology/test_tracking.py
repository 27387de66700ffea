"""Tracking, consensus and fixtures: the same animal on successive photographs, and what is not an animal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antenna_orchestration.ecology.model import Night
from antenna_orchestration.ecology.steps import consensus, fixtures, tracking
from antenna_orchestration.ecology.steps.consensus import ConsensusParameters
from antenna_orchestration.ecology.steps.fixtures import FixturesParameters
from antenna_orchestration.ecology.steps.tracking import TrackingParameters
from benchmarks import tracking as drawn
from tests.ecology.nights_by_hand import GAMMA, MOTHS, capture, detection, night_of, times

EVENING = datetime(2026, 6, 1, 22)
SIDE = 20.0


def sheet(photographs: Sequence[Sequence[tuple[float, float]]], pause: float = 10, **changed: Any) -> Night:
    """Animals by the corners of their boxes, photograph by photograph, each with the same label."""
    moments = times(EVENING, [pause * number for number in range(len(photographs))])
    captures = [capture(number, moment) for number, moment in enumerate(moments)]
    boxes = [
        detection(image, number, GAMMA.name, x1=x, y1=y, x2=x + SIDE, y2=y + SIDE)
        for image, animals in enumerate(photographs)
        for number, (x, y) in enumerate(animals)
    ]
    return night_of(captures, boxes, **changed)


def tracks_of(night: Night, **parameters: Any) -> dict[str, str]:
    frame = tracking.apply(night, TrackingParameters(**parameters)).detections
    return dict(zip(frame["detection_id"], frame["track"], strict=True))


@pytest.mark.parametrize(
    ("photographs", "track_of_last"),
    [
        pytest.param([[(10, 10)], [(12, 11)], [(11, 10)]], "0-0", id="stays"),
        pytest.param([[(10, 10)], [(60, 10)], [(110, 10)]], "0-0", id="crosses"),
        pytest.param([[(10, 10)], [], [(12, 11)]], "0-0", id="is missed once"),
        pytest.param([[(10, 10)], [], [], [(12, 11)]], "3-0", id="is missed twice"),
        pytest.param([[(10, 10)], [(350, 270)]], "1-0", id="another one elsewhere"),
        pytest.param([[(10, 10), (100, 10)], [(102, 11), (11, 12)]], "0-0", id="two in the other order"),
    ],
)
def test_animals_that_stay_cross_and_leave(photographs: Any, track_of_last: str) -> None:
    tracks = tracks_of(sheet(photographs))
    assert list(tracks.values())[-1] == track_of_last


def test_pairs_cost_least_together_not_one_by_one() -> None:
    # The nearest pair, from 6 to 4, would leave the other two far apart.
    tracks = tracks_of(sheet([[(0, 10), (6, 10)], [(4, 10), (10, 10)]]))
    assert tracks == {"0-0": "0-0", "0-1": "0-1", "1-0": "0-0", "1-1": "0-1"}


@pytest.mark.parametrize(
    ("changes", "is_linked"),
    [
        ({"max_gap": 10.0}, True),
        ({"max_gap": 9.0}, False),
        ({"max_cost": 0.05}, False),
        ({"size_ratio": 1.0}, True),
    ],
)
def test_each_guard_parts_what_it_forbids(changes: dict[str, Any], is_linked: bool) -> None:
    tracks = tracks_of(sheet([[(10, 10)], [(13, 12)]]), **changes)
    assert (tracks["1-0"] == "0-0") == is_linked


def test_a_night_with_long_pauses_has_no_tracks() -> None:
    night = tracking.apply(sheet([[(10, 10)], [(10, 10)]], pause=121), TrackingParameters())
    assert not night.tracked
    assert night.detections["track"].isna().all()


def test_one_long_pause_ends_all_tracks() -> None:
    seconds = [0, 10, 20, 200, 210]
    captures = [capture(number, time) for number, time in enumerate(times(EVENING, seconds))]
    night = night_of(captures, [detection(number, 0, GAMMA.name) for number in range(5)])
    assert list(tracks_of(night).values()) == ["0-0", "0-0", "0-0", "3-0", "3-0"]


def test_no_link_is_longer_than_the_longest_gap() -> None:
    animals = [[(10, 10)], [], [(10, 10)]]
    assert tracks_of(sheet(animals, pause=60), max_gap=120.0)["2-0"] == "0-0"
    assert tracks_of(sheet(animals, pause=61), max_gap=120.0)["2-0"] == "2-0"


def test_photographs_without_a_time_have_no_track() -> None:
    captures = [*(capture(n, time) for n, time in enumerate(times(EVENING, [0, 10]))), capture(2, None, zone=None)]
    tracks = tracks_of(night_of(captures, [detection(n, 0, GAMMA.name) for n in range(3)]))
    assert (tracks["1-0"], tracks["2-0"]) == ("0-0", None)


def test_photographs_of_different_sizes_are_not_compared() -> None:
    first, second = times(EVENING, [0, 10])
    captures = [capture(0, first), capture(1, second, width=800, height=600)]
    tracks = tracks_of(night_of(captures, [detection(n, 0, GAMMA.name) for n in range(2)]))
    assert tracks["1-0"] == "1-0"


@pytest.mark.long
@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 380), st.integers(0, 280)), max_size=5), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
)
def test_order_changes_nothing_and_no_photograph_is_twice_in_a_track(photographs: Any, random: Any) -> None:
    night = sheet(photographs)
    tracks = tracks_of(night)
    images = [one.split("-")[0] for one in tracks]
    assert len(set(zip(images, tracks.values(), strict=True))) == len(tracks)
    captures = night.captures.to_dict("records")
    found = [
        detection(int(one.split("-")[0]), int(one.split("-")[1]), GAMMA.name, x1=x, y1=y, x2=x + SIDE, y2=y + SIDE)
        for one, x, y in zip(tracks, night.detections["x1"], night.detections["y1"], strict=True)
    ]
    random.shuffle(captures)
    random.shuffle(found)
    again = night_of([capture(c["image_id"], c["local_time"].to_pydatetime()) for c in captures], found)
    assert tracks_of(again) == tracks


def test_drawn_animals_are_followed_at_the_default_cost() -> None:
    (point,) = drawn.curve(60, seeds=[7], species=12, costs=[TrackingParameters().max_cost])
    assert point.precision > 0.97
    assert point.recall > 0.85


def test_a_track_says_what_its_mean_says() -> None:
    moments = times(EVENING, [0, 10, 20])
    captures = [capture(number, moment) for number, moment in enumerate(moments)]
    said = [("Autographa gamma", 0.9), ("Noctua pronuba", 0.6), ("Autographa gamma", 0.9)]
    night = night_of(captures, [detection(number, 0, *one) for number, one in enumerate(said)])
    together = consensus.apply(tracking.apply(night, TrackingParameters()), ConsensusParameters())
    assert together.detections["taxon"].tolist() == ["Autographa gamma"] * 3
    assert together.detections["label"].tolist() == [label for label, _ in said]
    assert together.detections["source"].tolist() == ["classifier+track"] * 3
    mean = np.mean([0.9, 0.2, 0.9])
    assert together.detections["score"].to_numpy() == pytest.approx([mean] * 3, abs=1e-3)
    assert together.vectors[MOTHS].scores.sum(axis=1) == pytest.approx([1.0] * 3, abs=2e-3)


def test_the_best_few_classes_do_not_spoil_a_mean_of_whole_vectors() -> None:
    captures = [capture(number, moment) for number, moment in enumerate(times(EVENING, [0, 10]))]
    boxes = [detection(0, 0, "Autographa gamma", 0.8), detection(1, 0, "Noctua pronuba", 0.9, scores=None)]
    night = tracking.apply(night_of(captures, boxes), TrackingParameters())
    assert night.detections["track"].tolist() == ["0-0", "0-0"]
    together = consensus.apply(night, ConsensusParameters())
    assert together.detections["taxon"].tolist() == ["Autographa gamma"] * 2
    assert together.vectors[MOTHS].scores[:, 0] == pytest.approx([0.8, 0.8], abs=1e-3)
    assert not together.vectors[MOTHS].partial.any()


def test_labels_without_scores_stay_what_they_are() -> None:
    captures = [capture(number, moment) for number, moment in enumerate(times(EVENING, [0, 10]))]
    bare: dict[str, Any] = {"score": None, "scores": None, "top_labels": None, "top_scores": None}
    night = night_of(captures, [detection(number, 0, "Noctua pronuba", **bare) for number in range(2)])
    together = consensus.apply(tracking.apply(night, TrackingParameters()), ConsensusParameters())
    assert together.detections["track"].tolist() == ["0-0", "0-0"]
    assert together.detections["taxon"].tolist() == ["Noctua pronuba"] * 2
    assert together.detections["score"].isna().all()
    assert together.detections["source"].tolist() == ["classifier"] * 2


def test_without_tracks_consensus_changes_nothing() -> None:
    night = sheet([[(10, 10)], [(10, 10)]], pause=600)
    assert consensus.apply(night, ConsensusParameters()) is night


def spots(nights: int, each: int, seen: int, jitter: float = 0.0) -> tuple[pd.DataFrame, dict[date, int]]:
    """A box in one spot on the first `seen` of `each` photographs of some nights, and a moth elsewhere on every one."""
    random = np.random.default_rng(3)
    rows = []
    days = [date(2026, 6, 1) + timedelta(days=number) for number in range(nights)]
    for day, night in enumerate(days):
        for number in range(each):
            image = day * each + number
            places = [(500.0, 500.0)] if number < seen else []
            for place, (x, y) in enumerate([*places, tuple(random.uniform(0, 3000, 2))]):
                box = np.array([x, y, x + 100, y + 100]) + random.uniform(-jitter, jitter, 4)
                corners = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
                key = {"night": night, "image_id": image, "job_id": 1, "detection_id": f"{image}-{place}"}
                rows.append({**key, **corners, "is_dirt": bool(places) and place == 0})
    return pd.DataFrame(rows), dict.fromkeys(days, each)


@pytest.mark.parametrize(
    ("nights", "each", "seen", "jitter", "is_fixture"),
    [
        (3, 10, 10, 0, True),
        (3, 10, 3, 0, True),
        (3, 10, 2, 0, False),
        (2, 10, 10, 0, False),
        (4, 20, 18, 1.0, True),
        (4, 20, 18, 40.0, False),
    ],
)
def test_what_stays_for_nights_is_a_fixture(nights: int, each: int, seen: int, jitter: float, is_fixture: bool) -> None:
    boxes, photographs = spots(nights, each, seen, jitter)
    found = fixtures.find(boxes.sample(frac=1, random_state=1), photographs, FixturesParameters())
    dirt = boxes[boxes["is_dirt"]]
    assert found == (frozenset(zip(dirt["job_id"], dirt["detection_id"], strict=True)) if is_fixture else frozenset())


def test_numbers_of_photographs_do_not_make_fixtures() -> None:
    # Overlap is not transitive: 0 and 4 are alike, 4 and 8 are, 0 and 8 are not.
    nights = [date(2026, 6, day) for day in (1, 2, 3)]

    def found(order: Sequence[int]) -> set[tuple[date, int]]:
        rows = [
            {"night": night, "image_id": 3 * day + order[n], "job_id": 1, "detection_id": f"{3 * day + order[n]}-0"}
            | {"x1": 500.0 + 4 * n, "y1": 500.0, "x2": 600.0 + 4 * n, "y2": 600.0, "place": n}
            for day, night in enumerate(nights)
            for n in range(3)
        ]
        frame = pd.DataFrame(rows)
        held = {one for _, one in fixtures.find(frame, dict.fromkeys(nights, 3), FixturesParameters(share=0.6))}
        return {(row["night"], row["place"]) for row in rows if row["detection_id"] in held}

    assert found([0, 1, 2]) == found([1, 0, 2]) == found([2, 1, 0])


@pytest.mark.parametrize(("side", "away", "iou"), [(300, 70, 0.5), (1500, 75, 0.9), (1500, 5, 0.9), (60, 10, 0.7)])
def test_large_boxes_that_shift_a_little_are_fixtures(side: float, away: float, iou: float) -> None:
    rows = [
        {"night": date(2026, 6, day), "image_id": 10 * day + n, "job_id": 1, "detection_id": f"{10 * day + n}-0"}
        | {"x1": 1000 + shift, "y1": 500.0, "x2": 1000 + shift + side, "y2": 500 + side}
        for day, shift in ((1, 0.0), (2, -away), (3, away))
        for n in range(4)
    ]
    frame = pd.DataFrame(rows)
    found = fixtures.find(frame, {date(2026, 6, day): 4 for day in (1, 2, 3)}, FixturesParameters(iou=iou))
    assert len(found) == len(rows)


def test_fixtures_are_marked_and_the_rest_is_not() -> None:
    night = sheet([[(10, 10), (100, 100)]], fixtures=frozenset({(1, "0-1")}))
    marked = fixtures.apply(night, FixturesParameters())
    assert marked.detections["flags"].tolist() == [(), ("fixture",)]
    assert night.detections["flags"].tolist() == [(), ()]


def test_summer_time_is_no_pause() -> None:
    # Clocks go back: by their digits the second photograph is earlier than the first.
    first, second = datetime(2026, 10, 25, 2, 59, 55), datetime(2026, 10, 25, 2, 0, 5)
    moment = datetime(2026, 10, 25, 0, 59, 55, tzinfo=UTC)
    captures = [
        capture(0, first, captured_at=moment),
        capture(1, second, captured_at=moment + timedelta(seconds=10)),
    ]
    tracks = tracks_of(night_of(captures, [detection(n, 0, GAMMA.name) for n in range(2)]))
    assert tracks["1-0"] == "0-0"


@pytest.mark.long
@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.floats(0, 60), st.floats(0.5, 60), st.floats(0.5, 60)), min_size=1, max_size=25
    ),
    st.sampled_from([0.5, 0.7, 0.9, 0.99]),
)
def test_spots_are_those_that_comparing_all_boxes_gives(boxes: Any, iou: float) -> None:
    # Each on two photographs a night for three nights, so that every box is in a spot that persists.
    nights = [date(2026, 6, day) for day in (1, 2, 3)]
    rows = [
        {"night": night, "image_id": 2 * day + half, "job_id": 1, "detection_id": f"{day}-{half}-{number:02d}"}
        | dict(zip(("x1", "y1", "x2", "y2"), (x, y, x + w, y + h), strict=True))
        for day, night in enumerate(nights)
        for half in (0, 1)
        for number, (x, y, w, h) in enumerate(boxes if half or day != 1 else boxes[:1])
    ]
    frame = pd.DataFrame(rows)
    parameters = FixturesParameters(iou=iou, share=1.0)
    found = fixtures.find(frame, dict.fromkeys(nights, 2), parameters)

    leaders: list[Any] = []
    members: list[list[Any]] = []
    for row in frame.sort_values(["night", "x1", "y1", "x2", "y2"], kind="stable").itertuples():
        box = np.array([row.x1, row.y1, row.x2, row.y2])
        for leader, own in zip(leaders, members, strict=True):
            inner = np.maximum(np.minimum(leader[2:], box[2:]) - np.maximum(leader[:2], box[:2]), 0).prod()
            both = (leader[2:] - leader[:2]).prod() + (box[2:] - box[:2]).prod() - inner
            if inner >= iou * both:
                own.append(row)
                break
        else:
            leaders.append(box)
            members.append([row])
    held = {row.detection_id for own in members if len({row.image_id for row in own}) == 6 for row in own}
    assert {detection for _, detection in found} == held
