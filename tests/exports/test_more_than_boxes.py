"""Exports of results that say more than boxes; each rule for it is broken once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from antenna_orchestration.domain import masks
from antenna_orchestration.ecology import reviews
from antenna_orchestration.exports import coco
from antenna_orchestration.exports.formats import Checked, Format, named
from antenna_orchestration.exports.material import Material
from tests.exports.breaking import break_json
from tests.exports.materials import material_of
from tests.exports.more import HEIGHT, ROTATED, WIDTH, more_at_the_pond, ring


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return material_of(tmp_path_factory.mktemp("more"), *more_at_the_pond())


@pytest.fixture(scope="module")
def of_boxes(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """The same material without what is more."""
    captures, detections = more_at_the_pond()
    captures = [{key: value for key, value in one.items() if key not in ("said", "attributes")} for one in captures]
    kept = {"mask", "attributes", *(f"rotated_{name}" for name in ("cx", "cy", "width", "height", "angle"))}
    detections = [{key: value for key, value in one.items() if key not in kept} for one in detections]
    return material_of(tmp_path_factory.mktemp("boxes"), captures, detections)


def valid(format: Format, path: Path) -> Checked:
    checked = format.check(path)
    assert checked.faults == []
    return checked


def test_coco_has_masks_rotated_boxes_and_labels_of_photographs(
    more: Material, of_boxes: Material, tmp_path: Path
) -> None:
    file = tmp_path / "coco.json"
    named("coco").write(more, file)
    valid(named("coco"), file)
    made = json.loads(file.read_bytes())
    by_id = {one["observation_id"]: one for one in made["annotations"]}
    mask = ring()
    with_mask, plain, turned = by_id["1-1-0"], by_id["1-1-1"], by_id["1-2-0"]
    assert with_mask["segmentation"] == {"size": [HEIGHT, WIDTH], "counts": mask.counts}
    assert (with_mask["area"], with_mask["iscrowd"]) == (masks.area(mask), 0)
    assert with_mask["bbox"] == [40.0, 20.0, 40.0, 54.0]
    assert with_mask["attributes"] == {"sex": "f", "=wing": 17.5}
    assert "segmentation" not in plain and "attributes" not in plain
    assert np.allclose(np.reshape(turned["segmentation"][0], (4, 2)), masks.corners_of(ROTATED), atol=0.01)
    assert (turned["rotated"], turned["area"]) == ([100.0, 50.0, 60.0, 20.0, 30.0], 1200.0)
    first, _, third = made["images"]
    assert first["labels"] == [
        {"name": "Noctua pronuba", "score": 0.75, "algorithm": "sorter 2"},
        {"name": "rain", "score": 0.5, "algorithm": "sorter 2"},
    ]
    assert first["attributes"] == {"blur": 0.25}
    assert third["labels"] == [{"name": "rain", "score": None, "algorithm": "sorter 2"}]

    # What is not more is as it is without.
    coco.write(of_boxes, tmp_path / "boxes.json")
    without = json.loads((tmp_path / "boxes.json").read_bytes())
    for one in made["annotations"]:
        for key in ("segmentation", "attributes", "rotated", "area"):
            one.pop(key, None)
    for one in without["annotations"]:
        del one["area"]
    for one in made["images"]:
        one.pop("labels", None), one.pop("attributes", None)
    assert made == without


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_pycocotools_reads_the_masks(more: Material, tmp_path: Path) -> None:
    reading = pytest.importorskip("pycocotools.coco", reason="the extra `validators` has it")
    named("coco").write(more, tmp_path / "coco.json")
    assert len(valid(named("coco"), tmp_path / "coco.json").by) == 2
    found = reading.COCO(str(tmp_path / "coco.json"))
    by_id = {one["observation_id"]: one for one in found.anns.values()}
    assert np.array_equal(found.annToMask(by_id["1-1-0"]).astype(bool), masks.to_array(ring()))
    assert abs(int(found.annToMask(by_id["1-2-0"]).sum()) - 1200) < 60


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"size": [HEIGHT, WIDTH], "counts": "!"}, "no mask"),
        ({"size": [WIDTH, HEIGHT], "counts": ring().counts}, "of a photograph of 300 x 400"),
        ({"size": [HEIGHT, WIDTH], "counts": masks.of_array(np.ones((HEIGHT, WIDTH), bool)).counts}, "has 120000"),
        ([[1, 2, 3, 4]], "not the points"),
        ([[1, 2, 3, 4, 5, "6"]], "not the points"),
        ([], "not the points"),
    ],
)
def test_a_broken_segmentation_is_found(more: Material, tmp_path: Path, value: Any, fault: str) -> None:
    file = tmp_path / "coco.json"
    coco.write(more, file)
    break_json(file, "annotations/0/segmentation", value)
    assert any(fault in one for one in coco.check(file).faults), coco.check(file).faults


def yolo_lines(material: Material, out: Path, shapes: str) -> dict[str, list[list[float]]]:
    """The lines of each photograph's labels, their shares as pixels."""
    named("yolo").write(material, out, shapes=shapes)
    valid(named("yolo"), out)
    found: dict[str, list[list[float]]] = {}
    for file in (out / "labels").rglob("*.txt"):
        lines = [[float(one) for one in line.split()[1:]] for line in file.read_text().splitlines()]
        found[file.stem] = [[one * (HEIGHT if n % 2 else WIDTH) for n, one in enumerate(line)] for line in lines]
    return found


