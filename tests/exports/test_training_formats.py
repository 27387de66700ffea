"""COCO and YOLO: what is counted, with the same boxes and classes for their libraries; each rule is broken once."""

import csv
import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.exports import coco, formats, yolo
from antenna_orchestration.exports.dataset import Dataset
from antenna_orchestration.exports.formats import Incomplete
from antenna_orchestration.exports.material import BOXES, Photograph
from tests.ecology.nights_by_hand import GAMMA, PRONUBA, capture, detection
from tests.exports.breaking import GONE, break_json
from tests.exports.materials import DUSK, decided, material_of

COCO, YOLO = formats.named("coco"), formats.named("yolo")


@pytest.fixture(scope="module")
def training_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    material = material_of(folder)
    COCO.write(material, folder / "coco.json")
    YOLO.write(material, folder / "yolo")
    return folder


def test_a_training_set_has_what_is_counted(tmp_path: Path) -> None:
    # A person saw no animal; nobody knows what the other is.
    photographs = [capture(n, DUSK + timedelta(minutes=n)) for n in range(3)]
    photographs.append(capture(4, DUSK + timedelta(minutes=4), status="failed", reason="gone", width=None, height=None))
    photographs.append(capture(5, DUSK + timedelta(minutes=5), width=None, height=None))
    found = [
        detection(0, 0, GAMMA.name), detection(0, 1, PRONUBA.name), detection(0, 2, None, x1=390.0, x2=401.0),
        detection(1, 0, PRONUBA.name), detection(5, 0, PRONUBA.name),
    ]  # fmt: skip
    reviews = [decided("0-0", None), decided("1-0", None)]
    material = material_of(tmp_path, photographs, found, reviews=reviews)
    written = COCO.write(material, tmp_path / "coco.json")
    made = json.loads((tmp_path / "coco.json").read_bytes())

    assert [(one["id"], one["name"], one["supercategory"]) for one in made["categories"]] == [
        (1, "Noctua pronuba", "animal"), (2, "animal", "animal"),
    ]  # fmt: skip
    assert made["categories"][0]["lineage"]["genus"] == "Noctua" and made["categories"][0]["taxon_id"] == "1776155"
    assert made["images"][0] == {
        "id": 0, "file_name": "000.jpg", "width": 400, "height": 300, "license": 1, "location": "by the pond",
        "date_captured": "2026-06-12 22:15:30", "datetime": "2026-06-12 22:15:30",
        "seq_id": "by the pond_2026-06-12", "seq_num_frames": 5, "frame_num": 1,
    }  # fmt: skip
    # The third has none, the second none that counts.
    assert [one["file_name"] for one in made["images"]] == ["000.jpg", "001.jpg", "002.jpg"]
    assert [(one["image_id"], one["category_id"], one["observation_id"]) for one in made["annotations"]] == [
        (0, 1, "1-0-1"), (0, 2, "1-0-2"),
    ]  # fmt: skip
    assert (made["annotations"][1]["bbox"], made["annotations"][1]["area"]) == ([390.0, 10.0, 10.0, 6.0], 60.0)
    assert made["info"]["antenna"]["boxes"] == BOXES and made["info"]["contributor"] == "Ada Example"
    assert made["licenses"] == [
        {"id": 1, "name": "CC-BY-4.0", "url": "https://creativecommons.org/licenses/by/4.0/"}
    ]  # fmt: skip
    assert written.counts == {"photographs": 3, "boxes": 2, "classes": 2}
    assert [line[:28] for line in written.left_out] == ["1 box of 1 photograph whose ", "1 photograph that failed"]

    assert YOLO.write(material, tmp_path / "yolo").counts == written.counts
    assert sorted(one.stem for one in (tmp_path / "yolo/labels/train").iterdir()) == ["000", "001", "002"]
    assert (tmp_path / "yolo/labels/train/001.txt").read_text() == ""
    for one in (COCO.check(tmp_path / "coco.json"), YOLO.check(tmp_path / "yolo")):
        assert one.faults == []


