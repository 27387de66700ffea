"""Derived tables in the lake: the results of jobs sorted into nights, and the files of what is computed of them.

    <lake>/derived/jobs/<table>/job_id=42/<table>.parquet             of one job
    <lake>/derived/projects/<table>/project=<slug>/<table>.parquet    of all finished jobs of a project
    <lake>/derived/seasons/<table>/project=<slug>/<table>.parquet     likewise, night by night: `season.py`

Of each image and pipeline the newest finished result counts, by the rule of `current.sql`. DuckDB sorts within a memory
limit; what does not fit is in a temporary folder, and so are the sorted rows, which are read one night at a time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import columns, nights, places
from antenna_orchestration.lake import arrow, duckdb_errors
from antenna_orchestration.lake import schemas as lake_schemas
from antenna_orchestration.lake.folder import AT_A_TIME, Version
from antenna_orchestration.lake.paths import DERIVED, DERIVED_TABLES, Scope
from antenna_orchestration.lake.store import Lake

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from antenna_orchestration.ecology.model import Classes, Night, Place

RECIPE: Final = b"antenna.recipe"
JOBS: Final = b"antenna.jobs"
KNOWLEDGE: Final = b"antenna.knowledge"
PENDING: Final = b"antenna.pending"
"""What a file's metadata say: the hash of the recipe, the jobs that went in with their generations, as JSON, the
fingerprint of all that was known besides, and how many images of the job were not done yet."""

_MEMORY: Final = "400MB"
"""Memory of DuckDB's sorting and joining; what does not fit lies in the temporary folder."""

_THREADS: Final = 2

_ROWS: Final = 4096
"""Rows of a group of the sorted files: a row of 1,000 scores has 2 kB."""

_ROW_GROUP: Final = 64 * 1024

_MISSING: Final = {
    "captures": "NULL::TIMESTAMPTZ AS finished_at, NULL::FLOAT AS seconds, NULL::TIMESTAMP AS stamp, "
    "NULL::SMALLINT AS stamp_offset",
    "detections": "NULL::FLOAT AS inference_time",
    "classifications": "NULL::FLOAT AS inference_time",
    "failed_images": "NULL::VARCHAR AS reason",
}
"""Columns that files of earlier versions lack."""

_RENAMED: Final = """
CREATE TEMP TABLE renamed AS
SELECT job_id AS of_job, deployment AS written, min(of_renamed.name) AS name
FROM captures JOIN of_renamed USING (job_id, image_id)
WHERE deployment <> of_renamed.name GROUP BY ALL
"""
"""What the names of deployments in the jobs' tables are now, where they are others."""

_NEWEST: Final = """
CREATE TEMP TABLE newest AS
SELECT row_number() OVER () AS photograph, job_id, image_id, jobs.pipeline, url,
       coalesce(renamed.name, deployment) AS deployment, captured_at,
       -- A file of an earlier version has the camera's digits as if they were UTC.
       coalesce(stamp, captured_at AT TIME ZONE 'UTC') AS stamp,
       CASE WHEN stamp IS NOT NULL THEN stamp_offset END AS stamp_offset,
       width, height, status, detections, seconds, finished_at
FROM captures JOIN jobs USING (job_id)
LEFT JOIN renamed ON renamed.of_job = job_id AND renamed.written = deployment
{only}
QUALIFY row_number() OVER (
    PARTITION BY image_id, jobs.pipeline ORDER BY status = 'done' DESC, finished_at DESC NULLS LAST, job_id DESC
) = 1
"""

_PHOTOGRAPHS: Final = """
CREATE TEMP TABLE photographs AS
SELECT dense_rank() OVER (ORDER BY pipeline, deployment NULLS LAST, night NULLS LAST) AS number,
       newest.* EXCLUDE (captured_at), times.* EXCLUDE (photograph),
       CASE WHEN status = 'failed' THEN coalesce(failures.reason, 'not known') END AS reason
FROM newest JOIN times USING (photograph) LEFT JOIN (
    SELECT job_id, image_id, arg_max(reason, failed_at) AS reason FROM failed_images GROUP BY ALL
) AS failures USING (job_id, image_id)
"""

