"""`tables`: what is written can be read by programs that people use, and its check finds whatever is broken."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.domain import csv_cells
from antenna_orchestration.exports import flat_tables, flat_tables_check
from antenna_orchestration.exports.flat_columns import TABLES
from tests.ecology.nights_by_hand import capture, detection
from tests.exports.materials import DUSK, POND, material_of

Rows = list[dict[str, str]]

ODD = ['a, b\n"x"', "=1+1", " @x", "+4", "＝1", "Шмель 蛾", "بعوضة\té", "bell\a"]


def tables_in(folder: Path) -> dict[str, Rows]:
    found = {}
    for table in TABLES:
        with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as lines:
            found[table] = list(csv.DictReader(lines))
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `csv`, `parquet` and `xlsx` of the same results."""
    folder = tmp_path_factory.mktemp("tables")
    material = material_of(folder)
    for kind in ("csv", "parquet", "xlsx"):
        written = flat_tables.write(material, folder / kind, **{"as": kind})
        assert written.counts == {"observations": 3, "nights": 1, "counts": 2, "deployments": 1, "failures": 1}
    return folder


@pytest.mark.long
@pytest.mark.parametrize("kind", ["csv", "parquet", "xlsx"])
def test_each_kind_is_valid(exported: Path, kind: str) -> None:
    found = flat_tables.check(exported / kind)
    assert (found.faults, found.by, found.unchecked) == ([], ["own rules"], ())


def test_all_kinds_say_the_same(exported: Path) -> None:
    for table, columns in TABLES.items():
        names = [one.name for one in columns]
        of_csv = pd.read_csv(exported / f"csv/{table}.csv", dtype={"detector_version": str, "classifier_version": str})
        of_parquet = pd.read_parquet(exported / f"parquet/{table}.parquet")
        book = pd.read_excel(exported / "xlsx/tables.xlsx", sheet_name=table)
        assert list(of_csv) == list(of_parquet) == list(book) == names
        for name in names:
            for other in (of_csv, book):
                # Each reader has types of its own.
                for one, two in zip(of_parquet[name], other[name], strict=True):
                    assert_alike(name, one, two)


def assert_alike(name: str, one: Any, two: Any) -> None:
    if pd.isna(one) or pd.isna(two):
        assert pd.isna(one) and pd.isna(two), name
    elif isinstance(one, pd.Timestamp) or name in ("night", "first_night", "last_night"):
        assert pd.Timestamp(one).tz_localize(None) == pd.Timestamp(two).tz_localize(None), name
    elif isinstance(one, float):
        assert one == pytest.approx(float(two)), name
    elif name != "median_time":
        assert str(one) == str(two), name


def test_rows_have_what_people_look_for(exported: Path) -> None:
    tables = tables_in(exported / "csv")
    first, edge, unscored = tables["observations"]
    assert first == first | {
        "observation_id": "1-1-0", "file": "001.jpg", "captured_at": "2026-06-12T20:15:30.250000Z",
        "captured_at_local": "2026-06-12T22:15:30.250000", "utc_offset": "2", "taxon": "Autographa gamma",
        "scientific_name": "Autographa gamma", "rank": "species", "family": "Noctuidae", "order": "",
        "bbox_y": "0.033333", "bbox_height": "0.02", "flags": "too_small | at_edge", "counted": "true",
    }  # fmt: skip
    # Over the edge by a pixel: shares are of what is in the photograph, and the box stays as it came.
    assert [edge[name] for name in ("x2", "y1", "bbox_x", "bbox_y", "bbox_width", "bbox_height")] == [
        "401", "-1", "0.95", "0", "0.05", "0.1"
    ]  # fmt: skip
    assert unscored["detection_score"] == ""
    [night] = tables["nights"]
    assert [night[name] for name in ("photographs", "done", "failed", "empty", "detections", "taxa", "max_n")] == [
        "4", "3", "1", "1", "3", "2", "2"
    ]  # fmt: skip
    [deployment] = tables["deployments"]
    assert (deployment["trap_nights"], deployment["location_name"]) == ("1", 'Pond, "east"')
    [failure] = tables["failures"]
    assert (failure["file"], failure["reason"]) == ("004.jpg", "cannot be decoded")


def test_nobody_is_named() -> None:
    assert not any("reviewer" in one.name or "mail" in one.name for columns in TABLES.values() for one in columns)