@pytest.mark.long
def test_nothing_is_invented_for_a_training_set(tmp_path: Path) -> None:
    material = material_of(tmp_path, [capture(1, None)], [detection(1, 0, GAMMA.name)], places={}, dataset=Dataset())
    COCO.write(material, tmp_path / "coco.json")
    made = json.loads((tmp_path / "coco.json").read_bytes())
    assert made["images"] == [
        {"id": 1, "file_name": "001.jpg", "width": 400, "height": 300, "location": "by the pond"}
    ]  # fmt: skip
    assert (made["licenses"], made["info"]["description"], "contributor" in made["info"]) == (
        [], "project pond", False,
    )  # fmt: skip
    sizeless = material_of(tmp_path / "b", [capture(1, DUSK, width=None, height=None)], [detection(1, 0, GAMMA.name)])
    for one in (COCO, YOLO):
        with pytest.raises(Incomplete, match=f"{one.name} needs 1 thing"):
            one.write(sizeless, tmp_path / f"b/{one.name}.json")


@pytest.mark.long
def test_pycocotools_reads_the_same_boxes_and_classes(training_sets: Path, tmp_path: Path) -> None:
    reading = pytest.importorskip("pycocotools.coco", reason="the extra `validators` has it")
    checked = COCO.check(training_sets / "coco.json")
    assert (checked.faults, len(checked.by), checked.unchecked) == ([], 2, ())
    found = reading.COCO(str(training_sets / "coco.json"))
    boxes = {
        (found.imgs[one["image_id"]]["file_name"], found.cats[one["category_id"]]["name"], tuple(one["bbox"]))
        for one in found.anns.values()
    }
    assert boxes == {
        ("001.jpg", GAMMA.name, (0.0, 10.0, 8.0, 6.0)),
        ("001.jpg", PRONUBA.name, (380.0, 0.0, 20.0, 30.0)),
        ("002.jpg", GAMMA.name, (0.0, 10.0, 8.0, 6.0)),
    }
    # YOLO has the same.
    names = yaml.safe_load((training_sets / "yolo/data.yaml").read_text())["names"]
    pixels = set()
    for file in (training_sets / "yolo/labels").rglob("*.txt"):
        for line in file.read_text().splitlines():
            number, x, y, width, height = map(float, line.split())
            corner = (x - width / 2) * 400, (y - height / 2) * 300
            pixels.add(
                (f"{file.stem}.jpg", names[number], tuple(round(n, 2) for n in (*corner, width * 400, height * 300)))
            )
    assert pixels == boxes


