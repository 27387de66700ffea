"""The results, for notebooks and scripts: tables as pandas DataFrames, read from the lake without any server.

    from antenna_orchestration import results

    counts = results.counts(project="traps", nights=("2026-06-01", "2026-06-30"))

What all functions take:

- `lake`: a folder or `s3://bucket/prefix`; by default the setting `ANTENNA_LAKE_URI`, else the stack of the working
  directory, as for the command `antenna`.
- `as_`: `"pandas"`; `"arrow"` for a `pyarrow.Table`; `"duckdb"` for a DuckDB relation, which reads only what is asked
  of it.

`observations`, `tracks`, `nights`, `counts` and `photographs` are the tables that are derived of the results of one
job, or of all finished jobs of a project. They take filters: `pipeline` and `deployment` are a name or a list of names,
where None stands for photographs without one; `nights` is a date, a list of dates, or a tuple (first, last), dates as
`date` or as `"2026-06-01"`.

In pandas, whole numbers are `Int64`, truth is `boolean`, texts are `string`, each with `pd.NA` for null; moments are
`datetime64[us, UTC]`, local times `datetime64[us]`, nights and times of night are `date` and `time` objects.

Everything raises `AntennaError` with one line that says what to do: `NotFound` where tables are missing, `InvalidInput`
for arguments, `Unavailable` when the lake cannot be read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from antenna_orchestration import errors
from antenna_orchestration.lake import duckdb_errors

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from antenna_orchestration.domain.ids import JobId
    from antenna_orchestration.lake.paths import Scope
    from antenna_orchestration.lake.store import Lake

__all__ = [
    "captures",
    "classifications",
    "counts",
    "detections",
    "image",
    "image_labels",
    "nights",
    "observations",
    "photographs",
    "tracks",
]

Where = str | PathLike[str] | None

As = Literal["pandas", "arrow", "duckdb"]

Names = str | Sequence[str | None] | None

Day = date | str

Nights = Day | Sequence[Day | None] | tuple[Day, Day] | None


# Derived tables


def observations(
    *,
    project: str | None = None,
    job: int | None = None,
    pipeline: Names = None,
    deployment: Names = None,
    nights: Nights = None,
    lake: Where = None,
    as_: As = "pandas",
) -> Any:
    """A row for each detection, with what it is determined to be, its flags and its track."""
    return _derived("observations", project, job, lake, as_, pipeline=pipeline, deployment=deployment, nights=nights)


def tracks(
    *,
    project: str | None = None,
    job: int | None = None,
    pipeline: Names = None,
    deployment: Names = None,
    nights: Nights = None,
    lake: Where = None,
    as_: As = "pandas",
) -> Any:
    """A row for each animal that was followed from one photograph to the next."""
    return _derived("tracks", project, job, lake, as_, pipeline=pipeline, deployment=deployment, nights=nights)


def nights(
    *,
    project: str | None = None,
    job: int | None = None,
    pipeline: Names = None,
    deployment: Names = None,
    nights: Nights = None,
    lake: Where = None,
    as_: As = "pandas",
) -> Any:
    """A row for each night of a deployment, also if nothing was found: how much was looked at, and when."""
    return _derived("nights", project, job, lake, as_, pipeline=pipeline, deployment=deployment, nights=nights)


def counts(
    *,
    project: str | None = None,
    job: int | None = None,
    pipeline: Names = None,
    deployment: Names = None,
    nights: Nights = None,
    lake: Where = None,
    as_: As = "pandas",
) -> Any:
    """A row for each taxon that was found in a night at a deployment, with how many."""
    return _derived("counts", project, job, lake, as_, pipeline=pipeline, deployment=deployment, nights=nights)


def photographs(
    *,
    project: str | None = None,
    job: int | None = None,
    pipeline: Names = None,
    deployment: Names = None,
    nights: Nights = None,
    lake: Where = None,
    as_: As = "pandas",
) -> Any:
    """A row for each photograph, also if nothing was found or it failed: when and where, and what became of it."""
    return _derived("photographs", project, job, lake, as_, pipeline=pipeline, deployment=deployment, nights=nights)


# Tables of a job, as its workers and photographs gave them


def captures(
    *, job: int, deployment: Names = None, nights: Nights = None, lake: Where = None, as_: As = "pandas"
) -> Any:
    """A row for each photograph of a job. Where no zone is known, `captured_at` has the camera's digits as UTC."""
    return _of_job("captures", job, {"deployment": deployment, "nights": nights}, lake, as_)


