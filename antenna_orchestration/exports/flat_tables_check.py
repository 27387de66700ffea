"""The check of an export `tables`: columns, types, keys, and what the tables say of each other."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types

from antenna_orchestration.domain import csv_cells
from antenna_orchestration.domain.texts import counted, listed
from antenna_orchestration.exports.flat_columns import FURTHER, PHOTOGRAPHS, TABLES, WORKBOOK, Column, schema
from antenna_orchestration.exports.formats import MOST_FAULTS, Checked

if TYPE_CHECKING:
    import duckdb

_PHOTOGRAPHS: Final = "photographs"

_MEMORY: Final = "400MB"

_ROWS: Final = 10_000
"""Rows of a sheet that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What no row may be."""

    table: str
    # SQL that is true of a faulty row.
    fault: str
    # What is wrong with it.
    why: str


RULES: Final = (
    Rule("observations", "observation_id IS NULL", "it has no observation_id"),
    Rule("observations", "observation_id <> concat(job_id, '-', detection_id)", "observation_id is not job-detection"),
    Rule("observations", "image_id IS NULL OR file IS NULL", "it names no photograph"),
    Rule("observations", "NOT (x1 <= x2 AND y1 <= y2)", "the box ends before it begins"),
    Rule("observations", "(width IS NULL) <> (bbox_x IS NULL)", "the box has shares exactly if the width is known"),
    Rule(
        "observations",
        "least(bbox_x, bbox_y, bbox_width, bbox_height) < 0 OR bbox_x + bbox_width > 1.000001 "
        "OR bbox_y + bbox_height > 1.000001",
        "the box lies outside of the photograph",
    ),
    Rule("observations", "source IS NULL", "it says not how its taxon came about"),
    Rule("observations", "source = 'human' AND score IS NOT NULL", "a person's determination has no score"),
    Rule(
        "observations",
        "scientific_name IS DISTINCT FROM CASE WHEN rank IS NOT NULL THEN taxon END",
        "scientific_name is the taxon where that has a rank, else empty",
    ),
    Rule("observations", "counted IS NULL", "it says not whether it is counted"),
    *(
        Rule(
            table,
            # Excel keeps milliseconds.
            "captured_at IS NOT NULL AND coalesce(abs(epoch_us(captured_at_local) - epoch_us(captured_at::TIMESTAMP) "
            "- utc_offset * 3600e6) > 1000, true)",
            "the local time is not captured_at and utc_offset",
        )
        for table in ("observations", "failures")
    ),
    *(
        Rule(
            table,
            "night <> (captured_at_local - INTERVAL 12 HOURS)::DATE",
            "the night is not that of the local time, from noon to noon",
        )
        for table in ("observations", "failures")
    ),
    Rule("nights", "photographs <> done + failed", "photographs are not done and failed ones"),
    Rule("nights", "empty > done OR counted > detections", "a part is more than the whole"),
    Rule("counts", "NOT (max_n BETWEEN 1 AND detections AND photographs <= detections)", "max_n and photographs are "
         "at most the detections"),
    Rule("deployments", "NOT (latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180)", "it is not a place"),
    Rule("deployments", "nights > trap_nights", "it has more nights than from the first to the last"),
    Rule("failures", "reason IS NULL", "it gives no reason"),
)  # fmt: skip
"""Rules for single rows."""

KEYS: Final = {
    "observations": ("observation_id",),
    "nights": ("pipeline", "deployment", "night"),
    "counts": ("pipeline", "deployment", "night", "taxon"),
    "deployments": ("deployment",),
    "failures": ("pipeline", "image_id"),
}
"""What is different in each row of a table."""

_NIGHT: Final = "pipeline, deployment, night"

AGREEMENTS: Final = (
    (
        "nights",
        f"""SELECT {_NIGHT}, detections, counted, failed FROM nights""",  # noqa: S608
        f"""SELECT {_NIGHT}, sum(observed), sum(of_those), sum(gone) FROM (
                SELECT {_NIGHT}, 1 AS observed, counted::INT AS of_those, 0 AS gone FROM observations
                UNION ALL SELECT {_NIGHT}, 0, 0, 1 FROM failures
                UNION ALL SELECT {_NIGHT}, 0, 0, 0 FROM nights) GROUP BY ALL""",  # noqa: S608
        "detections, counted and failed are not the rows of observations and failures",
    ),
    (
        "counts",
        f"""SELECT {_NIGHT}, taxon, detections FROM counts""",  # noqa: S608
        f"""SELECT {_NIGHT}, taxon, count(*) FROM observations WHERE counted GROUP BY ALL""",  # noqa: S608
        "detections are not the rows of observations that are counted",
    ),
    (
        "deployments",
        "SELECT deployment FROM deployments",
        "SELECT DISTINCT deployment FROM nights",
        "there is a row for each deployment of nights",
    ),
)
"""What two queries must say alike: of which table, the queries, and what is wrong if they do not."""


class _Faulty(Exception):
    """A table that cannot be read further; the message is the fault."""


def check(path: Path) -> Checked:
    """Check the files of a folder, of whichever kind they are."""
    if not path.is_dir():
        return Checked(faults=[f"{path} is not a folder: tables is one"], by=["own rules"])
    kinds = [kind for kind in ("csv", "parquet") if any((path / f"{table}.{kind}").exists() for table in TABLES)]
    if (path / WORKBOOK).exists():
        kinds.append("xlsx")
    if len(kinds) != 1:
        found = f"files of {listed(kinds)}" if kinds else "no table"
        return Checked(faults=[f"{path} has {found}: it must have the tables once"], by=["own rules"])
    [kind] = kinds
    missing = [
        f"{table}.{kind} is missing" for table in TABLES if kind != "xlsx" and not (path / f"{table}.{kind}").exists()
    ]
    if missing:
        return Checked(faults=missing, by=["own rules"])
    if kind == "xlsx" and not _reads_workbooks():
        return Checked(
            faults=[], by=[], unchecked=["the workbook's rows: install openpyxl, which is in the extra `validators`"]
        )
    return Checked(faults=_faults(path, kind), by=["own rules"])


def _reads_workbooks() -> bool:
    from importlib.util import find_spec

    return find_spec("openpyxl") is not None


def _faults(path: Path, kind: str) -> list[str]:
    import duckdb

    with tempfile.TemporaryDirectory(prefix="antenna-check-") as folder:
        settings: dict[str, Any] = {"memory_limit": _MEMORY, "temp_directory": folder}
        with duckdb.connect(f"{folder}/tables.duckdb", config=settings) as session:
            session.execute("SET TimeZone = 'UTC'")
            session.execute("SET enable_progress_bar = false")
            found: list[str] = []
            try:
                for table in (*TABLES, *_further(path, kind)):
                    found += _loaded(session, path, table, kind, Path(folder))
            except _Faulty as fault:
                return [*found, str(fault)][:MOST_FAULTS]
            # What tables say of each other makes sense if each is right.
            for one in _of_rows(session, kind):
                found.append(one)
                if len(found) == MOST_FAULTS:
                    break
            return (found or list(_of_tables(session, kind)))[:MOST_FAULTS]


# Reading


def _loaded(session: duckdb.DuckDBPyConnection, path: Path, table: str, kind: str, folder: Path) -> list[str]:
    """Load a table with its types. Gives the values that are none of theirs; raises `_Faulty`."""
    name = _file(table, kind)
    file = path / f"{table}.{kind}"
    if kind == "xlsx":
        file = folder / f"{table}.csv"
        _sheet_to_csv(path / WORKBOOK, table, file)
    if kind == "parquet":
        columns = _columns_of_parquet(file, table)
        session.from_parquet(str(file), file_row_number=True).create_view(f"file_{table}")
        row, faults = "file_row_number + 1", []
    else:
        columns = _columns_of_header(file, name, table)
        _read_csv(session, file, name, table, columns)
        row, faults = "row", list(_wrong_values(session, name, table, columns))
        if kind == "csv":
            faults += _formulas(session, name, table, columns)
    values = ", ".join(f'TRY_CAST("{one.name}" AS {_sql_type(one)}) AS "{one.name}"' for one in columns)
    session.execute(f"CREATE VIEW {table} AS SELECT {row} AS row, {values} FROM file_{table}")  # noqa: S608  # ours
    return faults


def _file(table: str, kind: str) -> str:
    return f"{WORKBOOK}, sheet {table}" if kind == "xlsx" else f"{table}.{kind}"


def _further(path: Path, kind: str) -> list[str]:
    """The table that only some exports have, if it is there."""
    if kind != "xlsx":
        return [_PHOTOGRAPHS] if (path / f"{_PHOTOGRAPHS}.{kind}").exists() else []
    return [_PHOTOGRAPHS] if _PHOTOGRAPHS in _opened(path / WORKBOOK).sheetnames else []


def _columns_of_parquet(file: Path, table: str) -> Sequence[Column]:
    try:
        found = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise _Faulty(f"{file.name} is not a Parquet file: {str(error).splitlines()[0]}") from None
    columns = _columns(found.names, file.name, table)
    for one in schema(columns):
        if found.field(one.name).type != one.type:
            raise _Faulty(f"{file.name}: {one.name} is {found.field(one.name).type} and must be {one.type}")
    return columns


def _columns(found: list[str], name: str, table: str) -> Sequence[Column]:
    """The columns of a file, which must be those of its table; raises `_Faulty`."""
    columns = [
        *(PHOTOGRAPHS if table == _PHOTOGRAPHS else TABLES[table]),
        *(one for one in FURTHER.get(table, ()) if one.name in found),
    ]
    wanted = [one.name for one in columns]
    if found == wanted:
        return columns
    if missing := [one for one in wanted if one not in found]:
        raise _Faulty(f"{name} lacks columns: {listed(missing)}")
    if more := [one for one in found if one not in wanted]:
        raise _Faulty(f"{name} has columns that are not of the format: {listed(more)}")
    raise _Faulty(f"{name} has its columns in another order")


def _columns_of_header(file: Path, name: str, table: str) -> Sequence[Column]:
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            header = next(csv.reader(lines), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _Faulty(f"{name} cannot be read: {error}") from None
    return _columns(header, name, table)


def _read_csv(session: duckdb.DuckDBPyConnection, file: Path, name: str, table: str, columns: Sequence[Column]) -> None:
    """Into a table of texts, with the numbers of its rows."""
    import duckdb

    names = ", ".join(f"'{one.name}': 'VARCHAR'" for one in columns)
    try:
        session.execute(
            f"CREATE TABLE file_{table} AS SELECT row_number() OVER () AS row, * FROM read_csv("  # noqa: S608
            f"?, auto_detect=false, header=true, delim=',', quote='\"', escape='\"', columns={{{names}}})",
            [str(file)],
        )
    except duckdb.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise _Faulty(f"{name} is not a CSV of its columns: {' '.join(lines[:3])[:300]}") from None


def _sheet_to_csv(workbook: Path, table: str, file: Path) -> None:
    book = _opened(workbook)
    if table not in book.sheetnames:
        raise _Faulty(f"{WORKBOOK} has no sheet {table}")
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        for row in book[table].iter_rows(values_only=True):
            writer.writerow(_as_text(value) for value in row)
    book.close()


def _opened(workbook: Path) -> Any:
    import openpyxl

    try:
        return openpyxl.load_workbook(workbook, read_only=True)
    except Exception as error:
        # Damaged archives and XML raise many kinds of errors.
        raise _Faulty(f"{WORKBOOK} is not a workbook: {error}") from None


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _sql_type(column: Column) -> str:
    kind = column.kind
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else "TIMESTAMP"
    if pa.types.is_time(kind):
        return "TIME"
    names = {pa.string(): "VARCHAR", pa.date32(): "DATE", pa.bool_(): "BOOLEAN", pa.int32(): "INTEGER",
             pa.int64(): "BIGINT", pa.float32(): "FLOAT", pa.float64(): "DOUBLE"}  # fmt: skip
    return names[kind]


# Rules


def _wrong_values(
    session: duckdb.DuckDBPyConnection, name: str, table: str, columns: Sequence[Column]
) -> Iterator[str]:
    """Texts that are not of their column's type."""
    for one in columns:
        kind = _sql_type(one)
        if kind == "VARCHAR":
            continue
        found = session.execute(
            f'SELECT row, "{one.name}" FROM file_{table} '  # noqa: S608  # ours
            f'WHERE "{one.name}" IS NOT NULL AND TRY_CAST("{one.name}" AS {kind}) IS NULL LIMIT {MOST_FAULTS}'
        ).fetchall()
        yield from (f"{name}, row {row}: {one.name} {text[:40]!r} is not of the type {one.kind}" for row, text in found)


