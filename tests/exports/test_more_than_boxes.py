"""Exports of results that say more than boxes; each rule for it is broken once."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from antenna_orchestration.domain import masks
from antenna_orchestration.ecology import reviews
from antenna_orchestration.exports import coco, flat_columns
from antenna_orchestration.exports.formats import Checked, Format, named
from antenna_orchestration.exports.material import Material
from tests.exports.breaking import break_json
from tests.exports.materials import material_of
from tests.exports.more import HEIGHT, ROTATED, WIDTH, more_at_the_pond, ring
from tests.exports.schema_folder import usual_validators

pytestmark = pytest.mark.long


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
        ({"size": [HEIGHT, WIDTH], "counts": "!"}, "not a mask"),
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


def table_of(folder: Path, table: str, kind: str) -> list[dict[str, Any]]:
    if kind == "parquet":
        return list(pq.read_table(folder / f"{table}.parquet").to_pylist())
    if kind == "csv":
        with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    book = pytest.importorskip("openpyxl").load_workbook(folder / "tables.xlsx", read_only=True)
    header, *rows = book[table].iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=pytest.mark.slow), "xlsx"])
def test_tables_have_columns_and_a_table_only_if_used(
    more: Material, of_boxes: Material, tmp_path: Path, kind: str
) -> None:
    tables = named("tables")
    written = tables.write(more, tmp_path / "more", **{"as": kind})
    valid(tables, tmp_path / "more")
    first, plain, turned = table_of(tmp_path / "more", "observations", kind)
    assert list(first)[-1] == "attributes" and json.loads(first["attributes"])["sex"] == "f"
    assert ("mask" in first) == (kind != "xlsx")
    assert [("masks do not fit" in line) for line in written.notes] == [True] * (kind == "xlsx")
    assert kind == "xlsx" or masks.of_json(first["mask"]) == ring()
    assert float(turned["rotated_angle"]) == ROTATED.angle and not plain["rotated_angle"]
    photographs = table_of(tmp_path / "more", "photographs", kind)
    assert [one["labels"] or "" for one in photographs] == ["Noctua pronuba | rain", "", "rain", ""]
    assert photographs[0]["label_scores"] == "0.75 | 0.5" and photographs[0]["label_algorithms"][:8] == "sorter 2"
    assert [one["status"] for one in photographs] == ["done", "done", "done", "failed"]

    tables.write(of_boxes, tmp_path / "boxes", **{"as": kind})
    valid(tables, tmp_path / "boxes")
    if kind == "csv":
        wide, narrow = (tmp_path / name / "nights.csv" for name in ("more", "boxes"))
        assert wide.read_bytes() == narrow.read_bytes()
        assert not (tmp_path / "boxes/photographs.csv").exists()
    own = list(table_of(tmp_path / "boxes", "observations", kind)[0])
    assert own == list(first)[: len(own)] and len(own) == len(flat_columns.OBSERVATIONS)


def test_a_further_column_of_another_kind_is_found(more: Material, tmp_path: Path) -> None:
    named("tables").write(more, tmp_path / "out")
    file = tmp_path / "out/observations.csv"
    file.write_text(file.read_text().replace("rotated_angle", "rotation"))
    assert "not of the format: rotation" in named("tables").check(tmp_path / "out").faults[0]
    named("tables").write(more, tmp_path / "again")
    file = tmp_path / "again/photographs.csv"
    file.write_text(file.read_text().replace("Noctua pronuba | rain", "=rain"))
    assert "run as a formula" in named("tables").check(tmp_path / "again").faults[0]


def test_a_duckdb_file_has_the_columns_that_are_used(more: Material, of_boxes: Material, tmp_path: Path) -> None:
    for name, material in (("more", more), ("boxes", of_boxes)):
        named("duckdb").write(material, tmp_path / f"{name}.duckdb")
        valid(named("duckdb"), tmp_path / f"{name}.duckdb")
        with duckdb.connect(str(tmp_path / f"{name}.duckdb"), read_only=True) as session:
            columns = session.table("photographs").columns
            assert ("labels" in columns) == (name == "more")
            if name == "more":
                query = "SELECT count(*) FROM photographs WHERE list_contains(labels, 'rain')"
                assert session.sql(query).fetchall() == [(2,)]


@pytest.mark.parametrize("format", ["megadetector", "antenna"])
def test_formats_of_plain_boxes_say_what_they_leave_out(
    more: Material, of_boxes: Material, tmp_path: Path, format: str
) -> None:
    said = named(format).write(more, tmp_path / "more").left_out
    assert [line.partition(":")[0] for line in said if "`tables`" in line] == [
        "labels and attributes of photographs as a whole",
        "masks, rotated boxes and attributes of detections",
    ]
    assert not any("`tables`" in line for line in named(format).write(of_boxes, tmp_path / "boxes").left_out)


def by_observation(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["observationID"]: one for one in rows}


def test_labels_of_photographs_are_observations_of_a_camtrap_package(
    more: Material, of_boxes: Material, tmp_path: Path
) -> None:
    camtrap = named("camtrap-dp")
    camtrap.write(more, tmp_path / "more")
    with usual_validators("frictionless", "jsonschema", "referencing"):
        valid(camtrap, tmp_path / "more")
    rows = table_of(tmp_path / "more", "observations", "csv")
    [label] = [one for one in rows if "-label-" in one["observationID"]]
    assert (label["observationID"], label["mediaID"], label["observationLevel"]) == ("1-1-label-1", "1", "media")
    assert (label["observationType"], label["scientificName"]) == ("animal", "Noctua pronuba")
    assert (label["classificationProbability"], label["classifiedBy"], label["bboxX"]) == ("0.75", "sorter 2", "")
    assert label["count"] == ""
    media = {one["mediaID"]: one["mediaComments"] for one in table_of(tmp_path / "more", "media", "csv")}
    assert (media["1"], media["2"], media["3"]) == ("labels: Noctua pronuba 0.75, rain 0.50", "", "labels: rain")

    camtrap.write(of_boxes, tmp_path / "boxes")
    # Rain is not an animal: the photograph stays blank. Nights count what they counted.
    others = [one for one in rows if one is not label]
    without = table_of(tmp_path / "boxes", "observations", "csv")
    assert by_observation(others) == by_observation(without)
    assert [one["observationType"] for one in others if one["mediaID"] == "3"] == ["blank"]


def test_a_night_of_labels_alone_is_not_blank(tmp_path: Path) -> None:
    captures, _ = more_at_the_pond()
    captures[1]["said"] = [{"label": "Empty", "score": 0.5}]
    captures[2]["said"] = [{"label": "person", "score": 0.5}]
    named("camtrap-dp").write(material_of(tmp_path, captures), tmp_path / "out")
    valid(named("camtrap-dp"), tmp_path / "out")
    rows = table_of(tmp_path / "out", "observations", "csv")
    assert sorted((one["mediaID"], one["observationType"]) for one in rows) == [
        ("1", "animal"), ("2", "blank"), ("3", "human"), ("4", "unclassified"),
    ]  # fmt: skip
    named("dwca").write(material_of(tmp_path / "b", *more_at_the_pond()), tmp_path / "dwca.zip")
    valid(named("dwca"), tmp_path / "dwca.zip")
