"""The columns of the export `tables`: what each is called, how it is made, and what it means. The docs page shows them.

Names are those of the derived tables, except where people who work with camera traps know others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from antenna_orchestration.ecology import columns

Made = Literal["path", "class", "order", "family", "genus"]
"""What Python makes of a column's values: the path of a URL, or what is known of a taxon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    kind: pa.DataType
    meaning: str
    # What it is made of, in the SQL of the table's query.
    sql: str
    made: Made | None = None


def _same(table: str, *names: str) -> list[Column]:
    """Columns as the derived table has them."""
    kinds, meanings = columns.SCHEMAS[table], columns.MEANINGS[table]
    return [Column(name=one, kind=kinds.field(one).type, meaning=meanings[one], sql=f't."{one}"') for one in names]


def _renamed(table: str, name: str, to: str) -> Column:
    [column] = _same(table, name)
    return Column(name=to, kind=column.kind, meaning=column.meaning, sql=column.sql)


def _column(name: str, kind: pa.DataType, meaning: str, sql: str, made: Made | None = None) -> Column:
    return Column(name=name, kind=kind, meaning=meaning, sql=sql, made=made)


_FILE: Final = _column(
    "file", pa.string(), "the photograph's path below the folder that all of them are in", "t.url", "path"
)

_OFFSET: Final = _column(
    "utc_offset",
    pa.float64(),
    "hours that the local time is ahead of UTC, such as 2 or -3.5; null: not known",
    "date_diff('minute', t.captured_at::TIMESTAMP, t.local_time) / 60",
)


def _names(of: str) -> list[Column]:
    """The determination, and what is known of it."""
    taxon, rank, taxon_id = _same(of, "taxon", "rank", "taxon_id")
    return [
        taxon,
        _column(
            "scientific_name",
            pa.string(),
            "the same, if it is a scientific name; null for what only a classifier calls so, such as `moth`",
            "CASE WHEN t.rank IS NOT NULL THEN t.taxon END",
        ),
        rank,
        taxon_id,
        *(
            _column(one, pa.string(), f"its {one}, if the project's names say it", "t.taxon", one)
            for one in ("class", "order", "family", "genus")
        ),
    ]


def _share(name: str, meaning: str, low: str, high: str | None, side: str) -> Column:
    """A share of the photograph's side, clipped to it, with six digits: 0.01 pixels of the widest photographs."""

    def clipped(edge: str) -> str:
        return f"round(greatest(0, least(t.{edge}::DOUBLE / t.{side}, 1)), 6)"

    sql = clipped(low) if high is None else f"round({clipped(high)} - {clipped(low)}, 6)"
    return _column(name, pa.float64(), meaning, f"CASE WHEN t.{side} > 0 THEN {sql} END")


OBSERVATIONS: Final = (
    *_same("observations", "project", "pipeline", "deployment", "night", "observation_id", "job_id", "image_id"),
    *_same("observations", "detection_id"),
    _FILE,
    *_same("observations", "url", "captured_at"),
    _renamed("observations", "local_time", "captured_at_local"),
    _OFFSET,
    *_same("observations", "x1", "y1", "x2", "y2", "width", "height"),
    _share("bbox_x", "left edge as a share of the width, clipped to the photograph", "x1", None, "width"),
    _share("bbox_y", "upper edge as a share of the height, likewise", "y1", None, "height"),
    _share("bbox_width", "width as a share of the photograph's, likewise", "x1", "x2", "width"),
    _share("bbox_height", "height as a share of the photograph's, likewise", "y1", "y2", "height"),
    *_same("observations", "length_mm", "detector", "detector_version"),
    _renamed("observations", "detector_score", "detection_score"),
    *_same("observations", "classifier", "classifier_version", "label", "label_score"),
    *_names("observations"),
    *_same("observations", "score", "source", "kept_mass"),
    _column(
        "flags",
        pa.string(),
        "what is to be known of it, such as `too_small | at_edge`; empty: nothing",
        "array_to_string(coalesce(t.flags, []), ' | ')",
    ),
    *_same("observations", "counted"),
    _renamed("observations", "track", "track_id"),
    *_same("observations", "best_picture", "reviewed_at", "recipe"),
)

