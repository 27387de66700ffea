"""MegaDetector's batch format: what is written is what was found, and each broken rule is found."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from antenna_orchestration import errors
from antenna_orchestration.exports import formats, megadetector, validators
from antenna_orchestration.exports.formats import Incomplete
from antenna_orchestration.exports.material import BOXES, Material
from antenna_orchestration.exports.selection import Selection
from tests.ecology.nights_by_hand import capture, detection
from tests.exports.breaking import GONE, break_json
from tests.exports.materials import DUSK, decided, material_of

TEXTS = ('=cmd, "quoted"', "a\nb\tc", "夜蛾; Nachtfalter", "-1+2", "@x")


def recognitions(material: Material, folder: Path) -> tuple[Any, formats.Written]:
    file = folder / "megadetector.json"
    written = formats.named("megadetector").write(material, file)
    return json.loads(file.read_bytes()), written


@pytest.fixture(scope="module")
def recognition_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("megadetector")
    recognitions(material_of(folder), folder)
    return folder / "megadetector.json"


def test_a_recognition_file_has_each_photograph_with_its_determinations(tmp_path: Path) -> None:
    reviews = [decided("1-0", "Noctua pronuba"), decided("2-0", None)]
    made, written = recognitions(material_of(tmp_path, reviews=reviews), tmp_path)

    assert made["info"] == {
        "format_version": "1.6", "detector": "boxes 1", "classifier": "moths 1",
        "detection_completion_time": "2026-07-01 00:00:00",
        "antenna": {
            "selection": "project pond", "project": "pond", "jobs": [1], "complete": True, "threshold": 0.0,
            "detections_without_score": 1, "named_by_people": 2, "boxes": BOXES,
        },
    }  # fmt: skip
    assert made["classification_categories"] == {"0": "Noctua pronuba", "1": "not an insect"}
    assert made["classification_category_descriptions"] == {"0": "0;;;noctuidae;noctua;pronuba;"}
    one, two, empty, failed = made["images"]
    assert one == {
        "file": "001.jpg", "datetime": "2026:06:12 22:15:30", "width": 400, "height": 300,
        "detections": [
            {"category": "1", "conf": 0.75, "bbox": [0.0, 0.03333, 0.02, 0.02], "classifications": [["0", 1.0]]},
            # Its pixel beyond the edge is cut off.
            {"category": "1", "conf": 0.75, "bbox": [0.95, 0.0, 0.05, 0.1], "classifications": [["0", 0.95]]},
        ],
    }  # fmt: skip
    assert [(found["conf"], found["classifications"]) for found in two["detections"]] == [(1.0, [["1", 1.0]])]
    assert (empty["file"], empty["detections"]) == ("003.jpg", [])
    assert (failed["failure"], failed["detections"]) == ("cannot be decoded", None)
    assert written.counts == {"photographs": 4, "boxes": 3, "failures": 1}
    assert [note.partition(":")[0] for note in written.notes] == [
        "1 box whose detector gave no score",
        "2 boxes named by people, who give no score",
    ]
    assert "ana@" not in json.dumps(made)


def test_a_recognition_file_passes_its_check(recognition_file: Path) -> None:
    found = megadetector.check(recognition_file)
    assert (found.faults, found.by[0]) == ([], "own rules")


def test_a_validator_that_lacks_a_package_finds_no_fault() -> None:
    found = validators.checked([], "pytest", lambda: validators.imported("no_such_package"), advice="install it")
    assert (found.faults, found.by) == ([], ["own rules"])
    assert found.unchecked == [f"pytest {pytest.__version__} lacks no_such_package: install it"]


def test_megadetector_s_own_function_takes_a_recognition_file(recognition_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("megadetector", reason=megadetector.ADVICE)
    found = megadetector.check(recognition_file)
    assert (found.faults, found.unchecked, len(found.by)) == ([], (), 2)
    made = json.loads(recognition_file.read_bytes())
    # What only it looks at.
    made["of_another_version"] = 1
    (tmp_path / "megadetector.json").write_text(json.dumps(made))
    [fault] = megadetector.check(tmp_path / "megadetector.json").faults
    assert fault.startswith("megadetector: Warning: non-standard key of_another_version")


def test_any_text_comes_back_from_a_recognition_file(tmp_path: Path) -> None:
    done = [capture(n, DUSK, url=f"file:///card/{text}/{n}.jpg") for n, text in enumerate(TEXTS)]
    failed = [
        capture(10 + n, DUSK, url=f"file:///card/{n}.jpg", status="failed", reason=text) for n, text in enumerate(TEXTS)
    ]
    found = [detection(n, 0, "unlike any") for n in range(len(TEXTS))]
    named = [decided(f"{n}-0", text) for n, text in enumerate(TEXTS)]
    made, _ = recognitions(material_of(tmp_path, [*done, *failed], found, reviews=named), tmp_path)
    assert set(made["classification_categories"].values()) == set(TEXTS)
    assert {(one["file"], one.get("failure")) for one in made["images"]} == {
        *((f"{text}/{n}.jpg", None) for n, text in enumerate(TEXTS)),
        *((f"{n}.jpg", text) for n, text in enumerate(TEXTS)),
    }
    assert megadetector.check(tmp_path / "megadetector.json").faults == []


@pytest.mark.long
def test_boxes_that_cannot_be_shares_are_left_out_or_refused(tmp_path: Path) -> None:
    sizeless = capture(1, DUSK, width=None, height=None)
    outside = detection(2, 0, "Autographa gamma", x1=400.0, x2=410.0)
    both = [detection(1, 0, "Autographa gamma"), outside, detection(2, 1, "Autographa gamma")]
    made, written = recognitions(material_of(tmp_path, [sizeless, capture(2, DUSK)], both), tmp_path)
    one, two = made["images"]
    # It does not read as empty.
    assert one["failure"].startswith("its boxes cannot be written") and len(two["detections"]) == 1
    assert [line.partition(" outside")[0].partition(" whose")[0] for line in written.left_out] == [
        "1 box of 1 photograph",
        "1 box",
    ]
    with pytest.raises(Incomplete, match="export tables, which have pixels"):
        recognitions(material_of(tmp_path / "b", [sizeless], both[:1]), tmp_path)


def test_results_of_several_pipelines_are_never_added_up(tmp_path: Path) -> None:
    material = material_of(tmp_path)
    path = tmp_path / material.scope.path("photographs")
    one = pq.read_table(path)
    others = one.set_column(one.schema.get_field_index("pipeline"), "pipeline", pa.array(["flies"] * len(one)))
    pq.write_table(pa.concat_tables([one, others]), path)
    for name in ("megadetector", "camtrap-dp", "dwca", "coco", "yolo"):
        with pytest.raises(errors.InvalidInput, match="choose one with --pipeline, flies, moths"):
            formats.named(name).write(material, tmp_path / name)
    chosen = replace(material, selection=Selection(project="pond", pipeline="moths"))
    assert recognitions(chosen, tmp_path)[1].counts["photographs"] == 4


DETECTION = "images/0/detections/0"


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("info", GONE, "`info` is missing"),
        ("info/format_version", 1.6, "info: `format_version` is 1.6, not a text such as '1.6'"),
        ("detection_categories", GONE, "`detection_categories` is missing"),
        ("detection_categories/a", "moth", "detection_categories: the key 'a' is not a number"),
        ("detection_categories/2", " ", "detection_categories: 2 has no name"),
        ("classification_categories/x", "moth", "classification_categories: the key 'x' is not a number"),
        ("images", {}, "`images` is not a list"),
        ("images/3/file", GONE, "image 4: no `file`"),
        ("images/3/file", "/card/4.jpg", "image 4 (/card/4.jpg): `file` is not a path relative to"),
        ("images/3/file", "..\\4.jpg", "image 4 (..\\4.jpg): `file` is not a path relative to"),
        ("images/3/file", "a/../../4.jpg", "image 4 (a/../../4.jpg): `file` is not a path relative to"),
        ("images/3/file", "C:/4.jpg", "image 4 (C:/4.jpg): `file` is not a path relative to"),
        ("images/3/file", "001.jpg", "image 4 (001.jpg): is there twice"),
        ("images/0/datetime", "2026-06-12T22:15:30", "image 1 (001.jpg): `datetime` is '2026-06-12T22:15:30', not"),
        ("images/3/failure", 404, "image 4 (004.jpg): `failure` is not text"),
        ("images/3/detections", [], "image 4 (004.jpg): failed, so that `detections` must be null"),
        ("images/2/detections", None, "image 3 (003.jpg): `detections` is not a list, though"),
        ("images/2/detections", GONE, "image 3 (003.jpg): `detections` is not a list, though"),
        (DETECTION, 7, "image 1 (001.jpg): detection 1 is not an object"),
        (f"{DETECTION}/category", "9", "image 1 (001.jpg): detection 1: `category` is '9', which is none of the"),
        (f"{DETECTION}/conf", 1, "image 1 (001.jpg): detection 1: `conf` is 1, not a number from 0.0 to 1.0"),
        (f"{DETECTION}/conf", None, "image 1 (001.jpg): detection 1: `conf` is None"),
        (f"{DETECTION}/conf", 1.5, "image 1 (001.jpg): detection 1: `conf` is 1.5"),
        (f"{DETECTION}/bbox", [0.1, 0.2, 0.3], "image 1 (001.jpg): detection 1: `bbox` is not four numbers"),
        (f"{DETECTION}/bbox", [0.1, 0.2, 0.3, 0], "image 1 (001.jpg): detection 1: `bbox` [0.1, 0.2, 0.3, 0] is empty"),
        (f"{DETECTION}/bbox/0", 0.99, "image 1 (001.jpg): detection 1: `bbox` [0.99, 0.03333, 0.02, 0.02] is not"),
        (f"{DETECTION}/bbox/1", -0.01, "image 1 (001.jpg): detection 1: `bbox` [0.0, -0.01, 0.02, 0.02] is not within"),
        (f"{DETECTION}/classifications", ["0", 0.5], "image 1 (001.jpg): detection 1: `classifications` is not a list"),
        (f"{DETECTION}/classifications/0/0", "7", "image 1 (001.jpg): detection 1: the class '7' is none of the"),
        (f"{DETECTION}/classifications/0/1", 2.0, "image 1 (001.jpg): detection 1: a score of `classifications`"),
        (f"{DETECTION}/classifications/1", ["1", 0.99], "image 1 (001.jpg): detection 1: `classifications` are not in"),
    ],
)
def test_each_broken_rule_of_megadetector_is_found(
    recognition_file: Path, tmp_path: Path, place: str, value: Any, fault: str
) -> None:
    file = tmp_path / "megadetector.json"
    file.write_bytes(recognition_file.read_bytes())
    break_json(file, place, value)
    found = megadetector.check(file).faults
    assert any(one.startswith(fault) for one in found), found


@pytest.mark.parametrize("content", [b"", b"[]", b'{"info": ', b"\xff{}", b'{"images": [NaN]}'])
def test_what_is_no_json_is_a_fault_of_megadetector(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "megadetector.json"
    file.write_bytes(content)
    assert len(megadetector.check(file).faults) == 1
    with pytest.raises(errors.NotFound):
        formats.named("megadetector").check(tmp_path / "none.json")
