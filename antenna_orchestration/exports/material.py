"""What every export is made from: the derived tables of a selection, and what people said of its project.

Boxes are in pixels of the photograph as its file has it: origin top left, EXIF rotation not applied. No export turns
them; each says so where its format has room (`BOXES`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.messages import Mask, RotatedBox
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.ecology.names import Names
from antenna_orchestration.exports.dataset import Dataset
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.lake import duckdb_errors
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BOXES: Final = "Boxes are relative to the photograph as its file has it, before any EXIF rotation; origin top left."
"""The rule for boxes, as files of every format state it."""

_ROWS: Final = 8_192
"""Rows of a table that are Python objects at once."""

_MEMORY: Final = "400MB"

Row = Mapping[str, Any]


class OfJob(NamedTuple):
    """A job that went in."""

    job_id: JobId
    name: str
    pipeline: str
    # None: it is not over, or was canceled.
    finished_at: datetime | None
    # Of its pipeline: those that its images were processed with, in order; several after a retry with another one.
    versions: tuple[str, ...] = ()


class Box(NamedTuple):
    """A box in pixels of a photograph, with what stands beside it."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = ""
    score: float | None = None
    mask: Mask | None = None
    rotated: RotatedBox | None = None


class Pictures(Protocol):
    """Pictures of photographs, decoded where a faulty file does no harm. Methods block, and raise `ImageError`."""

    def drawn(self, url: str, boxes: Sequence[Box], *, width: int | None = None) -> bytes:
        """The photograph as JPEG with its boxes, at most `width` pixels wide, turned as its EXIF data say."""

    def crops(self, url: str, boxes: Sequence[Box], *, margin: float = 0.0, longest: int | None = None) -> list[bytes]:
        """What is in each box as JPEG, with a margin as a share of the box's longer side, turned likewise.

        A box that lies outside the photograph gives no bytes. A crop is at most `longest` pixels on its longer side.
        """


