"""`antenna sets`, and what `antenna submit` chooses: what they print, and what they refuse."""

import json
from pathlib import Path

import pytest

from tests.cli.shells import Shell
from tests.submission.pictures import empty

TIMES = [f"202606{day}2{hour}{minute:02}00" for day in (12, 13) for hour in (1, 2) for minute in range(0, 60, 6)]


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A photograph every six minutes, from nine to eleven in two nights, and one without a time."""
    return empty(tmp_path / "card", *(f"{time}.jpg" for time in TIMES), "unknown.jpg")


def test_what_is_chosen_of_a_card_and_why_not_the_rest(antenna: Shell, project: str, card: Path) -> None:
    common = ["submit", card, "--pipeline", "null", "--project", project, "--nights", "2026-06-13..", "--every", "30m"]
    # 21:00, 21:30, 22:00, 22:30.
    counts = {"no_time": 1, "other_night": 20, "same_interval": 16}
    line = "not chosen: 1 without a time, 20 of other nights, 16 not the first in their interval"
    looked = antenna(*common, "--dry-run")
    assert looked.out.startswith("images       4\n") and line in looked.out.splitlines()
    assert antenna(*common, "--dry-run", "--json").json["not_chosen"] == counts
    first = antenna(*common)
    assert (first.code, line in first.err.splitlines()) == (0, True)
    # First what is chosen, then what is skipped or cut off.
    again = antenna(*common[:-2], "--limit", 10, "--json").json
    assert (again["total"], again["skipped"], again["not_chosen"]) == (10, 0, {"no_time": 1, "other_night": 20})
    antenna(*common, "--only-deployment", "pond").refused(2, "no photograph is left of 41: 41 of other deployments")


@pytest.mark.long
def test_a_set_is_made_shown_submitted_and_removed(antenna: Shell, project: str, card: Path) -> None:
    of = ["--project", project]
    antenna("sets", "create", "some", *of).refused(3, f"there is no project {project}; `antenna projects list` shows")
    antenna("submit", card, "--pipeline", "null", *of, "--deployment", "pond")
    made = antenna("sets", "create", "some", *of, "--deployment", "pond", "--per-night", 3, "--seed", 7)
    assert made.out == "capture set some: 6 photographs\n"
    assert made.err.splitlines() == [
        "not chosen: 1 without a time, 34 beyond the most of a night",
        "drawn with seed 7",
        f"`antenna submit --set some --project {project}` processes just these",
    ]
    antenna("sets", "create", "some", *of).refused(4, "has a capture set some already")
    shown = antenna("sets", "show", "some", *of)
    assert [line.split() for line in shown.out.splitlines()[-2:]] == [
        ["pond", "2026-06-12", "3"],
        ["pond", "2026-06-13", "3"],
    ]
    rule = {"deployments": ["pond"], "per_night": 3, "seed": 7, "time_zone": "UTC"}
    as_json = antenna("sets", "show", "some", *of, "--json").json
    assert (as_json["rule"], as_json["photographs"], as_json["there"]) == (rule, 6, 6)
    assert as_json["nights"][0] == {"deployment": "pond", "night": "2026-06-12", "photographs": 3}
    assert antenna("sets", "refresh", "some", *of, "--json").json["not_chosen"] == {"no_time": 1, "full_night": 34}
    assert json.loads(antenna("sets", "list", *of, "--json").out)[0]["name"] == "some"

    looked = antenna("submit", "--set", "some", *of, "--pipeline", "null", "--dry-run", "--json").json
    assert (looked["images"], looked["nights"]) == (6, {"2026-06-12": 3, "2026-06-13": 3})
    submitted = antenna("submit", "--set", "some", *of, "--pipeline", "null", "--nights", "2026-06-12", "--json").json
    assert (submitted["name"], submitted["total"], submitted["not_chosen"]) == ("set some", 3, {"other_night": 3})
    assert antenna("sets", "remove", "some", *of).code == 0
    antenna("submit", "--set", "some", *of, "--dry-run").refused(3, "has no capture set 'some'")
    antenna("sets", "show", "some", *of).refused(3, "has no capture set 'some'")
    assert "there is no capture set" in antenna("sets", "list", *of).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", ".", "--nights", "2026-06-20..2026-06-12"], "2026-06-20 is after 2026-06-12"),
        (["submit", ".", "--nights", "yesterday"], "nights 'yesterday': name one night, such as 2026-06-12"),
        (["submit", ".", "--every", "10"], "every '10' is not a length of time: 90s, 10m, 6h and 1d are"),
        (["submit", ".", "--every", "2d"], "--every: an interval is between 1s and 1d"),
        (["submit", ".", "--known"], "--known takes photographs that are known: name no sources with it"),
        (["submit", "--known", "--set", "x"], "choose one"),
        (["submit", "--set", "x", "--deployment", "d"], "with --set, --only-deployment chooses one"),
        (["submit"], "no images: name a folder, a list, or URLs, or photographs that are known"),
        (["sets", "create", "x", "--every", "1m", "--nth", "2"], "--every and --nth both thin out a night: choose one"),
        (["sets", "create", "x", "--seed", "1"], "--seed is for --random and --per-night: nothing else is drawn"),
        (["sets", "create", "x", "--random", "0"], "--random 0: must be 1 or more"),
        (["sets", "create", "X y"], "name 'X y' is not a slug"),
    ],
    ids=[str(number) for number in range(12)],
)
def test_what_cannot_be_is_refused(antenna: Shell, arguments: list[str], message: str) -> None:
    antenna(*arguments).refused(2, message)