def detections(*, job: int, lake: Where = None, as_: As = "pandas") -> Any:
    """A row for each detection of a job, as it came; with masks, rotated boxes or attributes if it has any."""
    return _of_job("detections", job, {}, lake, as_)


def classifications(*, job: int, lake: Where = None, as_: As = "pandas") -> Any:
    """A row for each statement of a classifier on a detection of a job, with its scores."""
    return _of_job("classifications", job, {}, lake, as_)


def image_labels(*, job: int, lake: Where = None, as_: As = "pandas") -> Any:
    """A row for each statement on a whole photograph of a job; none from pipelines that make none."""
    return _of_job("image_labels", job, {}, lake, as_)


def image(image_id: int, *, lake: Where = None, as_: As = "pandas") -> Any:
    """What is known of a photograph: for each pipeline its observations in the tables of the project.

    The columns are those of observations, `status`, and `reason` of a failure. A photograph on which a pipeline found
    nothing, or failed, has one row for that, with nulls.
    """
    import pyarrow as pa

    from antenna_orchestration.ecology import columns
    from antenna_orchestration.lake.paths import Scope

    _check_form(as_)
    place = _lake(lake)
    image_id = _number("image_id", image_id)
    if not place.names("captures"):
        raise _no_lake(place)
    session = _session(place)
    with _reading(place):
        session.execute(place.current())
        newest = session.sql(
            "SELECT project, pipeline, deployment, night, job_id, image_id, url, stamp, width, height, status, "  # noqa: S608  # a number
            f"detections FROM current_captures WHERE image_id = {image_id} ORDER BY pipeline, job_id"
        ).to_arrow_table()
    photographs: list[dict[str, Any]] = newest.to_pylist()
    if not photographs:
        raise errors.NotFound(f"lake {place.uri}: no finished job has an image {image_id}")
    rows: list[dict[str, Any]] = []
    there: set[str] = set()
    for project in sorted({str(one["project"]) for one in photographs if one["detections"] and one["project"]}):
        scope = Scope(project=project)
        _check_there(place, scope, "observations", stacklevel=3)
        schema = _schema(place, scope, "observations")
        found = _relation(place, [place.pattern(scope.path("observations"))], schema)
        with _reading(place):
            rows += found.filter(f"image_id = {image_id}").to_arrow_table().to_pylist()
        there.update(schema.names)
    of_pipeline = {one["pipeline"]: one for one in photographs}
    for row in rows:
        row["status"] = of_pipeline.get(row["pipeline"], {}).get("status", "done")
    told = {row["pipeline"] for row in rows} | {row["job_id"] for row in rows}
    for one in photographs:
        # A job of an earlier version does not name its pipeline.
        if one["pipeline"] not in told and one["job_id"] not in told:
            reason = _reason(place, one["job_id"], image_id) if one["status"] == "failed" else None
            rows.append({**one, "reason": reason})
    rows.sort(key=lambda row: row["pipeline"] or "")
    schema = columns.schema("observations", there).append(pa.field("status", pa.string()))
    table = pa.Table.from_pylist(rows, schema=schema.append(pa.field("reason", pa.string())))
    return _given(session.from_arrow(table), table.schema, place, as_)


def _reason(place: Lake, job: int, image_id: int) -> str | None:
    """Why a photograph failed in a job."""
    from antenna_orchestration.domain.ids import JobId

    failed = place.read_table("failed_images", JobId(job), ["image_id", "reason"]).to_pylist()
    return next((row["reason"] for row in reversed(failed) if row["image_id"] == image_id), None)


# Reading


def _derived(table: str, project: str | None, job: int | None, lake: Where, as_: str, **filters: Any) -> Any:
    from antenna_orchestration.domain.ids import JobId
    from antenna_orchestration.lake.paths import Scope

    if (project is None) == (job is None):
        raise errors.InvalidInput(f'results.{table}: name either a project or a job, as in project="traps" or job=42')
    _check_form(as_)
    conditions = _conditions(filters)
    place = _lake(lake)
    scope = Scope(project=project) if job is None else Scope(job=JobId(_number("job", job)))
    _check_there(place, scope, table, stacklevel=4)
    schema = _schema(place, scope, table)
    found = _relation(place, [place.pattern(scope.path(table))], schema)
    return _given(_filtered(found, conditions), schema, place, as_)