NIGHTS: Final = (
    *_same("nights", "project", "pipeline", "deployment", "night"),
    _renamed("nights", "found", "photographs"),
    *_same("nights", "expected", "done", "failed", "empty", "detections"),
    _column(
        "counted", pa.int64(), "detections that the counts include: no fixtures, for example", "coalesce(c.counted, 0)"
    ),
    _column(
        "taxa",
        pa.int64(),
        "different determinations among those; a genus and its species are two",
        "coalesce(c.taxa, 0)",
    ),
    _column(
        "max_n",
        pa.int64(),
        "the sum of `max_n` of the taxa: at least so many individuals were there",
        "coalesce(c.max_n, 0)",
    ),
    *_same("nights", "first", "last", "interval_seconds", "gaps", "longest_gap_seconds", "sunset", "sunrise", "zone"),
    *_same("nights", "sizes", "same_time", "tracked", "recipe"),
)

COUNTS: Final = (
    *_same("counts", "project", "pipeline", "deployment", "night"),
    *_names("counts"),
    *_same("counts", "detections", "photographs", "max_n", "tracks", "first", "last", "median_time", "best_score"),
    *_same("counts", "recipe"),
)

DEPLOYMENTS: Final = (
    *_same("photographs", "project", "deployment"),
    *(
        _column(name, kind, meaning, name)
        for name, kind, meaning in (
            ("location_name", pa.string(), "name of the place; null, like all that nobody gave"),
            ("latitude", pa.float64(), "WGS 84, decimal degrees"),
            ("longitude", pa.float64(), "likewise"),
            ("coordinate_uncertainty_m", pa.float64(), "how far off the place may be, in metres"),
            ("country_code", pa.string(), "ISO 3166-1 alpha-2"),
            ("time_zone", pa.string(), "an IANA name, or a fixed offset"),
            ("deployment_start", columns.LOCAL, "local time from which it ran, as given"),
            ("deployment_end", columns.LOCAL, "until when, likewise"),
            ("photographs", pa.int64(), "photographs that there are, also those that failed; each once"),
            ("first", columns.LOCAL, "local time of the first photograph"),
            ("last", columns.LOCAL, "local time of the last photograph"),
            ("first_night", pa.date32(), "the first night with a photograph"),
            ("last_night", pa.date32(), "the last one"),
            ("nights", pa.int64(), "nights with at least one photograph"),
            (
                "trap_nights",
                pa.int64(),
                "nights from the first to the last, also those without a photograph; null without a deployment",
            ),
        )
    ),
)

FAILURES: Final = (
    *_same("photographs", "project", "pipeline", "deployment", "night", "job_id", "image_id"),
    _FILE,
    *_same("photographs", "url", "captured_at"),
    _renamed("photographs", "local_time", "captured_at_local"),
    _OFFSET,
    *_same("photographs", "reason"),
)

PHOTOGRAPHS: Final = (
    *_same("photographs", "project", "pipeline", "deployment", "night", "job_id", "image_id"),
    _FILE,
    *_same("photographs", "url", "captured_at"),
    _renamed("photographs", "local_time", "captured_at_local"),
    _OFFSET,
    *_same("photographs", "width", "height", "status", "reason", "detections"),
)


def _joined(name: str) -> Column:
    """A list as one text."""
    _, meaning = columns.FURTHER["photographs"][name]
    values = f"list_transform(t.{name}, lambda one: coalesce(one::VARCHAR, ''))"
    return _column(name, pa.string(), f"{meaning}; ` | ` between them", f"array_to_string({values}, ' | ')")