@pytest.mark.long
def test_texts_of_all_kinds_come_back_and_none_is_run(tmp_path: Path) -> None:
    captures = [
        capture(number, DUSK.replace(minute=number), zone=POND.zone, url=f"file:///card/{number}/{text}.jpg",
                deployment=text, status="failed" if number % 2 else "done", reason=text if number % 2 else None)
        for number, text in enumerate(ODD, 1)
    ]  # fmt: skip
    detections = [detection(number, 0, text) for number, text in enumerate(ODD, 1) if number % 2 == 0]
    material = material_of(tmp_path, captures, detections, places={})
    for kind in ("csv", "xlsx"):
        flat_tables.write(material, tmp_path / kind, **{"as": kind})
        assert flat_tables.check(tmp_path / kind).faults == []
    shown = [text.replace("\a", "\N{REPLACEMENT CHARACTER}") for text in ODD]
    guarded = {"=1+1", " @x", "+4", "＝1"}
    in_csv = [f"'{text}" if text in guarded else text for text in shown]

    tables = tables_in(tmp_path / "csv")
    assert sorted(row["deployment"] for row in tables["deployments"]) == sorted(in_csv)
    assert sorted(row["label"] for row in tables["observations"]) == sorted(in_csv[1::2])
    assert sorted(row["reason"] for row in tables["failures"]) == sorted(in_csv[::2])
    assert all(row["rank"] == row["scientific_name"] == "" for row in tables["counts"])

    book = openpyxl.load_workbook(tmp_path / "xlsx/tables.xlsx")
    [header, *rows] = book["deployments"].iter_rows()
    cells = [row[[one.value for one in header].index("deployment")] for row in rows]
    assert sorted(str(one.value) for one in cells) == sorted(shown)
    assert {one.data_type for one in cells} <= {"s", "inlineStr"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=20), st.sampled_from(ODD)), min_size=1, max_size=6))
def test_any_text_comes_back_from_csv(texts: list[str | None]) -> None:
    cells = flat_tables._cells(pa.array(texts, pa.string()))
    file = io.BytesIO()
    pa.csv.write_csv(pa.table({"text": cells, "more": ["x"] * len(texts)}), file)
    read = list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline="")))
    assert [row["text"] for row in read] == [csv_cells.cell(one or "") for one in texts]


def test_a_sheet_that_is_too_long_names_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat_tables, "MOST_ROWS", 2)
    with pytest.raises(errors.InvalidInput, match=r"observations has 3 rows, .* holds 2: write --as csv"):
        flat_tables.write(material_of(tmp_path), tmp_path / "out", **{"as": "xlsx"})
    assert not (tmp_path / "out").exists()


def test_a_workbook_that_is_not_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(errors.Unavailable), flat_tables._workbook(tmp_path / "out" / "tables.xlsx") as book:
        book.book.add_worksheet("observations").write_string(0, 0, "x")
        raise errors.Unavailable("the lake is gone")
    assert list(tmp_path.glob("*/*")) == []


BROKEN: list[tuple[str, int, Mapping[str, str], str]] = [
    ("observations", 1, {"observation_id": ""}, "it has no observation_id"),
    ("observations", 2, {"observation_id": "7-1-1"}, "observation_id is not job-detection"),
    ("observations", 1, {"file": ""}, "it names no photograph"),
    ("observations", 1, {"x1": "9"}, "the box ends before it begins"),
    ("observations", 2, {"bbox_x": ""}, "the box has shares exactly if the width is known"),
    ("observations", 3, {"bbox_x": "0.99"}, "the box lies outside of the photograph"),
    ("observations", 1, {"source": ""}, "it says not how its taxon came about"),
    ("observations", 2, {"source": "human"}, "a person's determination has no score"),
    ("observations", 3, {"rank": ""}, "scientific_name is the taxon where that has a rank, else empty"),
    ("observations", 1, {"counted": ""}, "it says not whether it is counted"),
    ("observations", 1, {"utc_offset": "1"}, "the local time is not captured_at and utc_offset"),
    ("failures", 1, {"captured_at_local": ""}, "the local time is not captured_at and utc_offset"),
    ("observations", 2, {"night": "2026-06-13"}, "the night is not that of the local time, from noon to noon"),
    ("nights", 1, {"failed": "2"}, "photographs are not done and failed ones"),
    ("nights", 1, {"empty": "7"}, "a part is more than the whole"),
    ("counts", 1, {"max_n": "3"}, "max_n and photographs are at most the detections"),
    ("deployments", 1, {"latitude": "91"}, "it is not a place"),
    ("deployments", 1, {"nights": "2"}, "it has more nights than from the first to the last"),
    ("failures", 1, {"reason": ""}, "it gives no reason"),
    ("observations", 3, {"detection_score": "high"}, "detection_score 'high' is not of the type float"),
    ("nights", 1, {"zone": "=HYPERLINK(1)"}, "zone is '=HYPERLINK(1)', which is run as a formula or has control"),
]