def _formulas(session: duckdb.DuckDBPyConnection, name: str, table: str, columns: Sequence[Column]) -> Iterator[str]:
    """Texts that a spreadsheet would run."""
    for one in columns:
        if not pa.types.is_string(one.kind):
            continue
        # The rule is that of the writer; the pattern only spares it most texts.
        found = session.execute(
            f'SELECT row, "{one.name}" FROM file_{table} WHERE "{one.name}" SIMILAR TO \'[^\\w/].*\' '  # noqa: S608
            f"OR \"{one.name}\" LIKE '%\t%' OR \"{one.name}\" LIKE '%\n%'"
        )
        while rows := found.fetchmany(_ROWS):
            bad = [(row, text) for row, text in rows if csv_cells.cell(text) != text]
            yield from (f"{name}, row {row}: {one.name} is {text[:40]!r}, which is run as a formula or has control "
                        "characters" for row, text in bad[:MOST_FAULTS])  # fmt: skip
            if bad:
                break


def _of_rows(session: duckdb.DuckDBPyConnection, kind: str) -> Iterator[str]:
    for rule in RULES:
        rows = session.execute(
            f"SELECT row FROM {rule.table} WHERE {rule.fault} LIMIT {MOST_FAULTS}"  # noqa: S608  # ours
        ).fetchall()
        yield from (f"{_file(rule.table, kind)}, row {row}: {rule.why}" for (row,) in rows)
    for table, key in KEYS.items():
        names = ", ".join(key)
        twice = session.execute(
            f"SELECT max(row) FROM {table} GROUP BY {names} HAVING count(*) > 1 LIMIT {MOST_FAULTS}"  # noqa: S608
        ).fetchall()
        yield from (f"{_file(table, kind)}, row {row}: {names} as in an earlier row" for (row,) in twice)


def _of_tables(session: duckdb.DuckDBPyConnection, kind: str) -> Iterator[str]:
    for table, said, is_so, why in AGREEMENTS:
        different = session.execute(
            f"SELECT * FROM ((({said}) EXCEPT ({is_so})) UNION (({is_so}) EXCEPT ({said}))) "  # noqa: S608  # ours
            f"LIMIT {MOST_FAULTS}"
        ).fetchall()
        if different:
            where = ", ".join("-" if one is None else str(one) for one in different[0])
            yield f"{_file(table, kind)}: {why}; {counted(len(different), 'row')} such as {where}"