_PAUSE: Final = 60
"""Seconds without a result after which nobody was at work on a night."""

_GROUPS: Final = f"""
SELECT number, pipeline, deployment, night, count(*) AS photographs, list_sort(list(DISTINCT job_id)) AS jobs,
       bit_xor(hash(job_id, image_id, captured_at, local_time)) AS fingerprint,
       sum(seconds) AS work_seconds, count(seconds) AS measured,
       nullif(sum(least(pause, {_PAUSE})), 0) AS result_seconds, min(finished_at) AS arrived_at
FROM (
    SELECT *, epoch(finished_at - lag(finished_at) OVER (PARTITION BY number ORDER BY finished_at)) AS pause
    FROM photographs
) GROUP BY ALL ORDER BY number
"""  # noqa: S608  # a number

_SORTED: Final = {
    "captures": "SELECT number, {captures} FROM photographs{labels} ORDER BY number",
    "detections": """
        SELECT p.number, d.job_id, d.image_id, detection_id, x1, y1, x2, y2, algorithm AS detector,
               algorithm_version AS detector_version, score AS detector_score{further}
        FROM detections d JOIN photographs p USING (job_id, image_id){details} ORDER BY p.number""",
    "classifications": """
        SELECT p.number, s.image_id, detection_id, algorithm AS classifier, algorithm_version AS classifier_version,
               label, score AS label_score, terminal, created_at, scores, top_labels, top_scores
        FROM classifications s JOIN photographs p USING (job_id, image_id) ORDER BY p.number""",
}

_DETAILS: Final = " LEFT JOIN detection_details m USING (job_id, image_id, detection_id)"

_LABELS: Final = " LEFT JOIN of_photographs USING (job_id, image_id)"

_OF_PHOTOGRAPHS: Final = """
CREATE TEMP TABLE of_photographs AS
SELECT * FROM (
    SELECT job_id, image_id, list(label ORDER BY place) AS labels, list(score ORDER BY place) AS label_scores,
           list(algorithm || ' ' || algorithm_version ORDER BY place) AS label_algorithms
    FROM (
        -- The last step of a pipeline decides, and where it did not come so far, the step before.
        SELECT s.*, row_number() OVER (
            PARTITION BY job_id, image_id ORDER BY score DESC NULLS LAST, algorithm, algorithm_version, label
        ) AS place
        FROM image_labels s SEMI JOIN photographs USING (job_id, image_id)
        QUALIFY terminal = bool_or(terminal) OVER (PARTITION BY job_id, image_id)
    ) GROUP BY ALL
) FULL JOIN (
    SELECT job_id, image_id, min(attributes) AS attributes
    FROM image_attributes a SEMI JOIN photographs USING (job_id, image_id) GROUP BY ALL
) USING (job_id, image_id)
"""
"""What is said of photographs as a whole."""

_SCHEMAS: Final = {
    "captures": nights.CAPTURES,
    "detections": nights.DETECTIONS,
    "classifications": nights.CLASSIFICATIONS,
}


_OF_RENAMED: Final = pa.schema([("job_id", pa.int64()), ("image_id", pa.int64()), ("name", pa.string())])


class Source(NamedTuple):
    """A finished job whose tables are read."""

    job_id: JobId
    generation: Generation
    pipeline: str
    # How many it has; of none, there are no tables.
    images: int


class Group(NamedTuple):
    """The photographs of one pipeline and deployment in one night, in the order of which they are read."""

    number: int
    pipeline: str
    deployment: str | None
    night: date | None
    # How many it has.
    photographs: int
    # Another one where other photographs are in it, of other jobs, or their times are others.
    fingerprint: int = 0
    # The jobs whose results they are, sorted.
    jobs: Sequence[JobId] = ()
    # What it took: seconds of work on them, on how many that is known, and the seconds in which results came.
    work_seconds: float | None = None
    measured: int = 0
    result_seconds: float | None = None
    # When the first result was there.
    arrived_at: datetime | None = None