def written_again(folder: Path, table: str, change: Callable[[Rows], object]) -> None:
    file = folder / f"{table}.csv"
    rows = tables_in(folder)[table]
    change(rows)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, [one.name for one in TABLES[table]])
        writer.writeheader()
        writer.writerows(rows)


def test_each_rule_for_rows_finds_the_row_that_breaks_it(exported: Path, tmp_path: Path) -> None:
    assert {rule.why for rule in flat_tables_check.RULES} <= {why for *_, why in BROKEN}
    folder = shutil.copytree(exported / "csv", tmp_path / "csv")
    for table, row, values, _ in BROKEN:
        written_again(folder, table, lambda rows, row=row, values=values: rows[row - 1].update(values))
    # Keys are unique.
    written_again(folder, "counts", lambda rows: rows.append(rows[1]))
    found = flat_tables.check(folder).faults
    for table, row, _, why in BROKEN:
        assert [one for one in found if one.startswith(f"{table}.csv, row {row}: {why}")], why
    assert "counts.csv, row 3: pipeline, deployment, night, taxon as in an earlier row" in found


@pytest.mark.parametrize(
    ("table", "change", "fault"),
    [
        ("observations", lambda rows: rows.pop(), "nights.csv: detections, counted and failed are not the rows"),
        ("failures", lambda rows: rows.pop(), "nights.csv: detections, counted and failed are not the rows"),
        ("counts", lambda rows: rows.pop(), "counts.csv: detections are not the rows of observations that are"),
        ("deployments", lambda rows: rows.pop(), "deployments.csv: there is a row for each deployment of nights"),
    ],
)
def test_tables_that_contradict_each_other_are_found(
    exported: Path, tmp_path: Path, table: str, change: Callable[[Rows], object], fault: str
) -> None:
    folder = shutil.copytree(exported / "csv", tmp_path / "csv")
    written_again(folder, table, change)
    assert flat_tables.check(folder).faults[0].startswith(fault)


def text_of(change: Callable[[str], str]) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        file = folder / "csv/nights.csv"
        file.write_text(change(file.read_text()))

    return changed


@pytest.mark.parametrize(
    ("break_", "kind", "fault"),
    [
        (lambda folder: shutil.rmtree(folder / "csv") or (folder / "csv").touch(), "csv", "is not a folder"),
        (lambda folder: (folder / "csv/nights.csv").unlink(), "csv", "nights.csv is missing"),
        (lambda folder: [one.unlink() for one in (folder / "csv").iterdir()], "csv", "has no table"),
        (lambda folder: (folder / "csv/nights.parquet").touch(), "csv", "has files of csv, parquet: it must have"),
        (text_of(lambda text: text.replace('"taxa"', '"Taxa"')), "csv", "nights.csv lacks columns: taxa"),
        (text_of(lambda text: text.replace("\n", ",\n", 1)), "csv", "nights.csv has columns that are not of the"),
        (text_of(lambda text: text.replace('"done","failed"', '"failed","done"')), "csv", "in another order"),
        (text_of(lambda text: text + '"a","b"\n'), "csv", "nights.csv is not a CSV of its columns"),
        (lambda folder: (folder / "csv/nights.csv").write_bytes(b"\xff\xfe"), "csv", "nights.csv cannot be read"),
        (lambda folder: (folder / "parquet/counts.parquet").write_bytes(b"PAR1"), "parquet", "is not a Parquet file"),
        (
            lambda folder: pd.read_parquet(folder / "parquet/counts.parquet").astype({"max_n": str}).to_parquet(
                folder / "parquet/counts.parquet"
            ),
            "parquet",
            "counts.parquet: project is large_string and must be string",
        ),
        (lambda folder: (folder / "xlsx/tables.xlsx").write_bytes(b"PK"), "xlsx", "tables.xlsx is not a workbook"),
    ],
)  # fmt: skip
def test_files_that_are_no_tables_are_found(
    exported: Path, tmp_path: Path, break_: Callable[[Path], object], kind: str, fault: str
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    shutil.copytree(exported / kind, folder / kind)
    break_(folder)
    assert fault in flat_tables.check(folder / kind).faults[0]