def _of_job(table: str, job: int, filters: Mapping[str, Any], lake: Where, as_: str) -> Any:
    import pyarrow as pa

    from antenna_orchestration.domain.ids import JobId
    from antenna_orchestration.lake import schemas
    from antenna_orchestration.lake.folder import Missing

    _check_form(as_)
    conditions = _conditions(filters)
    place = _lake(lake)
    job_id = JobId(_number("job", job))
    try:
        # A job that has this one is over, whether or not it has rows of a table that it need not have.
        over = "captures" if table in schemas.FURTHER else table
        files = place.patterns(over, [job_id])
        if table != over:
            files = place.patterns(table, [job_id]) if place.has_table(table, job_id) else []
    except Missing:
        if not place.names("captures"):
            raise _no_lake(place) from None
        raise errors.NotFound(
            f"lake {place.uri}: job {job_id} has no table {table}: it is not over (`antenna derive --job {job_id}` "
            "makes tables of what it has so far, for results.observations and its siblings), or it is of another stack"
        ) from None
    schema = pa.schema([pa.field("job_id", pa.int64()), *schemas.ALL[table]])
    found = _relation(place, files, schema, f"{job_id}::BIGINT AS job_id, *")
    if table == "detections" and place.has_table("detection_details", job_id):
        found, schema = _with_details(place, found, schema, job_id)
    return _given(_filtered(found, conditions), schema, place, as_)


def _with_details(
    place: Lake, found: duckdb.DuckDBPyRelation, schema: pa.Schema, job: JobId
) -> tuple[duckdb.DuckDBPyRelation, pa.Schema]:
    """Detections with the columns of their details in which any has a value."""
    import pyarrow as pa

    from antenna_orchestration.lake import schemas

    details = [one for one in schemas.OF_PARTS["detection_details"] if one.name not in schema.names]
    files = ", ".join(_quoted(file) for file in place.patterns("detection_details", [job]))
    with _reading(place):
        counts = ", ".join(f"count({one.name})" for one in details)
        read = f"read_parquet([{files}], hive_partitioning = false)"
        [row] = found.query("d", f"SELECT {counts} FROM {read}").fetchall()  # noqa: S608  # names of columns; paths, quoted
        there = [one for one, count in zip(details, row, strict=True) if count]
        names = "".join(f", m.{one.name}" for one in there)
        joined = found.query("d", f"SELECT d.*{names} FROM d LEFT JOIN {read} AS m USING (detection_id)")  # noqa: S608  # likewise
    return joined, pa.schema([*schema, *there])


def _schema(place: Lake, scope: Scope, table: str) -> pa.Schema:
    """The columns of a derived table, which does not have all of them where nothing uses them."""
    from antenna_orchestration.lake import derived

    with _reading(place), derived.opened(place, scope, table) as opened:
        return opened.schema


def _lake(where: Where) -> Lake:
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.lake.folder import storage_options
    from antenna_orchestration.lake.store import Lake

    settings = settings_module.load()
    uri = str(where) if where is not None else settings.lake
    return Lake(uri, storage_options=storage_options(settings, uri))


def _check_there(place: Lake, scope: Scope, table: str, *, stacklevel: int) -> None:
    """Raise `NotFound` if the table does not exist; warn if it lacks results that the lake has."""
    from antenna_orchestration.lake import derived

    command = (
        f"antenna derive --job {scope.job}" if scope.job is not None else f"antenna tables --project {scope.project}"
    )
    with _reading(place):
        went_in = derived.jobs_of(place, scope, table)
        if went_in is None:
            projects = derived.projects(place)
            if not projects and not place.names("captures"):
                raise _no_lake(place)
            others = f"; there are tables of {', '.join(projects)}" if projects and scope.project is not None else ""
            raise errors.NotFound(
                f"lake {place.uri}: {scope.name} has no derived tables yet; `{command}` makes them{others}"
            )
        lacking = derived.left_out(place, scope, went_in)
        pending = derived.pending(place, scope)
    if pending:
        warnings.warn(
            f"the tables of {scope.name} have the results so far: when they were made, {pending:,} of its images had "
            f"none yet; `{command}` makes them again",
            UserWarning,
            stacklevel=stacklevel,
        )
    if lacking:
        jobs = ", ".join(str(one) for one in lacking[:10]) + (" …" if len(lacking) > 10 else "")
        warnings.warn(
            f"the tables of {scope.name} lack the newest results of {'job' if len(lacking) == 1 else 'jobs'} {jobs}; "
            f"`{command}` makes them again",
            UserWarning,
            stacklevel=stacklevel,
        )