class Boxes(NamedTuple):
    """The boxes of one pipeline and deployment over its nights, and how many photographs each night has."""

    pipeline: str
    deployment: str
    # night, image_id, job_id, detection_id, x1, y1, x2, y2
    frame: pd.DataFrame
    photographs: Mapping[date, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What was found of one group."""

    group: Group
    captures: pa.Table
    detections: pa.Table
    classifications: pa.Table

    def night(
        self,
        *,
        place: Place | None,
        classes: Mapping[AlgorithmRef, Classes],
        species: frozenset[str] | None = None,
        fixtures: frozenset[tuple[int, str]] = frozenset(),
    ) -> Night:
        """The night, as the first step gets it."""
        return nights.of_rows(
            self.captures,
            self.detections,
            self.classifications,
            deployment=self.group.deployment,
            night=self.group.night,
            place=place,
            classes=classes,
            species=species,
            fixtures=fixtures,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SortedResults:
    """The newest results of some jobs, sorted by pipeline, deployment and night."""

    groups: Sequence[Group]
    # The labels that occur, sorted, by classifier; and which classifiers each pipeline has. Of all, also of
    # groups that are left out: no night depends on which others are read with it.
    labels: Mapping[AlgorithmRef, Sequence[str]]
    classifiers: Mapping[str, frozenset[AlgorithmRef]]
    # The further columns that have values, see `columns.FURTHER`, by derived table.
    further: Mapping[str, Sequence[str]]
    # Of the sorted files.
    schemas: Mapping[str, pa.Schema]
    folder: Path

    def nights(self) -> Iterator[Rows]:
        """The rows of each group; those of one are in memory."""
        readers = {name: _by_group(self.folder / f"{name}.parquet", schema) for name, schema in self.schemas.items()}
        waiting = {name: next(reader, None) for name, reader in readers.items()}
        for group in self.groups:
            found: dict[str, pa.Table] = {}
            for name, reader in readers.items():
                while (first := waiting[name]) is not None and first[0] < group.number:
                    # Of a night that is left out.
                    waiting[name] = next(reader, None)
                if first is not None and first[0] == group.number:
                    found[name] = first[1]
                    waiting[name] = next(reader, None)
                else:
                    found[name] = self.schemas[name].empty_table()
            yield Rows(group=group, **found)

    def boxes(self) -> Iterator[Boxes]:
        """The boxes of each pipeline and deployment; those of one are in memory.

        Photographs without a deployment or a time are left out: it is not known what they have in common.
        """
        return _boxes(self.groups, self.folder / "detections.parquet")


_OF_BOXES: Final = pa.schema(
    [nights.DETECTIONS.field(name) for name in ("job_id", "image_id", "detection_id", "x1", "y1", "x2", "y2")]
)


def _boxes(groups: Sequence[Group], path: Path) -> Iterator[Boxes]:
    """As `SortedResults.boxes`, of a sorted file with the boxes of all of these groups."""
    reader = _by_group(path, _OF_BOXES)
    found = next(reader, None)
    for (pipeline, deployment), those in groupby(groups, key=lambda one: (one.pipeline, one.deployment)):
        tables = []
        photographs: dict[date, int] = {}
        for group in those:
            if group.night is not None:
                photographs[group.night] = group.photographs
            if found is not None and found[0] == group.number:
                if group.night is not None and group.deployment is not None:
                    night = pa.repeat(pa.scalar(group.night, pa.date32()), len(found[1]))
                    tables.append(found[1].append_column("night", night))
                found = next(reader, None)
        if tables and deployment is not None:
            yield Boxes(pipeline, deployment, pa.concat_tables(tables).to_pandas(), photographs)


class Overview(NamedTuple):
    """Which photographs and classifiers there are, before what was found is read."""

    groups: Sequence[Group]
    # As in `SortedResults`.
    labels: Mapping[AlgorithmRef, Sequence[str]]
    classifiers: Mapping[str, frozenset[AlgorithmRef]]
    # Reads the boxes of some of them, as `SortedResults.boxes`. Blocks.
    boxes: Callable[[Sequence[Group]], Iterator[Boxes]]


Choice = Callable[[Overview], Collection[int]]
"""Which groups are wanted, by their numbers."""


@contextmanager
def sorted_results(
    lake: Lake,
    jobs: Sequence[Source],
    known: Mapping[str, Place],
    renamed: Sequence[tuple[int, int, str]] = (),
    only: pa.Table | None = None,
    *,
    choose: Choice | None = None,
) -> Iterator[SortedResults]:
    """Sort the newest results of the jobs into nights, by the places of their deployments.

    `renamed` has images (job, image, name now) of deployments that had other names when their tables were written;
    `only` a column `image_id` of the photographs that are taken, None: all. With `choose`, only the groups that it
    returns are there, and only the tables of their jobs are read; of others the photographs, and which labels occur.

    Blocks. Raises `Unavailable` when tables are missing or cannot be read.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="antenna-derive-") as temporary:
        folder = Path(temporary)
        limits = {"memory_limit": _MEMORY, "threads": _THREADS, "temp_directory": str(folder / "spill")}
        try:
            with duckdb.connect(config={**limits, "autoinstall_known_extensions": False}) as session:
                _of_renamed(session, renamed)
                if only is not None:
                    session.register("wanted", only)
                found = _sort(session, lake, jobs, folder, known, takes_all=only is None, choose=choose)
        except duckdb.Error as error:
            raise duckdb_errors.unavailable(error, f"lake {lake.uri}") from error
        yield found


