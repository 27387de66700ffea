"""The season of a project in the lake: the nights and counts of all of its finished jobs, written night by night.

    <lake>/derived/seasons/nights/project=<slug>/nights.parquet
    <lake>/derived/seasons/counts/project=<slug>/counts.parquet

The rows are those of the project's derived tables; nights have some more columns. What each night was made of is in the
metadata of the nights' file, so that only nights that changed are made anew.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from antenna_orchestration.ecology import columns
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.derived import Group
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.store import Lake

NIGHTS: Final = b"antenna.nights"
"""What the metadata of the nights' file say: of each night the digest of what it was made of, as JSON."""

MARK: Final = b"antenna.mark"
"""And the mark of the state of which the season was made, as the catalog gives it."""

_UNKNOWN: Final = ""
"""In it, the night of photographs whose time is not known."""

_SCHEMAS: Final = {"nights": columns.SEASON_NIGHTS, "counts": columns.SCHEMAS["counts"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Season:
    """The tables of a season as they were written."""

    nights: pa.Table = field(default_factory=columns.SEASON_NIGHTS.empty_table)
    counts: pa.Table = field(default_factory=columns.SCHEMAS["counts"].empty_table)
    # What each night was made of.
    made_of: Mapping[date | None, str] = field(default_factory=dict)
    # Of the state that it was made of; the same mark: nothing changed since.
    mark: str = ""

    def rows(self, names: Sequence[str] = columns.SEASON_NIGHTS.names) -> list[dict[str, Any]]:
        """The nights whose date is known, or these columns of them."""
        return [row for row in self.nights.select(list(names)).to_pylist() if row["night"] is not None]


def read(lake: Lake, project: str) -> Season:
    """The season of a project; an empty one if there is none. Raises `Unavailable`."""
    tables = {}
    said: dict[bytes, bytes] = {}
    for name in paths.SEASON_TABLES:
        path = paths.season(name, project)
        try:
            content = lake.read_bytes(path)
        except Missing:
            return Season()
        file = pq.ParquetFile(pa.BufferReader(content))
        if not file.schema_arrow.remove_metadata().equals(_SCHEMAS[name]):
            # Of another version, which knew other columns: all of it is made anew.
            return Season()
        tables[name] = file.read().replace_schema_metadata()
        said |= file.metadata.metadata or {}
    made_of = {_night(key): digest for key, digest in json.loads(said.get(NIGHTS, b"{}")).items()}
    return Season(nights=tables["nights"], counts=tables["counts"], made_of=made_of, mark=said.get(MARK, b"").decode())


class Night(NamedTuple):
    """A deployment's night as it was derived, and what it took."""

    group: Group
    tables: Mapping[str, pa.Table]


def replaced(
    season: Season, made: Iterable[Night], of: Collection[date | None], made_of: Mapping[date | None, str]
) -> Season:
    """The season with the nights `of` as they were made now, and with none but those of `made_of`."""
    gone = {*of, *(night for night in season.made_of if night not in made_of)}
    nights, counts = [_without(season.nights, gone)], [_without(season.counts, gone)]
    for one in made:
        nights.append(_with_effort(one))
        counts.append(one.tables["counts"])
    order = [(name, "ascending") for name in ("pipeline", "deployment", "night")]
    return Season(
        nights=pa.concat_tables(nights).sort_by(order),
        counts=pa.concat_tables(counts).sort_by([*order, ("taxon", "ascending")]),
        made_of=made_of,
    )


def _with_effort(night: Night) -> pa.Table:
    """The row of a night with the columns that the nights of a season have beside."""
    row = night.tables["nights"]
    [sunset], [sunrise] = row["sunset"].to_pylist(), row["sunrise"].to_pylist()
    dark = None
    if sunset is not None and sunrise is not None:
        local = night.tables["photographs"]["local_time"]
        begun, ended = (pa.scalar(one, columns.LOCAL) for one in (sunset, sunrise))
        dark = pc.sum(pc.and_(pc.greater_equal(local, begun), pc.less_equal(local, ended))).as_py() or 0
    more = {
        "taxa": pc.count_distinct(night.tables["counts"]["taxon"]).as_py(),
        "dark": dark,
        "work_seconds": night.group.work_seconds,
        "measured": night.group.measured,
        "result_seconds": night.group.result_seconds,
        "arrived_at": night.group.arrived_at,
    }
    for name, value in more.items():
        field = columns.SEASON_NIGHTS.field(name)
        row = row.append_column(field, pa.array([value], field.type))
    return row.select(columns.SEASON_NIGHTS.names)


def write(lake: Lake, project: str, season: Season) -> None:
    """Write the season of a project: both tables are there before the first replaces what was there."""
    nights = json.dumps({_key(night): digest for night, digest in season.made_of.items()}, sort_keys=True)
    said = {NIGHTS: nights.encode(), MARK: season.mark.encode()}
    with tempfile.TemporaryDirectory(prefix="antenna-season-") as folder:
        drafts = {}
        # The first is replaced last: what the nights say they were made of is then true of the counts, too.
        for name in ("nights", "counts"):
            table: pa.Table = getattr(season, name)
            draft = Path(folder) / f"{name}.parquet"
            pq.write_table(
                table.replace_schema_metadata(said if name == "nights" else None),
                draft,
                compression="zstd",
            )
            drafts[paths.season(name, project)] = draft
        lake.write_files(drafts)


def _without(table: pa.Table, nights: Collection[date | None]) -> pa.Table:
    gone = pa.array([one for one in nights if one is not None], pa.date32())
    is_gone = pc.is_in(table["night"], value_set=gone)
    if None in nights:
        is_gone = pc.or_(is_gone, pc.is_null(table["night"]))
    return table.filter(pc.invert(is_gone))


def _key(night: date | None) -> str:
    return _UNKNOWN if night is None else night.isoformat()


def _night(key: str) -> date | None:
    return date.fromisoformat(key) if key else None
