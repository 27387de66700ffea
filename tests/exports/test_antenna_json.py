"""The answers that the Antenna platform imports: read by the contract's own reader, and each broken rule is found."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration.contract import pushing
from antenna_orchestration.contract.results import Reduction
from antenna_orchestration.exports import formats
from tests.ecology.nights_by_hand import GAMMA, PRONUBA, capture, detection
from tests.exports.breaking import GONE, break_json
from tests.exports.materials import DUSK, decided, material_of

ANTENNA = formats.named("antenna")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("antenna")
    reviews = [decided("1-0", "Noctua pronuba"), decided("2-0", None)]
    written = ANTENNA.write(material_of(folder, reviews=reviews), folder / "out")
    assert written.counts == {"photographs": 4, "boxes": 3, "failures": 1, "files": 2}
    return folder / "out"


def test_answers_say_what_was_found_and_decided(answers: Path) -> None:
    made = json.loads((answers / "results-00001.json").read_bytes())
    # Also the one on which nothing is; not the one that failed.
    assert [(one["id"], one["width"]) for one in made["source_images"]] == [("1", 400), ("2", 400), ("3", 400)]
    assert made["source_images"][0]["url"] == "file:///card/night 1/001.jpg"
    assert sorted(made["algorithms"]) == ["boxes", "human", "moths"]
    one, other, rejected = made["detections"]
    assert one | {"classifications": []} == {
        "source_image_id": "1", "bbox": {"x1": 0.0, "y1": 10.0, "x2": 8.0, "y2": 16.0}, "inference_time": None,
        "algorithm": {"name": "boxes", "key": "boxes"}, "timestamp": "2026-07-01T00:00:00+00:00", "score": 0.75,
        "crop_image_url": None, "classifications": [], "observation_id": "1-1-0",
    }  # fmt: skip
    said = [
        [(each["classification"], each["scores"], each["algorithm"]["key"], each["terminal"]) for each in
         found["classifications"]] for found in (one, other, rejected)
    ]  # fmt: skip
    assert said == [
        [(GAMMA.name, [0.96875], "moths", False), (PRONUBA.name, [1.0], "human", True)],
        [(PRONUBA.name, [0.95], "moths", True)],
        [(GAMMA.name, [0.875], "moths", False), ("not an insect", [1.0], "human", True)],
    ]
    # Cut off at the edge.
    assert other["bbox"] == {"x1": 380.0, "y1": 0.0, "x2": 400.0, "y2": 30.0}
    failed = json.loads((answers / "failed-00001.json").read_bytes())
    assert (failed["source_images"], failed["errors"]) == ([], ["004.jpg (image 4): cannot be decoded"])
    assert "ana@" not in str(made) and ANTENNA.check(answers).faults == []


def test_a_step_of_the_recipe_is_an_algorithm_of_its_own(tmp_path: Path) -> None:
    ANTENNA.write(material_of(tmp_path), tmp_path / "out")
    made = json.loads((tmp_path / "out/results-00001.json").read_bytes())
    tracked = made["detections"][0]["classifications"]
    assert [(one["algorithm"]["key"], one["scores"], one["terminal"]) for one in tracked] == [
        ("moths", [0.96875], False),
        ("antenna_post_processing", [0.92188], True),
    ]


def test_a_file_has_one_version_of_each_algorithm(tmp_path: Path) -> None:
    photographs = [capture(n, DUSK + timedelta(seconds=n), url=f"https://x.org/{n}.jpg") for n in range(3)]
    found = [detection(n, 0, GAMMA.name, detector_version="2" if n else "1") for n in range(3)]
    ANTENNA.write(material_of(tmp_path, photographs, found), tmp_path / "out")
    files = [json.loads(file.read_bytes()) for file in sorted((tmp_path / "out").iterdir())]
    assert [(one["algorithms"]["boxes"]["version_name"], len(one["detections"])) for one in files] == [
        ("1", 1), ("2", 2),
    ]  # fmt: skip
    assert ANTENNA.check(tmp_path / "out").faults == []


def test_a_hundred_photographs_are_a_file(tmp_path: Path) -> None:
    photographs = [capture(n, DUSK + timedelta(seconds=n), url=f"https://x.org/{n}.jpg") for n in range(250)]
    found = [detection(n, 0, GAMMA.name, width=None) for n in range(250)]
    photographs[7] |= {"width": None, "height": None}
    texts = ['=1, "q"', "a\n夜蛾", "@x"]
    named = [decided(f"{n}-0", text) for n, text in enumerate(texts)]
    written = ANTENNA.write(material_of(tmp_path, photographs, found, reviews=named), tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    made = [json.loads(file.read_bytes()) for file in files]
    assert [len(one["source_images"]) for one in made] == [100, 100, 50] and written.counts["files"] == 3
    # Boxes are in pixels, which need no size.
    assert written.counts["boxes"] == 250 and ANTENNA.check(tmp_path / "out").faults == []
    assert [one["classifications"][-1]["classification"] for one in made[0]["detections"][:3]] == texts

    # Read as the answers of a processing service are.
    for file, one in zip(files, made, strict=True):
        batch = [pushing.Sent(image_id=each["id"], url=each["url"], reply_subject="r") for each in one["source_images"]]
        reduction = Reduction(top_k=3, scores="top", algorithms={"boxes": ("1", []), "moths": ("1", [])})
        answer = pushing.read_answer(file.read_bytes(), batch, reduction)
        assert (answer.unknown, {item.kind for item in answer.items}) == ([], {"done"})
        boxes = [[*item.detections[0].box] for item in answer.items]
        assert boxes == [[*found["bbox"].values()] for found in one["detections"]]
        labels = [item.detections[0].classifications[0].label for item in answer.items]
        assert labels == [GAMMA.name] * len(labels)


FOUND = "detections/0"
SAID = f"{FOUND}/classifications/0"


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("pipeline", GONE, "Object missing required field `pipeline`"),
        ("pipeline", "", "`pipeline` is empty"),
        ("total_time", None, "Expected `float`, got `null` - at `$.total_time`"),
        ("source_images", None, "Expected `array`, got `null` - at `$.source_images`"),
        ("source_images/0/id", 1, "Expected `str`, got `int` - at `$.source_images[0].id`"),
        ("source_images/0/url", "", "photograph 1 has no `id` or no `url`"),
        ("source_images/1/id", "1", "photograph 1 is there twice"),
        ("source_images", [{"id": str(n), "url": "u"} for n in range(101)], "101 photographs, more than 100"),
        ("algorithms/boxes/key", "box", "algorithm 'boxes' has the key 'box'"),
        ("algorithms/boxes", GONE, "detection 1: the algorithm 'boxes' is not in `algorithms`"),
        (f"{FOUND}/source_image_id", "9", "detection 1: photograph '9' is not in `source_images`"),
        (f"{FOUND}/bbox", None, "detection 1: Expected `object`, got `null` - at `$.bbox`"),
        (f"{FOUND}/bbox/x2", 0, "detection 1: its box is empty"),
        (f"{FOUND}/bbox/x1", -1, "detection 1: its box is not within the photograph"),
        (f"{FOUND}/timestamp", "yesterday", "detection 1: Invalid RFC3339 encoded datetime - at `$.timestamp`"),
        (f"{FOUND}/timestamp", "2026-07-01T00:00:00", "detection 1: a `timestamp` has no offset"),
        (f"{SAID}/algorithm", GONE, "detection 1: Object missing required field `algorithm`"),
        (f"{SAID}/algorithm/key", "x", "detection 1: the algorithm 'x' is not in `algorithms`"),
        (f"{SAID}/classification", "", "detection 1: a classification is empty"),
        (f"{SAID}/scores", [1.5], "detection 1: a score of 'Autographa gamma' is not from 0 to 1"),
        (f"{SAID}/scores", [0.5, 0.5], "detection 1: 'Autographa gamma' has 1 labels, but 2 scores"),
        (f"{SAID}/terminal", "yes", "detection 1: Expected `bool`, got `str` - at `$.classifications[0].terminal`"),
        ("errors", 7, "Expected `str | array | null`, got `int` - at `$.errors`"),
    ],
)
def test_each_broken_rule_of_answers_is_found(
    answers: Path, tmp_path: Path, place: str, value: Any, fault: str
) -> None:
    folder = shutil.copytree(answers, tmp_path / "out")
    break_json(folder / "results-00001.json", place, value)
    found = ANTENNA.check(folder).faults
    assert any(one.startswith(f"results-00001.json: {fault}") for one in found), found


def test_a_folder_without_answers_is_a_fault(tmp_path: Path) -> None:
    assert ANTENNA.check(tmp_path).faults == [f"{tmp_path.name} has no JSON files"]
    (tmp_path / "results-00001.json").write_bytes(b"{")
    assert ANTENNA.check(tmp_path).faults[0].startswith("results-00001.json: Input data was truncated")