def _of_renamed(session: duckdb.DuckDBPyConnection, renamed: Sequence[tuple[int, int, str]]) -> None:
    rows = [dict(zip(_OF_RENAMED.names, one, strict=True)) for one in renamed]
    session.register("of_renamed", pa.Table.from_pylist(rows, _OF_RENAMED))


def _sort(
    session: duckdb.DuckDBPyConnection,
    lake: Lake,
    jobs: Sequence[Source],
    folder: Path,
    known: Mapping[str, Place],
    *,
    takes_all: bool,
    choose: Choice | None,
) -> SortedResults:
    session.execute("SET TimeZone = 'UTC'")
    # It would be drawn into the command's answer.
    session.execute("SET enable_progress_bar = false")
    lake.open_to(session)
    session.register(
        "jobs", pa.table({"job_id": [job.job_id for job in jobs], "pipeline": [job.pipeline for job in jobs]})
    )
    every = [job.job_id for job in jobs]
    for name in ("captures", "failed_images", "classifications"):
        _view(session, lake, name, every)
    session.execute(_RENAMED)
    session.execute(_NEWEST.format(only="" if takes_all else "WHERE image_id IN (SELECT image_id FROM wanted)"))
    _add_times(session, known)
    session.execute(_PHOTOGRAPHS)
    groups = [Group(**row) for row in session.sql(_GROUPS).to_arrow_table().to_pylist()]
    labels, classifiers = _labels(session)
    those = every
    if choose is not None:
        boxes = _reader_of_boxes(session, lake, folder)
        groups = _chosen(session, Overview(groups, labels, classifiers, boxes), choose)
        # Without any group, the tables of one job are read: a view needs a file.
        those = sorted({job for group in groups for job in group.jobs}) or every[:1]
        _view(session, lake, "classifications", those)
    _view(session, lake, "detections", those)
    further = _further(session, lake, jobs)
    schemas = {
        **_SCHEMAS,
        "captures": _with(nights.CAPTURES, "photographs", further),
        "detections": _with(nights.DETECTIONS, "observations", further),
    }
    queries = {
        name: query.format(
            captures=", ".join(schemas["captures"].names),
            labels=_LABELS if further["photographs"] else "",
            further="".join(f", m.{column}" for column in further["observations"]),
            details=_DETAILS if further["observations"] else "",
        )
        for name, query in _SORTED.items()
    }
    for name, query in queries.items():
        _copy(session, query, folder / f"{name}.parquet")
    return SortedResults(
        groups=groups, labels=labels, classifiers=classifiers, further=further, schemas=schemas, folder=folder
    )


