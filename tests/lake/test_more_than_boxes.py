"""Derived tables of results that say more than boxes: further columns, there only if anything uses them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from antenna_orchestration import results
from antenna_orchestration.domain import masks
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology import columns
from antenna_orchestration.exports import csv_tables
from antenna_orchestration.lake import derived, paths, schemas
from antenna_orchestration.lake.store import Lake
from tests.ecology.lakes_by_hand import FINISHED, PROJECT, derive_all, write_job
from tests.ecology.nights_by_hand import capture, detection
from tests.exports.materials import DUSK, night_at_the_pond
from tests.exports.more import ROTATED, more_at_the_pond, ring


def further_names(table: str, tables: Mapping[str, pa.Table]) -> list[str]:
    found = tables[table].schema.names
    assert found[: len(columns.SCHEMAS[table])] == columns.SCHEMAS[table].names
    return list(found[len(columns.SCHEMAS[table]) :])


def test_tables_of_boxes_alone_are_what_they_were(tmp_path: Path) -> None:
    tables = derive_all(Lake(str(tmp_path)), [write_job(Lake(str(tmp_path)), 1, *night_at_the_pond())])
    assert tuple(columns.SCHEMAS) == paths.DERIVED_TABLES
    assert all(tables[name].schema.equals(columns.SCHEMAS[name]) for name in paths.DERIVED_TABLES)


def test_what_was_said_is_beside_the_observations_and_photographs(lake: Lake) -> None:
    tables = derive_all(lake, [write_job(lake, 1, *more_at_the_pond())])
    assert further_names("observations", tables) == list(columns.FURTHER["observations"])
    assert further_names("photographs", tables) == list(columns.FURTHER["photographs"])
    first, second, third = tables["observations"].to_pylist()
    assert masks.of_json(first["mask"]) == ring()
    assert (json.loads(first["attributes"])["sex"], first["rotated_cx"]) == ("f", None)
    assert [second[name] for name in columns.FURTHER["observations"]] == [None] * 7
    assert (third["rotated_cx"], third["rotated_angle"], third["mask"]) == (ROTATED.cx, ROTATED.angle, None)
    photographs = tables["photographs"].to_pylist()
    assert [one["labels"] for one in photographs] == [["Noctua pronuba", "rain"], None, ["rain"], None]
    assert [one["label_scores"] for one in photographs] == [[0.75, 0.5], None, [None], None]
    assert photographs[0]["label_algorithms"] == ["sorter 2", "sorter 2"]
    assert photographs[0]["attributes"] == '{"blur":0.25}'

    # Labels of photographs are not detections: whatever is counted is as without them.
    plain = Lake(f"{lake.uri}/plain")
    captures, detections = more_at_the_pond()
    kept = {"said", "attributes"}
    captures = [{key: value for key, value in one.items() if key not in kept} for one in captures]
    without = derive_all(plain, [write_job(plain, 1, captures, detections)])
    for name in ("nights", "counts", "tracks", "observations"):
        assert without[name].equals(tables[name]), name
    assert further_names("photographs", without) == []
    assert without["nights"]["empty"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("changed", "there"),
    [
        ({"attributes": "{}"}, ["attributes"]),
        ({"mask": '{"size":[1,1],"counts":"1"}'}, ["mask"]),
        ({"rotated_angle": 0.0, "rotated_cx": 1.0}, ["rotated_cx", "rotated_angle"]),
    ],
)
def test_only_columns_with_a_value_are_there(tmp_path: Path, changed: dict[str, Any], there: list[str]) -> None:
    lake = Lake(str(tmp_path))
    captures = [capture(1, DUSK), capture(2, DUSK + timedelta(1))]
    # In one night of two.
    detections = [detection(1, 0, "Noctua pronuba"), detection(2, 0, None, **changed)]
    tables = derive_all(lake, [write_job(lake, 1, captures, detections)])
    assert further_names("observations", tables) == there
    assert [row[there[0]] for row in tables["observations"].to_pylist()] == [None, changed[there[0]]]


@pytest.mark.long
def test_jobs_of_both_kinds_are_derived_together(tmp_path: Path) -> None:
    """Each image has what its newest result says, also nothing."""
    lake = Lake(str(tmp_path))
    captures, detections = night_at_the_pond()
    more_captures, more_detections = more_at_the_pond()
    later = FINISHED + timedelta(1)
    first = [
        write_job(lake, 1, more_captures[:1], more_detections),
        write_job(lake, 2, captures[1:], detections, finished_at=later),
    ]
    assert further_names("observations", derive_all(lake, first)) == ["mask", "attributes"]
    replaced = [*first, write_job(lake, 3, captures[:1], detections, finished_at=later)]
    tables = derive_all(lake, replaced)
    # The job that said more still has its rows; nothing of them is the newest.
    assert further_names("observations", tables) == further_names("photographs", tables) == []
    again = [*replaced, write_job(lake, 4, more_captures, more_detections, finished_at=later + timedelta(1))]
    assert derive_all(lake, again)["photographs"]["labels"].null_count == 2


def test_deriving_what_says_more_again_gives_the_same_bytes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    captures, detections = more_at_the_pond()
    sources = [write_job(lake, 1, captures, detections)]

    def content() -> dict[str, bytes]:
        derive_all(lake, sources)
        return {table: (tmp_path / PROJECT.path(table)).read_bytes() for table in paths.DERIVED_TABLES}

    before = content()
    write_job(lake, 1, captures[::-1], detections[::-1])
    assert content() == before


def test_functions_and_csv_have_the_columns_that_are_used(tmp_path: Path) -> None:
    lake = str(tmp_path)
    store = Lake(lake)
    captures, found = more_at_the_pond()
    of_job = {"project": "pond", "pipeline": "moths"}
    derive_all(store, [write_job(store, 1, [{**one, **of_job} for one in captures], found)])
    names = list(columns.FURTHER["observations"])
    observations = results.observations(project="pond", lake=lake)
    assert list(observations.columns)[-len(names) :] == names
    photographs = results.photographs(project="pond", lake=lake, as_="arrow")
    assert photographs["labels"].to_pylist()[0] == ["Noctua pronuba", "rain"]
    detections = results.detections(job=1, lake=lake, as_="duckdb")
    assert detections.columns == ["job_id", *schemas.DETECTIONS.names, *names]
    frame = results.detections(job=1, lake=lake)
    assert frame["mask"].notna().tolist() == [True, False, False]
    assert frame["rotated_angle"].tolist()[2] == ROTATED.angle
    assert results.image(1, lake=lake)["mask"].notna().sum() == 1
    write_job(store, 2, *night_at_the_pond())
    assert list(results.detections(job=2, lake=lake).columns) == ["job_id", *schemas.DETECTIONS.names]
    assert results.image_labels(job=1, lake=lake)["label"].tolist() == ["empty", "rain", "Noctua pronuba", "rain"]
    nothing = results.image_labels(job=2, lake=lake)
    assert len(nothing) == 0 and list(nothing.columns) == ["job_id", *schemas.IMAGE_LABELS.names]
    with derived.opened(store, PROJECT, "observations") as opened:
        text = b"".join(csv_tables.lines(opened.schema.names, opened.batches())).decode()
    assert text.splitlines()[0].endswith(",".join(names))
    assert store.read_table("image_labels", JobId(1)).num_rows == 4