class Photograph(NamedTuple):
    """A photograph as one pipeline saw it, with its observations in the detector's order."""

    # The columns of `photographs`.
    row: Row
    # The path below the folder that all photographs of the selection are in, with `/`; never with `..`.
    path: str
    # The columns of `observations` that were asked for.
    observations: Sequence[Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """The results of a selection, and what is known of its project. Reading blocks, and raises `Unavailable`."""

    selection: Selection
    # Where the derived tables lie.
    lake: Lake
    scope: Scope
    jobs: Sequence[OfJob]
    # By the names of the deployments.
    places: Mapping[str, Place] = field(default_factory=dict)
    names: Names = field(default_factory=lambda: Names({}))
    # What people said of the project as a data set; empty if they said nothing.
    dataset: Dataset = field(default_factory=Dataset)
    pictures: Pictures
    # Whether what a format demands and nobody gave may be left out, and is reported.
    partial: bool = False
    # Images of a job that is not over, or was canceled, which have no result yet: they are in no table.
    pending: int = 0
    made_at: datetime

    @property
    def is_complete(self) -> bool:
        """Whether all images have a result; else the rows are those so far."""
        return not self.pending

    @contextmanager
    def session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB session with views `observations`, `tracks`, `nights`, `counts`, `photographs` of the selection.

        Their rows are in the files' order: pipeline, deployment, night, time, number within the photograph.
        """
        import duckdb

        from antenna_orchestration.ecology import columns

        # What does not fit into memory lies here, and not in the working directory.
        with (
            tempfile.TemporaryDirectory(prefix="antenna-export-") as spill,
            duckdb.connect(
                config={
                    "autoinstall_known_extensions": False,
                    "memory_limit": _MEMORY,
                    "temp_directory": str(Path(spill) / "spill"),
                }
            ) as session,
        ):
            session.execute("SET TimeZone = 'UTC'")
            session.execute("SET enable_progress_bar = false")
            self.lake.open_to(session)
            with self._reading():
                for table in columns.SCHEMAS:
                    path = self.lake.pattern(self.scope.path(table))
                    session.from_parquet(path).create_view(f"all_{table}")
                    session.execute(f"CREATE VIEW {table} AS FROM all_{table} WHERE {self._condition(table)}")  # quoted
                yield session

    def further(self, table: str) -> tuple[str, ...]:
        """The columns of `columns.FURTHER` in which rows of the selection have values."""
        from antenna_orchestration.ecology import columns

        with self.session() as session:
            names = [one for one in columns.FURTHER.get(table, {}) if one in session.table(table).columns]
            if not names:
                return ()
            counts = ", ".join(f"count({name})" for name in names)
            [row] = session.sql(f"SELECT {counts} FROM {table}").fetchall()  # noqa: S608  # names of columns
        return tuple(name for name, count in zip(names, row, strict=True) if count)

    def batches(self, query: str, rows: int = _ROWS) -> Iterator[pa.RecordBatch]:
        """What a query over the views of `session` gives, in batches."""
        with self.session() as session, self._reading():
            yield from session.sql(query).to_arrow_reader(rows)

    def rows(self, query: str) -> Iterator[dict[str, Any]]:
        """The same as dictionaries, one at a time."""
        for batch in self.batches(query):
            yield from batch.to_pylist()

    def photographs(self, *columns: str, counted_only: bool = False) -> Iterator[Photograph]:
        """All photographs with their observations, of which these columns are read besides the ids.

        In the order of the tables. Also those on which nothing was found, and those that failed. With `counted_only`
        without observations that the counts leave out: fixtures, for example, or what a person rejected.
        """
        wanted = ", ".join(dict.fromkeys(("pipeline", "image_id", *columns)))
        where = "WHERE counted" if counted_only else ""
        observations = self.rows(f"SELECT {wanted} FROM observations {where}")  # noqa: S608  # names of columns
        base = self.base()
        waiting = next(observations, None)
        for row in self.rows("FROM photographs"):
            own = []
            while waiting is not None and _key(waiting) == _key(row):
                own.append(waiting)
                waiting = next(observations, None)
            yield Photograph(row, path_below(base, row["url"]), own)
        if waiting is not None:
            raise errors.InternalError(f"{self.selection.name}: the tables of photographs and observations differ")

    def base(self, session: duckdb.DuckDBPyConnection | None = None) -> str:
        """The folder, with its slash, that all photographs are in; empty when they have none in common.

        Whoever has a session open passes it: another one costs more than a small job's query.
        """
        if session is None:
            with self.session() as own:
                return self.base(own)
        query = "SELECT min(url), max(url) FROM photographs WHERE url IS NOT NULL"
        [(first, last)] = session.execute(query).fetchall()
        return "" if first is None or last is None else common_folder(first, last)

    def _condition(self, table: str) -> str:
        chosen = self.selection
        conditions = ["true"]
        if chosen.pipeline is not None:
            conditions.append(f"pipeline = {quoted(chosen.pipeline)}")
        if chosen.deployment is not None:
            conditions.append(f"deployment = {quoted(chosen.deployment)}")
        if chosen.first is not None:
            conditions.append(f"night >= DATE '{chosen.first}'")
        if chosen.last is not None:
            conditions.append(f"night <= DATE '{chosen.last}'")
        if chosen.threshold and table == "observations":
            conditions.append(f"(detector_score IS NULL OR detector_score >= {chosen.threshold!r}::FLOAT)")
        return " AND ".join(conditions)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what pyarrow and DuckDB say of damaged files into `Unavailable`, in one line."""
        import duckdb
        import pyarrow as pa

        try:
            yield
        except (duckdb.Error, pa.ArrowException) as error:
            raise duckdb_errors.unavailable(error, f"lake {self.lake.uri}") from error


def common_folder(first: str, last: str) -> str:
    """The folder, with its slash, of all photographs, by the first and the last of their sorted URLs; empty if none."""
    # Of sorted texts, what the first and the last begin with, all begin with.
    folders = _folders(first)
    matching = 0
    for one, other in zip(folders, _folders(last), strict=False):
        if one != other:
            break
        matching += 1
    return "/".join([*folders[:matching], ""]) if matching else ""


def path_below(base: str, url: str) -> str:
    """The path of a photograph below a folder, decoded and without a query."""
    place = _place(url)
    below = place[len(base) :] if base and place.startswith(base) else place.partition("://")[2] or place
    # Keys of a bucket are written as they are.
    parts = (below if url.startswith("s3:") else unquote(below)).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def _key(row: Row) -> tuple[Any, Any]:
    return row["pipeline"], row["image_id"]


def _folders(url: str) -> list[str]:
    return _place(url).split("/")[:-1]


def _place(url: str) -> str:
    """A URL without its query, which may hold a signature."""
    return urlsplit(url)._replace(query="", fragment="").geturl() if url.startswith("http") else url


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