def _chosen(session: duckdb.DuckDBPyConnection, overview: Overview, choose: Choice) -> list[Group]:
    """The groups that are wanted; the photographs of others are left out."""
    wanted = set(choose(overview))
    chosen = [group for group in overview.groups if group.number in wanted]
    _register_numbers(session, chosen)
    session.execute("DELETE FROM photographs WHERE number NOT IN (SELECT number FROM numbers)")
    return chosen


def _reader_of_boxes(
    session: duckdb.DuckDBPyConnection, lake: Lake, folder: Path
) -> Callable[[Sequence[Group]], Iterator[Boxes]]:
    path = folder / "boxes.parquet"

    def boxes(of: Sequence[Group]) -> Iterator[Boxes]:
        if not of:
            return
        _view(session, lake, "detections", sorted({job for group in of for job in group.jobs}))
        _register_numbers(session, of)
        names = ", ".join(f"d.{name}" for name in _OF_BOXES.names)
        _copy(
            session,
            f"SELECT p.number, {names} FROM detections d JOIN photographs p USING (job_id, image_id) "  # noqa: S608
            "SEMI JOIN numbers USING (number) ORDER BY p.number",
            path,
        )
        yield from _boxes(of, path)

    return boxes


def _register_numbers(session: duckdb.DuckDBPyConnection, groups: Sequence[Group]) -> None:
    session.register("numbers", pa.table({"number": pa.array([one.number for one in groups], pa.int64())}))


def _view(session: duckdb.DuckDBPyConnection, lake: Lake, name: str, jobs: Sequence[JobId]) -> None:
    """A table of these jobs, with the columns that files of earlier versions lack."""
    paths = ", ".join("'" + file.replace("'", "''") + "'" for file in lake.patterns(name, jobs))
    session.execute(
        f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * EXCLUDE (pipeline) FROM ("  # noqa: S608  # paths, quoted
        f"SELECT * FROM read_parquet([{paths}], hive_partitioning = true, union_by_name = true) "
        f"UNION ALL BY NAME SELECT NULL::VARCHAR AS pipeline, {_MISSING[name]} WHERE false)"
    )


def _copy(session: duckdb.DuckDBPyConnection, query: str, to: Path) -> None:
    path = str(to).replace("'", "''")
    session.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE {_ROWS})")


def _further(session: duckdb.DuckDBPyConnection, lake: Lake, jobs: Sequence[Source]) -> dict[str, list[str]]:
    """The further columns that have values in these photographs, by derived table."""
    having = {name: sorted(_of_jobs(lake, name, [job.job_id for job in jobs])) for name in lake_schemas.FURTHER}
    found: dict[str, list[str]] = {table: [] for table in columns.FURTHER}
    if not any(having.values()):
        return found
    for name, these in having.items():
        nothing = pa.schema([("job_id", pa.int64()), *lake_schemas.FURTHER[name]]).empty_table()
        session.register(f"no_{name}", nothing)
        files = ", ".join("'" + file.replace("'", "''") + "'" for file in lake.patterns(name, these))
        read = f"SELECT * FROM read_parquet([{files}], hive_partitioning = true) UNION ALL BY NAME " if files else ""  # noqa: S608  # paths, quoted
        session.execute(f"CREATE TEMP VIEW {name} AS {read}FROM no_{name}")
    session.execute(_OF_PHOTOGRAPHS)
    for table, source in (
        ("observations", "detection_details SEMI JOIN photographs USING (job_id, image_id)"),
        ("photographs", "of_photographs"),
    ):
        names = list(columns.FURTHER[table])
        counts = ", ".join(f"count({name})" for name in names)
        [row] = session.sql(f"SELECT {counts} FROM {source}").fetchall()  # noqa: S608  # names of columns
        found[table] = [name for name, count in zip(names, row, strict=True) if count]
    return found


