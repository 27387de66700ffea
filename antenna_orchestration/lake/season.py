"""The season of a project in the lake: the nights and counts of all of its finished jobs, written night by night.

    <lake>/derived/seasons/nights/project=<slug>/nights.parquet
    <lake>/derived/seasons/counts/project=<slug>/counts.parquet

The rows are those of the project's derived tables; nights have some more columns. Among them is what each was made
of, so that only those that changed are made anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from itertools import starmap
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

MARK: Final = b"antenna.mark"
"""What the metadata of the nights' file say: the mark of the state of which the season was made, by the catalog."""

_SCHEMAS: Final = {"nights": columns.SEASON_NIGHTS, "counts": columns.SCHEMAS["counts"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Season:
    """The tables of a season as they were written."""

    nights: pa.Table = field(default_factory=columns.SEASON_NIGHTS.empty_table)
    counts: pa.Table = field(default_factory=columns.SCHEMAS["counts"].empty_table)
    # Of the state that it was made of; the same mark: nothing changed since.
    mark: str = ""

    @property
    def made_of(self) -> dict[Key, str]:
        """Of each row of the nights a digest of what it was made of."""
        return dict(zip(_keys(self.nights), self.nights["made_of"].to_pylist(), strict=True))

    def rows(self, names: Sequence[str] = columns.SEASON_NIGHTS.names) -> list[dict[str, Any]]:
        """The nights whose date is known, or these columns of them."""
        return [row for row in self.nights.select(list(names)).to_pylist() if row["night"] is not None]


def read(lake: Lake, project: str) -> Season | None:
    """The season of a project; None if it was not made yet. Raises `Unavailable`."""
    tables = {}
    said: dict[bytes, bytes] = {}
    for name in paths.SEASON_TABLES:
        path = paths.season(name, project)
        try:
            content = lake.read_bytes(path)
        except Missing:
            return None
        file = pq.ParquetFile(pa.BufferReader(content))
        if not file.schema_arrow.remove_metadata().equals(_SCHEMAS[name]):
            # Of another version, which knew other columns: all of it is made anew.
            return None
        tables[name] = file.read().replace_schema_metadata()
        said |= file.metadata.metadata or {}
    return Season(nights=tables["nights"], counts=tables["counts"], mark=said.get(MARK, b"").decode())


class Key(NamedTuple):
    """What a row of the nights stands for."""

    pipeline: str
    deployment: str | None
    night: date | None


class Night(NamedTuple):
    """A deployment's night as it was derived, and what it took."""

    group: Group
    tables: Mapping[str, pa.Table]


def replaced(season: Season, made: Iterable[Night], made_of: Mapping[Key, str]) -> Season:
    """The season with nights as they were made now, and otherwise with those of its nights that are in `made_of`."""
    nights: list[pa.Table] = []
    counts: list[pa.Table] = []
    stay = set(made_of)
    for one in made:
        key = key_of(one.group)
        stay.remove(key)
        nights.append(_with_effort(one, made_of[key]))
        counts.append(one.tables["counts"])
    order = [(name, "ascending") for name in ("pipeline", "deployment", "night")]
    return Season(
        nights=pa.concat_tables([_only(season.nights, stay), *nights]).sort_by(order),
        counts=pa.concat_tables([_only(season.counts, stay), *counts]).sort_by([*order, ("taxon", "ascending")]),
    )


def key_of(group: Group) -> Key:
    """What the row of these photographs stands for."""
    return Key(group.pipeline, group.deployment, group.night)


def _with_effort(night: Night, made_of: str) -> pa.Table:
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
        "made_of": made_of,
    }
    for name, value in more.items():
        field = columns.SEASON_NIGHTS.field(name)
        row = row.append_column(field, pa.array([value], field.type))
    return row.select(columns.SEASON_NIGHTS.names)


def write(lake: Lake, project: str, season: Season) -> None:
    """Write the season of a project: both tables are there before the first replaces what was there."""
    with tempfile.TemporaryDirectory(prefix="antenna-season-") as folder:
        drafts = {}
        # The first is replaced last: what the nights say they were made of is then true of the counts, too.
        for name in ("nights", "counts"):
            table: pa.Table = getattr(season, name)
            draft = Path(folder) / f"{name}.parquet"
            pq.write_table(
                table.replace_schema_metadata({MARK: season.mark.encode()} if name == "nights" else None),
                draft,
                compression="zstd",
            )
            drafts[paths.season(name, project)] = draft
        lake.write_files(drafts)


def _only(table: pa.Table, keys: Set[Key]) -> pa.Table:
    return table.filter(pa.array([key in keys for key in _keys(table)], pa.bool_()))


def _keys(table: pa.Table) -> Iterator[Key]:
    return starmap(Key, zip(*(table[name].to_pylist() for name in Key._fields), strict=True))
