"""Label Studio's tasks: the least certain first, read by its own library, and each broken rule is found."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from antenna_orchestration.ecology.model import Taxon
from antenna_orchestration.ecology.names import Names
from antenna_orchestration.ecology.reviews import read
from antenna_orchestration.exports import formats, label_studio
from antenna_orchestration.exports.formats import Written
from antenna_orchestration.exports.material import BOXES, Material
from tests.ecology.nights_by_hand import GAMMA, capture, detection
from tests.exports.breaking import GONE, break_json
from tests.exports.materials import DUSK, decided, material_of, night_at_the_pond

LABEL_STUDIO = formats.named("label-studio")


def tasks_of(material: Material, folder: Path, **options: str) -> tuple[Any, ElementTree.Element, Written]:
    written = LABEL_STUDIO.write(material, folder, **options)
    tasks = json.loads((folder / "tasks.json").read_bytes())
    return tasks, ElementTree.parse(folder / "config.xml").getroot(), written


def labels_of(config: ElementTree.Element) -> list[str | None]:
    return [one.get("value") for one in config.iter("Choice")]


@pytest.fixture(scope="module")
def review_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("label-studio")
    LABEL_STUDIO.write(material_of(folder), folder / "out")
    return folder / "out"


def test_review_begins_with_the_least_certain_photograph(tmp_path: Path) -> None:
    reviews = [decided("1-0", "Noctua pronuba"), decided("1-1", None)]
    tasks, config, written = tasks_of(material_of(tmp_path, reviews=reviews), tmp_path / "out", empty="yes")

    assert [task["data"]["path"] for task in tasks] == ["002.jpg", "001.jpg", "003.jpg"]
    assert tasks[0]["data"] == {
        "image": "/data/local-files/?d=night%201/002.jpg", "image_id": 2, "path": "002.jpg", "pipeline": "moths",
        "deployment": "by the pond", "night": "2026-06-12", "local_time": "2026-06-12T22:16:30",
    }  # fmt: skip
    [prediction] = tasks[0]["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("boxes 1 + moths 1", 0.92188)
    box, taxon = prediction["result"]
    place = {"x": 0.0, "y": 3.3333, "width": 2.0, "height": 2.0, "rotation": 0}
    assert (box["id"], box["value"], "score" in box) == ("1-2-0", {**place, "rectanglelabels": ["animal"]}, False)
    assert (taxon["id"], taxon["value"]) == ("1-2-0", {**place, "choices": ["Autographa gamma"]})
    # People's words are kept, and are sure.
    said = [one["value"].get("choices") for one in tasks[1]["predictions"][0]["result"]]
    assert (tasks[1]["predictions"][0]["score"], said) == (1.0, [None, ["Noctua pronuba"], None, ["not an insect"]])
    assert tasks[2]["predictions"] == []
    assert labels_of(config) == ["Autographa gamma", "Noctua pronuba", "not an insect"]
    assert BOXES in (tmp_path / "out/config.xml").read_text()
    assert (written.counts, list(written.left_out)) == ({"tasks": 3, "boxes": 3}, ["1 photograph that failed"])
    assert "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/card, and a local" in written.notes[0]
    assert written.notes[0].endswith(", not synced, of /card/night 1")
    assert LABEL_STUDIO.check(tmp_path / "out").faults == []


@pytest.mark.long
def test_empty_photographs_are_tasks_only_on_request(tmp_path: Path) -> None:
    tasks, _, written = tasks_of(material_of(tmp_path), tmp_path / "out")
    assert len(tasks) == 2
    assert written.left_out[-1] == "1 photograph on which nothing was found; --empty makes tasks of them"
    nothing, _, _ = tasks_of(material_of(tmp_path / "b", [capture(1, DUSK)]), tmp_path / "b/out")
    assert nothing == [] and LABEL_STUDIO.check(tmp_path / "b/out").faults == []


def test_many_names_are_a_tree(tmp_path: Path) -> None:
    species = [f"Noctua {chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(60)]
    lineage = {"class": "Insecta", "order": "Lepidoptera", "family": "Noctuidae", "genus": "Noctua"}
    taxa = {name: Taxon(name=name, rank="species", lineage={**lineage, "species": name}) for name in species}
    names = Names({**taxa, GAMMA.name: GAMMA, "insect": Taxon(name="Insecta", rank="class", lineage={})})
    tasks, config, _ = tasks_of(material_of(tmp_path, names=names), tmp_path / "out")
    chosen = tasks[0]["predictions"][0]["result"][1]
    assert (chosen["type"], chosen["value"]["taxonomy"]) == ("taxonomy", [["Noctuidae", "Autographa", GAMMA.name]])
    tree = config.find("Taxonomy")
    assert tree is not None and [one.get("value") for one in tree] == [
        "Insecta", "Lepidoptera", "Noctuidae", "not an insect"
    ]  # fmt: skip
    # With one that was found and is known by its genus.
    assert len(tree.findall("Choice/Choice/Choice/Choice")) == 61
    assert LABEL_STUDIO.check(tmp_path / "out").faults == []
    # The way back takes the last of the way.
    tasks[0]["annotations"] = [{"result": tasks[0]["predictions"][0]["result"]}]
    given, _ = read(json.dumps(tasks[:1]).encode(), "export.json").given
    assert (given.review.label, given.review.job_id, given.review.detection_id) == (GAMMA.name, 1, "1-0")


def test_any_text_is_a_class_that_comes_back(tmp_path: Path) -> None:
    texts = ['a "quoted", <b> & co', "夜蛾", "=1+1", "a\nb", "bell\x07"]
    photographs = [capture(n, DUSK, url=f"file:///card/{n} & #+%25.jpg") for n in range(len(texts))]
    found = [detection(n, 0, "unlike any") for n in range(len(texts))]
    named = [decided(f"{n}-0", text) for n, text in enumerate(texts)]
    tasks, config, _ = tasks_of(material_of(tmp_path, photographs, found, reviews=named), tmp_path / "out")
    chosen = [task["predictions"][0]["result"][1]["value"]["choices"][0] for task in tasks]
    # What XML cannot have is replaced in both.
    assert chosen == [*texts[:-1], "bell\N{REPLACEMENT CHARACTER}"] and set(chosen) < set(labels_of(config))
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=card/0%20%26%20%23%2B%25.jpg"
    assert LABEL_STUDIO.check(tmp_path / "out").faults == []


def test_addresses_of_tasks_hold_no_signature(tmp_path: Path) -> None:
    signature = "X-Amz-Algorithm=a&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Signature=secret"
    urls = ["https://x.org/1.jpg?v=2", f"https://x.org/2.jpg?{signature}", "s3://bucket/3.jpg"]
    photographs = [capture(n, DUSK + timedelta(minutes=n), url=url) for n, url in enumerate(urls)]
    found = [detection(n, 0, GAMMA.name) for n in range(3)]
    tasks, _, written = tasks_of(material_of(tmp_path, photographs, found), tmp_path / "out")
    assert [task["data"]["image"] for task in tasks] == [urls[0], "https://x.org/2.jpg", urls[2]]
    assert written.notes[0].startswith("1 link had a signature")


def test_label_studio_s_own_library_takes_the_tasks(review_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("label_studio_sdk", reason="the extra `label-studio` has it")
    found = LABEL_STUDIO.check(review_folder)
    assert (found.faults, len(found.by), found.unchecked) == ([], 2, ())
    captures, detections = night_at_the_pond()
    LABEL_STUDIO.write(
        material_of(tmp_path, captures, detections, names=Names({f"x{n}": GAMMA for n in range(99)})), tmp_path / "out"
    )
    assert LABEL_STUDIO.check(tmp_path / "out").faults == []


REGION = "0/predictions/0/result/0"
TAXON = "0/predictions/0/result/1"


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("0/data", GONE, "task 1: `data` has no `image`"),
        ("1/data/image", "", "task 2: `data` has no `image`"),
        ("0/predictions", None, "task 1: `predictions` is not a list"),
        ("0/predictions/0/result", GONE, "task 1: a prediction has no list `result`"),
        ("0/predictions/0/score", 1.5, "task 1: `score` is 1.5, not a number from 0 to 1"),
        ("0/predictions/0/score", 0.99, "task 2: its score is lower than that of the task before it"),
        (f"{REGION}/id", GONE, "task 1: a region has no `id` or no `value`"),
        (f"{REGION}/from_name", "boxes", "task 1: region 1-1-0: `from_name` 'boxes' is not in the config"),
        (f"{REGION}/type", "choices", "task 1: region 1-1-0: `type` is 'choices', not 'rectanglelabels'"),
        ("0/predictions/0/result/2", "its box again", "task 1: region 1-1-0: is there twice"),
        (f"{REGION}/value/x", "1", "task 1: region 1-1-0: no box of x, y, width and height"),
        (f"{REGION}/value/width", 0, "task 1: region 1-1-0: its box is empty"),
        (f"{REGION}/value/x", 99, "task 1: region 1-1-0: its box is not within the photograph, in percent of it"),
        (f"{TAXON}/value/choices", [], "task 1: region 1-1-0: no `choices`"),
        (f"{TAXON}/value/choices/0", "Noctua", "task 1: region 1-1-0: the label 'Noctua' is not in the config"),
    ],
)
def test_each_broken_rule_of_tasks_is_found(
    review_folder: Path, tmp_path: Path, place: str, value: Any, fault: str
) -> None:
    folder = shutil.copytree(review_folder, tmp_path / "out")
    tasks = json.loads((folder / "tasks.json").read_bytes())
    again = tasks[0]["predictions"][0]["result"][0]
    break_json(folder / "tasks.json", place, again if value == "its box again" else value)
    found = LABEL_STUDIO.check(folder).faults
    assert any(one.startswith(fault) for one in found), found


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace("<Image ", "<Text "), "config.xml has no Image with a value such as $image"),
        (lambda text: text.replace("$image", "image"), "config.xml has no Image with a value such as $image"),
        (lambda text: text.replace("RectangleLabels", "Labels"), "config.xml has no RectangleLabels"),
        (lambda text: text.replace('toName="image"', 'toName="text"'), "config.xml: box is not to the image"),
        (lambda text: text[:-20], "config.xml cannot be read"),
        (lambda text: text.replace("Autographa", "A"), "task 1: region 1-1-0: the label 'Autographa gamma' is not in"),
    ],
)
def test_each_broken_rule_of_the_config_is_found(
    review_folder: Path, tmp_path: Path, change: Callable[[str], str], fault: str
) -> None:
    folder = shutil.copytree(review_folder, tmp_path / "out")
    (folder / "config.xml").write_text(change((folder / "config.xml").read_text()))
    found = LABEL_STUDIO.check(folder).faults
    assert any(one.startswith(fault) for one in found), found


def test_a_folder_without_tasks_is_a_fault(tmp_path: Path) -> None:
    assert label_studio.check(tmp_path).faults[0].startswith("config.xml cannot be read")
    assert label_studio.TASKS == "tasks.json" and label_studio.CONFIG == "config.xml"