def _of_jobs(lake: Lake, name: str, jobs: Sequence[JobId]) -> set[JobId]:
    """Those of the jobs that have a table which a job need not have. Blocks."""
    if len(jobs) == 1:
        return {job for job in jobs if lake.has_table(name, job)}
    return set(jobs) & set(lake.jobs_with_table(name))


def _with(schema: pa.Schema, table: str, further: Mapping[str, Sequence[str]]) -> pa.Schema:
    """A schema and the further columns of a derived table."""
    return pa.schema([*schema, *(pa.field(name, columns.FURTHER[table][name][0]) for name in further[table])])


def _labels(
    session: duckdb.DuckDBPyConnection,
) -> tuple[dict[AlgorithmRef, list[str]], dict[str, frozenset[AlgorithmRef]]]:
    """The labels that occur, by classifier, and the classifiers of each pipeline."""
    found = session.sql(
        "SELECT DISTINCT jobs.pipeline, algorithm AS key, algorithm_version AS version, "
        "unnest(list_append(coalesce(top_labels, []), label)) AS label "
        "FROM classifications JOIN jobs USING (job_id) WHERE algorithm IS NOT NULL"
    ).to_arrow_table()
    labels: dict[AlgorithmRef, set[str]] = {}
    of_pipeline: dict[str, set[AlgorithmRef]] = {}
    for row in found.to_pylist():
        algorithm = AlgorithmRef(row["key"], row["version"] or "")
        of_pipeline.setdefault(row["pipeline"], set()).add(algorithm)
        labels.setdefault(algorithm, set()).update([row["label"]] if row["label"] is not None else [])
    return (
        {algorithm: sorted(names) for algorithm, names in labels.items()},
        {pipeline: frozenset(algorithms) for pipeline, algorithms in of_pipeline.items()},
    )


def _add_times(session: duckdb.DuckDBPyConnection, known: Mapping[str, Place]) -> None:
    """When each photograph was taken, by the one rule for that, one deployment at a time."""
    session.execute(
        "CREATE TEMP TABLE times (photograph BIGINT, captured_at TIMESTAMPTZ, local_time TIMESTAMP, night DATE)"
    )
    for row in session.sql("SELECT DISTINCT deployment FROM newest").to_arrow_table().to_pylist():
        deployment = row["deployment"]
        frame = (
            session.sql(
                "SELECT photograph, url, stamp, stamp_offset FROM newest WHERE deployment IS NOT DISTINCT FROM $1",
                params=[deployment],
            )
            .to_arrow_table()
            .to_pandas()
        )
        place = known.get(deployment) if deployment is not None else None
        captured_at, local_time = places.moments(frame["stamp"], frame["stamp_offset"], place, sequence=frame["url"])
        times = pa.table(
            {
                "photograph": pa.array(frame["photograph"]),
                "captured_at": pa.array(captured_at, columns.MOMENT, from_pandas=True),
                "local_time": pa.array(local_time, columns.LOCAL, from_pandas=True),
                "night": pa.array(places.nights_of(local_time), pa.date32(), from_pandas=True),
            }
        )
        session.register("of_deployment", times)
        session.execute("INSERT INTO times SELECT * FROM of_deployment")
        session.unregister("of_deployment")