def _no_lake(place: Lake) -> errors.NotFound:
    return errors.NotFound(
        f"lake {place.uri}: there are no results; name another lake with lake=… or ANTENNA_LAKE_URI, or work below the "
        "folder of `antenna up`"
    )


@contextmanager
def _reading(place: Lake) -> Iterator[None]:
    """Turn what pyarrow and DuckDB say of damaged files into `Unavailable`, in one line."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise duckdb_errors.unavailable(error, f"lake {place.uri}") from error


def _session(place: Lake) -> duckdb.DuckDBPyConnection:
    import duckdb

    session = duckdb.connect(config={"autoinstall_known_extensions": False})
    session.execute("SET TimeZone = 'UTC'")
    place.open_to(session)
    return session


def _relation(place: Lake, files: Sequence[str], schema: pa.Schema, what: str = "*") -> duckdb.DuckDBPyRelation:
    """The rows of files with exactly these columns; those that files of earlier versions lack are null."""
    session = _session(place)
    session.register("nothing", schema.empty_table())
    names = ", ".join(f'"{name}"' for name in schema.names)
    paths = ", ".join(_quoted(file) for file in files)
    if not files:
        return session.sql("FROM nothing")
    with _reading(place):
        return session.sql(
            f"SELECT {names} FROM (SELECT {what} "  # noqa: S608  # names of columns; paths, quoted
            f"FROM read_parquet([{paths}], hive_partitioning = false, union_by_name = true) "
            "UNION ALL BY NAME SELECT * FROM nothing)"
        )


def _given(found: duckdb.DuckDBPyRelation, schema: pa.Schema, place: Lake, as_: str) -> Any:
    if as_ == "duckdb":
        return found
    with _reading(place):
        table = found.to_arrow_table().cast(schema)
    if as_ == "arrow":
        return table

    import pandas as pd
    import pyarrow as pa

    def dtype(kind: pa.DataType) -> Any:
        if pa.types.is_integer(kind):
            return pd.Int64Dtype()
        if pa.types.is_boolean(kind):
            return pd.BooleanDtype()
        if pa.types.is_string(kind):
            return pd.StringDtype("pyarrow")
        return None

    return table.to_pandas(types_mapper=dtype)


# Arguments


def _check_form(as_: str) -> None:
    if as_ not in ("pandas", "arrow", "duckdb"):
        raise errors.InvalidInput(f'as_={as_!r}: must be "pandas", "arrow" or "duckdb"')


def _number(name: str, value: Any) -> int:
    try:
        if int(value) == value or isinstance(value, str):
            return int(value)
    except (TypeError, ValueError):
        pass
    raise errors.InvalidInput(f"{name}={value!r}: must be a number, such as 42")


def _conditions(filters: Mapping[str, Any]) -> list[str]:
    """Conditions in SQL."""
    found = []
    for name, value in filters.items():
        if value is None:
            continue
        if name != "nights":
            found.append(_one_of(name, value, _quoted))
        elif isinstance(value, tuple):
            if len(value) != 2:
                raise errors.InvalidInput(f"nights={value!r}: a tuple is (first, last); for single nights, give a list")
            first, last = (_day(one) for one in value)
            found.append(f"night BETWEEN {first} AND {last}")
        else:
            found.append(_one_of("night", value, _day))
    return found


def _filtered(found: duckdb.DuckDBPyRelation, conditions: Iterable[str]) -> duckdb.DuckDBPyRelation:
    for condition in conditions:
        found = found.filter(condition)
    return found


def _one_of(column: str, values: Any, text: Callable[[Any], str]) -> str:
    listed = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    there = ", ".join(text(one) for one in listed if one is not None)
    either = [f'"{column}" IN ({there})'] if there else []
    either += [f'"{column}" IS NULL'] if any(one is None for one in listed) else []
    return f"({' OR '.join(either) or 'false'})"


def _quoted(text: str) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _day(value: Any) -> str:
    try:
        day = value.date() if isinstance(value, datetime) else value if isinstance(value, date) else None
        return f"DATE '{day or date.fromisoformat(value)}'"
    except (TypeError, ValueError):
        raise errors.InvalidInput(f"nights: {value!r} is not a date such as 2026-06-01") from None