def test_yolo_has_outlines_of_masks_or_corners_of_rotated_boxes(
    more: Material, of_boxes: Material, tmp_path: Path
) -> None:
    outlined = yolo_lines(more, tmp_path / "masks", "masks")
    first, plain = outlined["001"]
    drawn = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(drawn).polygon([(x - 0.5, y - 0.5) for x, y in zip(first[::2], first[1::2], strict=True)], fill=1)
    # The ring without its hole and its leg.
    assert abs(np.asarray(drawn).sum() - np.pi * 20**2) < 60
    assert 8 < len(first) < 80
    assert np.allclose(plain, [380, 0, 400, 0, 400, 30, 380, 30], atol=0.01)
    turned = yolo_lines(more, tmp_path / "rotated", "rotated")
    assert np.allclose(turned["002"], [np.ravel(masks.corners_of(ROTATED))], atol=0.01)
    assert np.allclose(turned["001"][0], [40, 20, 80, 20, 80, 74, 40, 74], atol=0.01)
    assert outlined["003"] == turned["003"] == []

    # Boxes are as they are without.
    assert yolo_lines(more, tmp_path / "boxes", "boxes") == yolo_lines(of_boxes, tmp_path / "without", "boxes")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("0 0.1 0.1 0.2 0.2 0.3", "6 values"),
        ("0 0.1 0.1 0.2 0.2 0.3 1.1", "not within the photograph"),
        ("7 0.1 0.1 0.2 0.2 0.3 0.3", "the class '7'"),
        ("0 0.1 0.1 0.2 0.2 0.3 x", "not four numbers"),
    ],
)
def test_a_broken_polygon_is_found(more: Material, tmp_path: Path, line: str, fault: str) -> None:
    yolo_lines(more, tmp_path / "out", "masks")
    [file] = (tmp_path / "out").rglob("001.txt")
    file.write_text(f"{line}\n")
    assert any(fault in one for one in named("yolo").check(tmp_path / "out").faults)


def test_label_studio_has_outlines_and_turned_boxes_that_come_back(
    more: Material, of_boxes: Material, tmp_path: Path
) -> None:
    named("label-studio").write(more, tmp_path / "out")
    valid(named("label-studio"), tmp_path / "out")
    tasks = json.loads((tmp_path / "out/tasks.json").read_bytes())
    results = [one for task in tasks for one in task["predictions"][0]["result"]]
    outlined, named_so, *_ = [one for one in results if one["id"] == "1-1-0"]
    assert (outlined["type"], outlined["from_name"]) == ("polygonlabels", "outline")
    points = np.array(outlined["value"]["points"]) / 100 * (WIDTH, HEIGHT)
    assert np.allclose(points, masks.outline(ring()), atol=0.01)
    assert named_so["value"]["points"] == outlined["value"]["points"] and named_so["type"] == "choices"
    turned = next(one for one in results if one["id"] == "1-2-0")["value"]
    # Label Studio turns a rectangle clockwise about its first corner.
    corner = np.array([turned["x"] * WIDTH, turned["y"] * HEIGHT]) / 100
    sides = np.array([turned["width"] * WIDTH, turned["height"] * HEIGHT]) / 100
    angle = np.radians(turned["rotation"])
    across, down = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    middle = corner + across * sides[0] / 2 + down * sides[1] / 2
    assert np.allclose(middle, (ROTATED.cx, ROTATED.cy), atol=0.01) and turned["rotation"] == 30
    config = (tmp_path / "out/config.xml").read_text()
    assert 'PolygonLabels name="outline"' in config

    # A person corrects the outlined one, and deletes the turned one.
    task = next(one for one in tasks if one["data"]["image_id"] == 1)
    kept = [one if one["type"] != "choices" else {**one, "value": {**one["value"], "choices": ["Noctua pronuba"]}}
            for one in task["predictions"][0]["result"]]  # fmt: skip
    other = next(one for one in tasks if one["data"]["image_id"] == 2)
    exported = [
        {**task, "annotations": [{"result": kept, "completed_by": 1}]},
        {
            **other,
            "annotations": [{"result": [], "parent_prediction": 7, "prediction": other["predictions"][0] | {"id": 7}}],
        },
    ]
    read = reviews.read(json.dumps(exported).encode(), "export.json", reviewer="Ada")
    words = {(one.review.detection_id, one.review.label) for one in read.given}
    assert {("1-0", "Noctua pronuba"), ("1-1", "Noctua pronuba"), ("2-0", reviews.REJECTED)} == words

    named("label-studio").write(of_boxes, tmp_path / "boxes")
    assert "Polygon" not in (tmp_path / "boxes/config.xml").read_text()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"points": [[1, 1], [2, 2]]}, "fewer than three"),
        ({"points": [[1, 1], [2, 2], [101, 3]]}, "not within"),
        ({"points": [[1, 1], [2, 2], [3, "3"]]}, "not within"),
        ({"points": "abc"}, "fewer than three"),
    ],
)
def test_a_broken_outline_is_found(more: Material, tmp_path: Path, changed: dict[str, Any], fault: str) -> None:
    named("label-studio").write(more, tmp_path / "out")
    tasks = json.loads((tmp_path / "out/tasks.json").read_bytes())
    number = next(n for n, one in enumerate(tasks) if one["data"]["image_id"] == 1)
    break_json(
        tmp_path / "out/tasks.json", f"{number}/predictions/0/result/0/value", lambda value: {**value, **changed}
    )
    found = named("label-studio").check(tmp_path / "out").faults
    assert any(fault in one for one in found), found