def _by_group(path: Path, schema: pa.Schema) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each group of a sorted file, without its number."""
    gathered: list[pa.RecordBatch] = []
    current: int | None = None
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=["number", *schema.names]):
            numbers = batch["number"].to_numpy()
            start = 0
            while start < len(numbers):
                end = int(numbers.searchsorted(numbers[start], "right"))
                if current is not None and current != numbers[start]:
                    yield current, _joined(gathered, schema)
                    gathered = []
                current = int(numbers[start])
                gathered.append(batch.slice(start, end - start))
                start = end
    if current is not None:
        yield current, _joined(gathered, schema)


def _joined(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches).select(schema.names).cast(schema)


# Files


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeWith:
    """What derived tables are made with, as their files say it."""

    # Hash of the recipe, and the fingerprint of all that was known.
    recipe: str
    knowledge: str
    jobs: Sequence[Source]
    # Images of the job that had no result yet.
    pending: int = 0

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """As a file's metadata."""
        jobs = json.dumps({str(job.job_id): int(job.generation) for job in self.jobs}, sort_keys=True)
        return {
            RECIPE: self.recipe.encode(),
            KNOWLEDGE: self.knowledge.encode(),
            JOBS: jobs.encode(),
            PENDING: b"%d" % self.pending,
        }


def write(
    lake: Lake,
    scope: Scope,
    tables: Iterable[Mapping[str, pa.Table]],
    made_with: MadeWith,
    *,
    further: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, int]:
    """Write the tables of the nights in their order, all or none of them; returns the rows of each.

    All nights have the same `further` columns.

    The same rows of the same jobs give the same bytes. Raises `Unavailable`.
    """
    metadata = made_with.metadata
    rows = dict.fromkeys(DERIVED_TABLES, 0)
    with tempfile.TemporaryDirectory(prefix="antenna-derive-") as temporary:
        drafts = {name: Path(temporary) / f"{name}.parquet" for name in DERIVED_TABLES}
        writers = {
            name: pq.ParquetWriter(
                draft, columns.schema(name, further.get(name, ())).with_metadata(metadata), compression="zstd"
            )
            for name, draft in drafts.items()
        }
        waiting: dict[str, list[pa.Table]] = {name: [] for name in DERIVED_TABLES}
        try:
            for night in tables:
                for name in DERIVED_TABLES:
                    rows[name] += night[name].num_rows
                    waiting[name].append(night[name])
                    if sum(table.num_rows for table in waiting[name]) >= _ROW_GROUP:
                        _flush(writers[name], waiting[name])
            for name in DERIVED_TABLES:
                _flush(writers[name], waiting[name])
        finally:
            for writer in writers.values():
                writer.close()
        lake.write_files({scope.path(name): draft for name, draft in drafts.items()})
    return rows