def test_labels_lie_beside_their_photographs(tmp_path: Path) -> None:
    names = ["a/b__c.jpg", "a__b/c.jpg", "a/B__C.png", "夜 蛾/=1.jpg", f"{'x' * 250}.jpg"]
    photographs = [capture(n, DUSK + timedelta(minutes=n), url=f"file:///card/{one}") for n, one in enumerate(names)]
    photographs += [capture(8, DUSK + timedelta(days=1), url="https://x.org/d.jpg?sig=secret")]
    written = YOLO.write(material_of(tmp_path, photographs), tmp_path / "out", images="link")
    with (tmp_path / "out/photographs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # Where two would have one name, the photograph's id is added.
    assert {row["name"] for row in rows} == {
        "card__a__b__c.jpg", "card__a__b__c__1.jpg", "card__a__B__C__2.png", "card__夜 蛾__=1.jpg",
        f"card__{'x' * 194}__4.jpg", "x.org__d.jpg",
    }  # fmt: skip
    links = {one.name: one.readlink() for one in (tmp_path / "out/images").rglob("*.*")}
    assert links["card__夜 蛾__=1.jpg"] == Path("/card/夜 蛾/=1.jpg") and len(links) == 5
    assert "1 photograph not linked: not on this machine" in " ".join(written.notes) and "secret" not in str(rows)
    # Two nights are two parts.
    assert len({row["split"] for row in rows if row["night"] == "2026-06-12"}) == 1
    assert {row["split"] for row in rows} == {"train", "val"}
    assert YOLO.check(tmp_path / "out").faults == []


def test_class_names_are_quoted_in_data_yaml(tmp_path: Path) -> None:
    texts = ["no: yes", "#x", "夜蛾", "- a", "a\nb", "null", "1"]
    found = [detection(1, n, GAMMA.name) for n in range(len(texts))]
    named = [decided(f"1-{n}", text) for n, text in enumerate(texts)]
    YOLO.write(material_of(tmp_path, [capture(1, DUSK)], found, reviews=named), tmp_path / "out")
    names = yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"]
    assert list(names.values()) == sorted(texts) and YOLO.check(tmp_path / "out").faults == []


NIGHTS = [("pond", date(2026, 6, 1) + timedelta(days=n)) for n in range(200)]


def test_a_fifth_of_the_nights_is_for_validation() -> None:
    found = yolo.splits(NIGHTS)
    assert 25 <= list(found.values()).count("val") <= 55
    assert yolo.splits(reversed(NIGHTS)) == found


@given(st.sets(st.sampled_from([*product(["pond", "a/b", None], [None, date(2026, 6, 1), date(2026, 6, 2)]), *NIGHTS])))
def test_nights_stay_in_their_part_when_others_come(groups: set[yolo.Group]) -> None:
    few, all_ = yolo.splits(groups), yolo.splits({*groups, *NIGHTS})
    nights = {one for one in groups if one[1] is not None}
    # At most the two that stood in for a part.
    assert sum(few[one] != all_[one] for one in nights) <= 2
    # What may be of any night of a deployment is not for validation; a deployment without any time is like a night.
    vague = {one for one in groups - nights if one[0] in {None, *(deployment for deployment, _ in nights)}}
    assert {few[one] for one in vague} <= {"train"}
    assert ("val" in few.values()) == (len(groups - vague) > 1)
    assert not groups or "train" in few.values()


@pytest.mark.parametrize(
    ("nights", "times", "said"),
    [
        ([12, 13], True, None),
        ([12], True, "none is for validation, as there are no two nights"),
        ([12, 13], False, "none is for validation, as there are no two nights"),
    ],
)
def test_a_part_that_is_empty_is_said(tmp_path: Path, nights: list[int], times: bool, said: str | None) -> None:
    captures = [capture(day, DUSK.replace(day=day) if times else None, url=f"file:///card/{day}.jpg") for day in nights]
    written = YOLO.write(material_of(tmp_path, captures, [detection(12, 0, GAMMA.name)]), tmp_path / "out")
    notes = " ".join(written.notes)
    assert (said or "copy the photographs") in notes and ("none is for validation" in notes) == bool(said)
    assert ("2 photographs without a time" in notes) == (not times)
    named = yaml.safe_load((tmp_path / "out/data.yaml").read_text())["val"]
    assert named == ("images/train" if said else "images/val") and YOLO.check(tmp_path / "out").faults == []


@given(st.lists(st.sampled_from(["a.b/c", "a_b/c", f"n/x.{'y' * 300}", f"n/{'夜' * 90}.jpg", "A.jpg", "a.jpg", "a.b"])))
def test_names_fit_on_disks_and_belong_to_their_labels(paths: list[str]) -> None:
    stems = yolo._Stems()
    names = [stems.of(Photograph({"image_id": number}, path, ())) for number, path in enumerate(paths)]
    assert len({stem.casefold() for stem, _ in names}) == len(paths)
    for stem, ending in names:
        # What trains finds labels by the name without what follows its last dot.
        assert PurePosixPath(stem + ending).stem == stem and len(f"{stem}{ending}".encode()) <= 255


ANNOTATION = "annotations/0"


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("info", GONE, "`info` is missing"),
        ("licenses", GONE, "`licenses` is not a list"),
        ("categories/0/id", "1", "category 1: `id` is '1', not a whole number"),
        ("categories/1/id", 1, "category 2: its id 1 is there twice"),
        ("categories/0/name", "", "category 1: no `name`"),
        ("categories/1/name", GAMMA.name, "category 2: its name 'Autographa gamma' is there twice"),
        ("images", None, "`images` is not a list"),
        ("images/1/id", 1, "image 2: its id 1 is there twice"),
        ("images/1/file_name", "../1.jpg", "image 2: `file_name` is '../1.jpg', not a path relative to"),
        ("images/1/width", None, "image 2: `width` and `height` are None and 300, not pixels"),
        ("images/1/datetime", "2026-06-12T20:10:00Z", "image 2: `datetime` is '2026-06-12T20:10:00Z', not such"),
        ("images/1/date_captured", "2026-13-12 20:10:00", "image 2: `date_captured` is '2026-13-12 20:10:00', not"),
        ("images/1/license", 7, "image 2: `license` is 7, which is none of the file"),
        ("images/1/frame_num", 9, "image 2: `frame_num` is 9 of `seq_num_frames` 4"),
        ("annotations", {}, "`annotations` is not a list"),
        (f"{ANNOTATION}/id", 2, "annotation 2: its id 2 is there twice"),
        (f"{ANNOTATION}/category_id", 7, "annotation 1: `category_id` is 7, which is none of the file"),
        (f"{ANNOTATION}/image_id", 4, "annotation 1: `image_id` is 4, which is not an image of the file"),
        (f"{ANNOTATION}/iscrowd", None, "annotation 1: `iscrowd` is None, not 0 or 1"),
        (f"{ANNOTATION}/bbox", [1, 2, 3], "annotation 1: `bbox` is not four numbers"),
        (f"{ANNOTATION}/bbox", [1, 2, 0, 3], "annotation 1: `bbox` [1, 2, 0, 3] is empty"),
        (f"{ANNOTATION}/bbox/0", 395, "annotation 1: `bbox` [395, 10.0, 8.0, 6.0] is not within the photograph of 400"),
        (f"{ANNOTATION}/area", 0, "annotation 1: `area` is 0, not that of its box"),
    ],
)
def test_each_broken_rule_of_coco_is_found(
    training_sets: Path, tmp_path: Path, place: str, value: Any, fault: str
) -> None:
    file = tmp_path / "coco.json"
    shutil.copy(training_sets / "coco.json", file)
    break_json(file, place, value)
    found = coco.check(file).faults
    assert any(one.startswith(fault) for one in found), found