FURTHER: Final = {
    "observations": tuple(
        _column(name, kind, meaning, f"t.{name}") for name, (kind, meaning) in columns.FURTHER["observations"].items()
    ),
    "photographs": (
        *map(_joined, ("labels", "label_scores", "label_algorithms")),
        _column("attributes", pa.string(), columns.FURTHER["photographs"]["attributes"][1], "t.attributes"),
    ),
}
"""Columns that a table has after its others only if any row has a value there. The table `photographs` is there only if
it has one of them."""

TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "observations": OBSERVATIONS,
    "nights": NIGHTS,
    "counts": COUNTS,
    "deployments": DEPLOYMENTS,
    "failures": FAILURES,
}
"""Of each table, its columns in order."""

Layout = Mapping[str, Sequence[Column]]
"""Of the tables that there are, their columns."""


def layout(there: Mapping[str, Collection[str]]) -> Layout:
    """The tables and their columns, with those of the further ones that are there, by derived table."""
    further = {table: [one for one in own if one.name in there.get(table, ())] for table, own in FURTHER.items()}
    tables = {table: (*own, *further.get(table, ())) for table, own in TABLES.items()}
    return tables if not further["photographs"] else {**tables, "photographs": (*PHOTOGRAPHS, *further["photographs"])}


CONTENTS: Final = {
    "observations": "a row for each detection: one sighting of an animal on one photograph",
    "nights": "a row for each night of a deployment and pipeline, also where nothing was found: the effort",
    "counts": "a row for each taxon of a night",
    "deployments": "a row for each deployment with photographs, with its place, if it is known, and its trap nights",
    "failures": "a row for each photograph that could not be processed",
    "photographs": "a row for each photograph and pipeline, also those that failed or on which nothing was found",
    "tracks": "a row for each track: one animal that sat through several photographs",
}
"""What the rows of each table are, of these and of those that `duckdb` has besides."""

WORKBOOK: Final = "tables.xlsx"
"""The file that has all tables as sheets."""

_FROM: Final = {
    "observations": "observations t",
    "nights": """nights t LEFT JOIN (
        SELECT pipeline, deployment, night, sum(detections) AS counted, count(taxon) AS taxa, sum(max_n) AS max_n
        FROM counts GROUP BY ALL) c
        ON c.pipeline = t.pipeline AND c.deployment IS NOT DISTINCT FROM t.deployment
        AND c.night IS NOT DISTINCT FROM t.night
        ORDER BY t.pipeline, t.deployment NULLS LAST, t.night NULLS LAST""",
    "counts": "counts t",
    "failures": "photographs t WHERE status = 'failed'",
    "photographs": "photographs t",
}


def query(table: str, columns: Sequence[Column]) -> str:
    """The query over the views of `Material.session` that gives a table's columns as far as SQL makes them."""
    wanted = ", ".join(f'{one.sql} AS "{one.name}"' for one in columns)
    return f"SELECT {wanted} FROM {_FROM[table]}"  # noqa: S608  # names of ours


PLACES: Final = """
SELECT any_value(project) AS project, deployment, count(DISTINCT image_id) AS photographs,
       min(local_time) AS first, max(local_time) AS last, min(night) AS first_night, max(night) AS last_night,
       count(DISTINCT night) AS nights,
       CASE WHEN deployment IS NOT NULL THEN date_diff('day', min(night), max(night)) + 1 END AS trap_nights
FROM photographs GROUP BY deployment ORDER BY deployment NULLS LAST
"""
"""What the photographs say of each deployment; the rest is of its place."""


def schema(columns: Iterable[Column]) -> pa.Schema:
    """The columns with their types."""
    return pa.schema([pa.field(one.name, one.kind) for one in columns])


def markdown(columns: Iterable[Column]) -> str:
    """The columns of a table as the docs page has them."""
    rows: list[Any] = [f"| `{one.name}` | {one.kind} | {one.meaning} |" for one in columns]
    return "\n".join(["| column | type | |", "| --- | --- | --- |", *rows])