def _flush(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> None:
    if waiting:
        writer.write_table(pa.concat_tables(waiting).replace_schema_metadata(), row_group_size=_ROW_GROUP)
        waiting.clear()


def read(lake: Lake, scope: Scope, table: str, *, most: int | None = None) -> pa.Table:
    """A derived table, or its first rows. Raises `Missing`."""
    found: list[pa.RecordBatch] = []
    rows = 0
    for batch in lake.batches_of_file(scope.path(table)):
        found.append(batch)
        rows += batch.num_rows
        if most is not None and rows >= most:
            break
    whole = pa.Table.from_batches(found, columns.schema(table, found[0].schema.names if found else ()))
    return whole if most is None else whole.slice(0, most)


class MadeOf(NamedTuple):
    """What a derived table was made of."""

    # Hash of the recipe.
    recipe: str
    # The jobs that went in, with their generations.
    jobs: Mapping[JobId, Generation]
    # Images of a job that had no result yet.
    pending: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A derived table that is open for reading: one version of it, whatever replaces it meanwhile."""

    table: str
    version: Version
    made_of: MadeOf
    # The columns of this version, and those of its further ones that the file has.
    schema: pa.Schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows, with the columns of its schema. Blocks."""
        self.version.file.seek(0)
        for batch in pq.ParquetFile(self.version.file).iter_batches(batch_size=_ROWS):
            yield arrow.fitted(batch, self.schema)


@contextmanager
def opened(lake: Lake, scope: Scope, table: str) -> Iterator[Opened]:
    """Open a derived table. Blocks; raises `Missing`, and `Unavailable` for a damaged one."""
    with lake.reading_version(scope.path(table)) as version:
        try:
            footer = pq.read_metadata(version.file)
            schema = columns.schema(table, footer.schema.to_arrow_schema().names)
            yield Opened(table, version, _made_of(footer.metadata or {}), schema)
        except pa.ArrowException as error:
            raise errors.LakeUnavailable(
                f"lake {lake.uri}, {scope.path(table)}: {str(error).splitlines()[0]}"
            ) from error


def _made_of(metadata: Mapping[bytes, bytes]) -> MadeOf:
    jobs = json.loads(metadata.get(JOBS, b"{}"))
    return MadeOf(
        recipe=metadata.get(RECIPE, b"").decode(),
        jobs={JobId(int(job)): Generation(one) for job, one in jobs.items()},
        pending=int(metadata.get(PENDING, b"0")),
    )


def made_of(lake: Lake, scope: Scope, table: str) -> MadeOf | None:
    """What a derived table was made of; None if it does not exist, or is damaged."""
    with suppress(pa.ArrowException):
        metadata = lake.metadata_of_file(scope.path(table))
        return None if metadata is None else _made_of(metadata)
    return None


def projects(lake: Lake) -> list[str]:
    """The projects that have derived tables."""
    names = lake.names(f"{DERIVED}/projects/{DERIVED_TABLES[0]}")
    return [name.removeprefix("project=") for name in names]


def jobs_of(lake: Lake, scope: Scope, table: str) -> dict[JobId, Generation] | None:
    """The jobs that went into a derived table, with their generations; None if the table does not exist."""
    metadata = lake.metadata_of_file(scope.path(table))
    return None if metadata is None else dict(_made_of(metadata).jobs)


def is_current(lake: Lake, scope: Scope, jobs: Sequence[Source], knowledge: str) -> bool:
    """Whether all derived tables of a scope are there, made of exactly these jobs and of what is known.

    Raises pyarrow's errors for a damaged file.
    """
    wanted = {job.job_id: job.generation for job in jobs}
    return all(
        jobs_of(lake, scope, table) == wanted
        and (metadata := lake.metadata_of_file(scope.path(table)) or {}).get(KNOWLEDGE) == knowledge.encode()
        and metadata.get(PENDING) == b"0"
        for table in DERIVED_TABLES
    )


def pending(lake: Lake, scope: Scope) -> int:
    """How many images were not done yet when the tables were derived, of a job that was not over then."""
    return _made_of(lake.metadata_of_file(scope.path(DERIVED_TABLES[0])) or {}).pending


def left_out(lake: Lake, scope: Scope, went_in: Mapping[JobId, Generation]) -> list[JobId]:
    """The jobs of the scope of which the lake has results that are newer than those that went in, as footers tell."""
    found = lake.jobs_with_table("captures")
    if scope.job is not None:
        found = {job: generation for job, generation in found.items() if job == scope.job}
    unknown = sorted(found.keys() - went_in.keys())
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="footers") as pool:
        of_project = dict(zip(unknown, pool.map(lambda job: _project_of(lake, job), unknown), strict=True))
    return sorted(
        job
        for job, generation in found.items()
        if (generation > went_in[job] if job in went_in else scope.project == of_project[job])
    )


_PROJECTS: Final[dict[tuple[str, JobId], str]] = {}
"""The projects of jobs by the lake's URI, which never change: of a bucket, each footer is a request."""


def _project_of(lake: Lake, job: JobId) -> str | None:
    known = _PROJECTS.get((lake.uri, job)) or lake.constant("captures", job, "project")
    if known is not None:
        _PROJECTS[lake.uri, job] = known
    return known