@pytest.mark.parametrize(
    ("file", "change", "fault"),
    [
        ("data.yaml", None, "data.yaml cannot be read"),
        ("data.yaml", lambda _: "- 1", "data.yaml has no lines such as"),
        ("data.yaml", lambda _: "a: [", "data.yaml cannot be read"),
        ("data.yaml", lambda text: text.replace("  1:", "  2:"), "data.yaml: `names` are not numbered from 0"),
        ("data.yaml", lambda text: text.replace(PRONUBA.name, "''"), "data.yaml: class 1 has no name"),
        ("data.yaml", lambda text: text.replace("val:", "test:"), "data.yaml: `val` is None, not a folder such as"),
        ("data.yaml", lambda text: text.replace("val: images/train", "val: images/v"), "labels/v is missing"),
        (
            "labels/train/001.txt",
            lambda text: text.replace("0 ", "7 ", 1),
            "labels/train/001.txt, line 1: the class '7'",
        ),
        ("labels/train/001.txt", lambda _: "0 0.5 0.5 0.1", "labels/train/001.txt, line 1: 4 values, not a class and"),
        ("labels/train/001.txt", lambda _: "0 a 0.5 0.1 0.1", "labels/train/001.txt, line 1: a 0.5 0.1 0.1 are not"),
        ("labels/train/001.txt", lambda _: "0 0.5 0.5 0 0.1", "labels/train/001.txt, line 1: its box is empty"),
        ("labels/train/001.txt", lambda _: "0 0.99 0.5 0.1 0.1", "labels/train/001.txt, line 1: its box is not within"),
        ("labels/train/001.txt", lambda _: "0 nan 0.5 0.1 0.1", "labels/train/001.txt, line 1: its box is not within"),
        ("labels/train/x.json", lambda _: "", "labels/train/x.json is not a file of labels"),
        ("labels/train/x.txt", lambda _: "", "photographs.csv, labels/train/x.txt is of no photograph"),
        ("labels/train/001.txt", None, "photographs.csv, line 2: '001.jpg' has no labels in labels/train"),
        ("photographs.csv", lambda text: text.replace("name", "file"), "photographs.csv, line 1: the columns are not"),
        ("photographs.csv", lambda text: text.replace("train", "val", 1), "photographs.csv, line 2: '001.jpg' has no"),
        ("photographs.csv", lambda text: text.replace("train", "val", 1), "photographs.csv, line 3: night 2026-06-12"),
    ],
)
def test_each_broken_rule_of_yolo_is_found(
    training_sets: Path, tmp_path: Path, file: str, change: Callable[[str], str] | None, fault: str
) -> None:
    folder = shutil.copytree(training_sets / "yolo", tmp_path / "yolo")
    broken = folder / file
    if change is None:
        broken.unlink()
    else:
        broken.write_text(change(broken.read_text() if broken.exists() else ""))
    found = YOLO.check(folder).faults
    assert any(one.startswith(fault) for one in found), found


def test_a_photograph_in_both_parts_is_found(training_sets: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(training_sets / "yolo", tmp_path / "yolo")
    shutil.copytree(folder / "labels/train", folder / "labels/val")
    text = (folder / "data.yaml").read_text()
    (folder / "data.yaml").write_text(text.replace("val: images/train", "val: images/val"))
    assert "labels/val/001.txt is also in labels/train" in YOLO.check(folder).faults
