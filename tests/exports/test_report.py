"""The report: numbers worked out by hand, whatever names come in, and what every page keeps."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from antenna_orchestration import errors
from antenna_orchestration.ecology.steps.step import FLAGS
from antenna_orchestration.exports.material import Box, Material
from antenna_orchestration.exports.report import charts, facts, gallery, html, models, page, palette, rules, sections
from tests.ecology.lakes_by_hand import derive_all, write_job
from tests.ecology.nights_by_hand import capture, detection
from tests.exports.materials import DUSK, POND, material_of, night_at_the_pond
from tests.exports.more import more_at_the_pond

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=x></svg>]]>\N{RIGHT-TO-LEFT OVERRIDE}&amp;"
)


class Painted:
    """Photographs that are all of one colour."""

    def __init__(self) -> None:
        self.drawn_boxes: dict[str, Sequence[Box]] = {}

    def drawn(self, url: str, boxes: Sequence[Box], *, width: int | None = None) -> bytes:
        self.drawn_boxes[url] = boxes
        return jpeg(40)

    def crops(self, url: str, boxes: Sequence[Box], *, margin: float = 0.0, longest: int | None = None) -> list[bytes]:
        if url.endswith("002.jpg"):
            raise errors.ImageForbidden("the card is not mounted")
        return [jpeg(8 + number) for number, _ in enumerate(boxes)]


def jpeg(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "JPEG")
    return file.getvalue()


def made_of(material: Material, **options: Any) -> str:
    """The page as text; it keeps all rules."""
    text = page.made(material, **options).html.decode()
    assert rules.faults(text) == []
    return text


def words(text: str) -> str:
    """What a page shows, without its tags."""
    body = re.sub(r"<style>.*?</style>", "", text)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def facts_of(material: Material) -> facts.Facts:
    with material.session() as session:
        [pipeline] = facts.pipelines(session)
        return facts.read(session, pipeline)


def test_the_numbers_of_a_night_are_those_counted_by_hand(tmp_path: Path) -> None:
    found = facts_of(material_of(tmp_path))

    assert (found.photographs, found.done, found.failed, found.empty, found.timeless) == (4, 3, 1, 1, 0)
    assert (found.detections, found.counted, found.first, found.last) == (3, 3, date(2026, 6, 12), date(2026, 6, 12))
    assert [(one.name, one.detections, one.photographs, one.max_n, one.nights) for one in found.taxa] == [
        ("Autographa gamma", 2, 2, 1, 1),
        ("Noctua pronuba", 1, 1, 1, 1),
    ]
    assert [one for one in found.hours if one.photographs] == [facts.Hour(22, 3, 3)]
    assert found.nights == [facts.NightSum(date(2026, 6, 12), 3, 3, 1)]
    assert found.accumulated == [(date(2026, 6, 12), 2)] and found.once == 2
    # Boxes of 8 pixels, 8 pixels, and 31 pixels; 99 of 100 are below 40.
    assert [(one.start, one.end, one.detections) for one in found.sizes if one.detections] == [
        (8.0, 10.0, 2),
        (30.0, 32.0, 1),
    ]
    assert found.size_unit == "pixels"
    # The track of the first species has the mean of 0.96875 and 0.875.
    assert [(one.start, one.detections) for one in found.scores if one.detections] == [(0.9, 2), (0.95, 1)]
    # One has none.
    assert [(one.start, one.detections) for one in found.detector_scores if one.detections] == [(0.75, 2)]
    assert [(one.reason, one.photographs) for one in found.reasons] == [("cannot be decoded", 1)]
    assert found.sites == [
        facts.Site("by the pond", 1, 4, 1, 1, 3, date(2026, 6, 12), date(2026, 6, 12)),
    ]
    [night] = found.coverage
    assert (night["found"], night["expected"], night["failed"], night["empty"], night["gaps"]) == (4, 4, 1, 1, 0)
    assert [one[::2] for one in found.models] == [("boxes", "detector"), ("moths", "classifier")]


def test_the_page_says_in_words_what_is_there(tmp_path: Path) -> None:
    text = made_of(material_of(tmp_path))
    shown = words(text)

    assert "On 4 photographs of by the pond, in the night of 2026-06-12 , 3 detections were made" in shown
    # In no table and no line does a date break at its hyphens.
    assert not re.search(r"(?<!<time>)2026-06-12", re.sub(r"<(desc|title)\b.*?</\1>", "", text))
    assert "<i>Autographa gamma</i>" in text and "Moths by the pond" in shown
    assert "Nobody has checked these results." in shown
    # What tests name `boxes` has no card.
    assert models.UNKNOWN_DETECTOR.misses in shown
    assert "cannot be decoded 1 night 1/004.jpg" in shown
    assert "data: CC0-1.0, photographs: CC-BY-4.0" in shown
    # A reviewer or a contributor is in no page.
    assert "ada@example.org" not in text
    for said in (
        "Columns, detections by hour of local time from 22:00 to 23:00, with the photographs of each hour below. "
        "The most, 3, between 22:00 and 23:00.",
        "Lying bars, detections of each name: Autographa gamma 2; Noctua pronuba 1.",
    ):
        assert f">{said}</desc>" in text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"status": "failed", "reason": "gone"},
            "All 2 photographs of by the pond, in the night of 2026-06-12 failed: gone (2 photographs).",
        ),
        ({}, "On 2 photographs of by the pond, in the night of 2026-06-12 , nothing was found."),
        ({"local_time": None, "stamp": None}, "2 photographs without a time are in no night."),
        ({"deployment": None}, "no deployment"),
    ],
)
def test_nights_that_lack_something_have_a_page(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    rows = [capture(n, DUSK + timedelta(minutes=n), zone=POND.zone, **changed) for n in (1, 2)]
    assert said in words(made_of(material_of(tmp_path, rows)))


def test_photographs_that_failed_are_not_said_to_show_nothing(tmp_path: Path) -> None:
    """A job of which every photograph failed said that nothing was found on them."""
    failed = [
        capture(n, DUSK + timedelta(minutes=n), zone=POND.zone, status="failed", reason=f"reason <{n % 4}>")
        for n in range(1, 7)
    ]
    text = made_of(material_of(tmp_path / "all", failed))
    shown = words(text)
    why = "reason <1> (2 photographs); reason <2> (2 photographs); reason <0> (1 photograph); and 1 more reason"
    assert f"failed: {why}." in shown
    assert f"Nothing is known of what is on these photographs: {why}." in shown
    assert "othing was found" not in shown
    assert "reason <" not in text

    done = capture(9, DUSK, zone=POND.zone)
    shown = words(made_of(material_of(tmp_path / "most", [*failed, done])))
    assert "On 1 photograph of by the pond, in the night of 2026-06-12 , nothing was found; 6 others failed." in shown
    assert "Nothing was found on the 1 photograph that did not fail." in shown


def test_a_job_without_photographs_has_a_page(tmp_path: Path) -> None:
    assert "There are no photographs." in words(made_of(material_of(tmp_path, [])))


def test_detections_without_place_and_time_are_shown(tmp_path: Path) -> None:
    rows = [capture(1, None, deployment=None)]
    shown = words(made_of(material_of(tmp_path, rows, [detection(1, 0, "unlike any")], places={})))
    assert "On 1 photograph, 1 detection was made, most often unlike any." in shown
    assert "Activity by hour" not in shown and "Catch by night" not in shown


def test_hours_without_a_known_zone_say_so(tmp_path: Path) -> None:
    captures, detections = night_at_the_pond()
    material = material_of(tmp_path, captures, detections, places={})
    assert "Of 1 night no time zone is known: hours are the camera's." in words(made_of(material))


def test_hostile_names_mean_nothing_anywhere(tmp_path: Path) -> None:
    captures, detections = night_at_the_pond()
    captures = [{**one, "deployment": HOSTILE, "url": f"file:///{HOSTILE}/{one['image_id']}"} for one in captures]
    captures[-1]["reason"] = HOSTILE
    detections = [{**one, "label": HOSTILE, "top_labels": [HOSTILE], "scores": None} for one in detections]
    material = material_of(tmp_path, captures, detections, places={}, pictures=Painted())
    material = replace(material, jobs=[material.jobs[0]._replace(name=HOSTILE)])

    text = made_of(material)

    assert "<script" not in text and "evil.example" in text and "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
    assert words(text).count("<script>alert(1)</script>") > 5
    with material.session() as session:
        plots = sections.charts_of(facts.read(session, "moths"), "p")
    assert all("<script" not in plot.standalone() for plot in plots.values())


def test_results_of_two_pipelines_are_never_added(tmp_path: Path) -> None:
    material = material_of(tmp_path)
    captures, detections = night_at_the_pond()
    sources = [write_job(material.lake, 1, captures, detections)]
    others = [{**one, "job_id": 2} for one in captures[:1]]
    sources.append(write_job(material.lake, 2, others, [])._replace(pipeline="others"))
    derive_all(material.lake, sources)

    text = made_of(material)

    assert "The photographs were processed by 2 pipelines." in text
    assert "<dd>4</dd>" in text and "<dd>1</dd>" in text and "<dd>5</dd>" not in text


def test_the_same_results_make_the_same_bytes(tmp_path: Path) -> None:
    material = material_of(tmp_path, pictures=Painted())
    assert page.made(material).html == page.made(material).html


def test_crops_lead_to_their_photographs_and_gaps_say_why(tmp_path: Path) -> None:
    pictures = Painted()
    made = page.made(material_of(tmp_path, pictures=pictures))
    text = made.html.decode()

    # Two of the first species and one of the second; the one on photograph 2 cannot be read.
    assert made.crops == 2 and made.notes == ["no picture of 1 detection: the card is not mounted"]
    assert "No picture: the card is not mounted" in text
    assert text.count('href="#p1-photo-1"') == 2 and text.count('id="p1-photo-1"') == 1
    [boxes] = pictures.drawn_boxes.values()
    assert [box.label for box in boxes] == ["Autographa gamma", "Noctua pronuba"]
    assert "<b>0.95</b> best" in text


def test_without_pictures_none_is_asked_for(tmp_path: Path) -> None:
    pictures = Painted()
    text = made_of(material_of(tmp_path, pictures=pictures), pictures=False)
    assert "<img" not in text and "How they look" not in text and not pictures.drawn_boxes


def test_pictures_end_with_the_patience_and_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material = material_of(tmp_path, pictures=Painted())
    assert page.made(material, patience=-1).notes == [f"no picture of 3 detections: {gallery.TOO_LATE}"]
    monkeypatch.setattr(gallery, "MOST_BYTES", 10)
    assert f"no picture of 2 detections: {gallery.TOO_LARGE}" in page.made(material).notes


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([0.94, 0.9, 0.92, 0.98, 0.86], [("best", 3), ("median", 2), ("least sure", 4)]),
        ([0.98, 0.98, 0.98, 0.98, 0.86], [("best", 3), ("median", 1), ("least sure", 4)]),
        # People see two digits.
        ([0.951, 0.949, 0.95, 0.952], [("one of them", 3), ("one of them", 2), ("one of them", 1)]),
        ([0.95] * 5, [("one of them", 4), ("one of them", 2), ("one of them", 0)]),
        ([0.86, 0.98], [("best", 1), ("least sure", 0)]),
        ([0.95], [("best", 0)]),
    ],
)
def test_the_best_median_and_least_sure_are_chosen(
    tmp_path: Path, scores: list[float], chosen: list[tuple[str, int]]
) -> None:
    # All above what the recipe asks of a species, and on one photograph, so that they are not a track.
    rows = [capture(1, DUSK, zone=POND.zone)]
    found = [detection(1, n, "Autographa gamma", score) for n, score in enumerate(scores)]
    material = material_of(tmp_path, rows, found)
    with material.session() as session:
        picks = facts.picks(session, "moths", ["Autographa gamma"])
    assert [(one.kind, one.row["detection_id"]) for one in picks] == [(kind, f"1-{at}") for kind, at in chosen]


@pytest.mark.parametrize("years", [False, True])
@pytest.mark.parametrize("nights", [1, 2, 4, 5, 6, 9, 10, 31, 400])
def test_days_below_a_plot_leave_room_on_telephones(nights: int, years: bool) -> None:
    days = [html.day(date(2022, 12, 20) + timedelta(days=n), years) for n in range(nights)]
    shown = [at for at, name in enumerate(sections._below(days)) if name]
    # Pixels that a screen of 320 has for the columns, and those of a letter, seen in Chromium.
    apart, widest = 275 / nights, 6.2 * max(map(len, days))
    assert shown[0] == 0
    assert all(apart * (later - earlier) > widest for earlier, later in itertools.pairwise(shown))


def test_many_nights_are_shown_by_month() -> None:
    nights = [facts.NightSum(date(2025, 1, 1) + timedelta(days=n), 2, 10, 1) for n in range(500)]
    grouped, is_monthly = sections._grouped(nights)
    assert is_monthly and grouped[0] == facts.NightSum(date(2025, 1, 1), 62, 310, 1)
    assert sum(one.detections for one in grouped) == 1000


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK])
def test_letters_and_shapes_differ_enough_from_their_ground(colours: dict[str, str]) -> None:
    assert colours.keys() == palette.LIGHT.keys()
    for least, pairs in ((4.5, palette.LETTERS), (3.0, palette.SHAPES)):
        for one, other in pairs:
            assert palette.contrast(colours[one], colours[other]) >= least, (one, other)


def test_contrast_is_computed_as_the_standard_does() -> None:
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert palette.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (lambda text: text.replace("</main>", "<script></script></main>"), "<script> may load or run something"),
        (lambda text: text.replace("<h1>", '<h1 onclick="x">'), "<h1> has onclick"),
        (lambda text: text.replace("<h1>", '<h1 style="color:red">'), "<h1> has style"),
        (lambda text: text.replace("<main>", '<main><img alt="x" src="https://x.org/1.jpg">'), "refers to https://x"),
        (lambda text: text.replace("<main>", '<main><a href="//x.org">x</a>'), "refers to //x.org"),
        (lambda text: text.replace("<main>", '<main><a href="javascript:x">x</a>'), "refers to javascript:x"),
        (lambda text: text.replace("<main>", '<main><img src="data:image/jpeg;base64,">'), "no alternative text"),
        (lambda text: text.replace('role="img"', "", 1), "no alternative text"),
        (lambda text: text.replace('id="p1-taxa-d"', "", 1), "#p1-taxa-d, which is not there"),
        (lambda text: text.replace("<main>", '<main id="p1-found">'), "the id p1-found is there 2 times"),
        (lambda text: text.replace("h1>", "h3>"), "one first heading"),
        (lambda text: text.replace("<main>", "<main><h2>x</h2><h4>y</h4>"), "level 4 follows one of level 2"),
        (lambda text: text.replace("default-src 'none'", "default-src *"), "no policy"),
        (lambda text: text.replace(' lang="en"', ""), "its language"),
        (lambda text: text.replace("</main>", ""), "main is not closed"),
        (lambda text: text.replace("</main>", "</div></main>"), "</div> closes nothing"),
    ],
)
def test_each_broken_rule_is_found(tmp_path: Path, broken: Any, fault: str) -> None:
    text = page.made(material_of(tmp_path)).html.decode()
    changed = broken(text)
    assert changed != text
    path = tmp_path / "report.html"
    path.write_text(changed)
    found = page.check(path)
    assert any(fault in one for one in found.faults), found.faults


@given(most=st.integers(0, 10**9))
def test_axes_reach_beyond_the_most_in_few_steps(most: int) -> None:
    ticks = charts._ticks(most)
    assert ticks[0] == 0 and ticks[-1] >= most * 0.999 and 2 <= len(ticks) <= 6
    assert ticks[-1] <= 2.5 * most + 1


@given(value=st.floats(1e-3, 1e6))
def test_histograms_end_at_a_round_number_above_the_most(value: float) -> None:
    end = facts._round_up(value)
    assert value < end <= 2.5 * value * 1.01
    assert f"{end:e}"[0] in "1245"


def test_figures_of_models_are_those_of_the_model_card() -> None:
    card = Path("docs/model-card.md").read_text()
    [row] = re.findall(r"\| all \| 230 \| (.*) \|", card)
    ours = ("light_trap_detector", "light_trap_moths"), ("insect_network", "insect_network_moths"), (
        "light_trap_blobs", "insect_shape",
    )  # fmt: skip
    for (detector, classifier), cell in zip(ours, row.split("|"), strict=True):
        recall, precision, kinds = (part.strip().replace(".", "") for part in cell.split("/"))
        assert f"found {recall} %" in models.CARDS[detector].measured
        assert f"{precision} % of its boxes" in models.CARDS[detector].measured
        assert f"{kinds} % got the correct kind" in models.CARDS[classifier].measured
    assert "correct for .83" in card


def test_every_flag_has_words() -> None:
    assert sections._FLAGS.keys() == FLAGS.keys()


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 0, "0 %"), (0, 9, "0 %"), (1, 1000, "under 1 %"), (1, 4, "25 %"), (999, 1000, "over 99 %"), (9, 9, "100 %")],
)
def test_shares_never_round_to_none_or_all(part: int, whole: int, said: str) -> None:
    assert html.share(part, whole) == said


def test_times_of_a_night_lie_between_its_noons() -> None:
    night = date(2026, 6, 12)
    assert facts.share_of_day(datetime(2026, 6, 13), night) == 0.5
    assert facts.share_of_day(datetime(2026, 6, 13, 18), night) == 1


def test_results_so_far_say_how_many_photographs_wait(tmp_path: Path) -> None:
    assert "Results so far: 7 photographs have none yet." in words(made_of(material_of(tmp_path, pending=7)))


@pytest.mark.long
def test_what_a_pipeline_says_beyond_boxes_is_on_the_page(tmp_path: Path) -> None:
    """Labels of whole photographs, outlines and attributes were in the tables, and the page was silent about them."""
    material = material_of(tmp_path, *more_at_the_pond())
    said = words(made_of(material, pictures=False))
    assert "What whole photographs show 2 photographs of 3 have labels of their own." in said
    assert "label photographs as their best mean score rain 2 1 0.50 Noctua pronuba 1 1 0.75" in said
    assert "There is 1 detection with an outline and 1 detection with a rotated box." in said
    assert "most frequent =wing detections 1 17.5 17.5 17.5 1 17.5 sex detections 1 – – – 1 f blur photographs" in said
    assert "photographs without a detection" in said and "nothing found" not in said.partition("Deployments")[0]
    assert "photo_labels" in {name for _, name in page.made(material, pictures=False).plots}


def test_a_night_of_labels_alone_is_no_night_of_nothing(tmp_path: Path) -> None:
    said = words(made_of(material_of(tmp_path, more_at_the_pond()[0]), pictures=False))
    assert "no detection was made; of 2 it is said what they show: rain, Noctua pronuba." in said
    assert "nothing was found" not in said.lower()


def test_what_people_checked_is_compared_by_name(tmp_path: Path) -> None:
    material = material_of(tmp_path)
    judged = {
        ("Autographa gamma", "Autographa gamma"): 6,
        # Another way to write it.
        ("autographa_gamma", "Autographa gamma"): 1,
        ("Noctua pronuba", "Autographa gamma"): 2,
        ("Noctua pronuba", None): 3,
    }
    found = replace(facts_of(material), reviewed=15, detections=60, judged=judged)
    assert list(sections._checked(found, material.names))[:3] == [
        "People checked 15 detections, 25 % of all.",
        "Of 12 with a classifier's name they kept it for 7 (58 %).",
        "3 of these are not animals.",
    ]
