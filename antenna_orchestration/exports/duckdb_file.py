"""`duckdb`: all derived tables in one file of DuckDB, with what each column means, and views of what is asked most.

The rows are in the file, not views of Parquet files elsewhere: it is to open on another machine, and to be kept.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from antenna_orchestration.domain.texts import counted, listed
from antenna_orchestration.ecology import columns
from antenna_orchestration.exports import flat_columns, flat_tables
from antenna_orchestration.exports.formats import MOST_FAULTS, Checked, Written
from antenna_orchestration.exports.material import Material, quoted

if TYPE_CHECKING:
    import duckdb

TABLES: Final = {
    **{
        table: flat_columns.CONTENTS[table]
        for table in ("observations", "photographs", "nights", "counts", "tracks", "deployments")
    },
    "about": "what the file was made of",
}
"""The tables, with what their rows are."""

STORAGE: Final = "v1.0.0"
"""The oldest DuckDB that opens the file."""

LEFT_OUT: Final = {"observations": ("reviewer",)}
"""Columns of derived tables that name people."""

VIEWS: Final = {
    "catch": (
        "each night with each taxon of its pipeline and deployment, also nights on which there was none: `max_n` is 0",
        """SELECT n.pipeline, n.deployment, n.night, t.taxon, n.done AS photographs,
                  coalesce(c.detections, 0) AS detections, coalesce(c.max_n, 0) AS max_n
           FROM nights n
           JOIN (SELECT DISTINCT pipeline, deployment, taxon FROM counts) t
             ON t.pipeline = n.pipeline AND t.deployment IS NOT DISTINCT FROM n.deployment
           LEFT JOIN counts c ON c.pipeline = n.pipeline AND c.deployment IS NOT DISTINCT FROM n.deployment
             AND c.night IS NOT DISTINCT FROM n.night AND c.taxon IS NOT DISTINCT FROM t.taxon""",
    ),
    "taxa": (
        "each taxon of a pipeline, with how often it was seen",
        """SELECT pipeline, taxon, any_value(rank) AS rank, any_value(taxon_id) AS taxon_id, count(*) AS nights,
                  sum(detections)::BIGINT AS detections, max(max_n) AS most_at_once
           FROM counts GROUP BY pipeline, taxon""",
    ),
}
"""Views, with what their rows are and their queries."""

_COLUMNS: Final = {
    **{
        table: {name: meaning for name, meaning in meanings.items() if name not in LEFT_OUT.get(table, ())}
        for table, meanings in columns.MEANINGS.items()
    },
    "deployments": {one.name: one.meaning for one in flat_columns.DEPLOYMENTS},
}
"""Of each table, its columns with their meanings; deployments are as in `tables`."""


def write(material: Material, out: Path) -> Written:
    """Write the file. Memory does not grow with the rows."""
    counts = {}
    with material.session() as session, _writing(out):
        session.execute(f"ATTACH {quoted(str(out))} AS results (STORAGE_VERSION '{STORAGE}')")
        for table, own in _COLUMNS.items():
            there = material.further(table)
            further = {one: meaning for one, (_, meaning) in columns.FURTHER.get(table, {}).items() if one in there}
            names = {**own, **further}
            kept = ", ".join(f'"{one}"' for one in names)
            source = f"main.{table}"
            if table == "deployments":
                session.register(source := "given_deployments", flat_tables.deployments(material))
            session.execute(f"CREATE TABLE results.{table} AS SELECT {kept} FROM {source}")  # noqa: S608  # ours
            (counts[table],) = session.execute(f"SELECT count(*) FROM results.{table}").fetchone() or (0,)  # noqa: S608
            for name, meaning in names.items():
                session.execute(f'COMMENT ON COLUMN results.{table}."{name}" IS {quoted(meaning)}')
        session.execute("USE results")
        _write_about(session, material)
        for table, rows in TABLES.items():
            session.execute(f"COMMENT ON TABLE {table} IS {quoted(rows)}")
        for view, (rows, query) in VIEWS.items():
            session.execute(f"CREATE VIEW {view} AS {query}")
            session.execute(f"COMMENT ON VIEW {view} IS {quoted(rows)}")
        session.execute("USE memory")
        session.execute("DETACH results")
    return Written(counts={name: counts[name] for name in TABLES if name in counts})


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turn what DuckDB says of the disk of the file into an `OSError`; the rest is of what is read."""
    import duckdb

    try:
        yield
    except duckdb.IOException as error:
        if str(out) not in str(error):
            raise
        # In the end of its last line.
        why = str(error).rstrip().splitlines()[-1].rpartition(": ")[2]
        raise OSError(errno.EIO, why, str(out)) from error


def check(path: Path) -> Checked:
    """Check a file: it opens, has the tables with their columns, and these agree about the nights."""
    import duckdb

    # A file of another program, such as SQLite's, would have an extension for it fetched.
    alone = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    try:
        with duckdb.connect(str(path), read_only=True, config=alone) as session:
            return Checked(
                faults=list(_faults(session))[:MOST_FAULTS], by=["own rules", f"duckdb {duckdb.__version__}"]
            )
    except duckdb.Error as error:
        fault = f"{path} is not a DuckDB file that opens: {str(error).splitlines()[0]}"
        return Checked(faults=[fault], by=[f"duckdb {duckdb.__version__}"])


def _write_about(session: duckdb.DuckDBPyConnection, material: Material) -> None:
    from antenna_orchestration import __version__
    from antenna_orchestration.exports.material import BOXES

    session.execute("CREATE TABLE about (what VARCHAR, value VARCHAR)")
    about = {
        "made_by": f"antenna {__version__}",
        "made_at": material.made_at.isoformat(timespec="seconds"),
        "selection": material.selection.name,
        "jobs": ", ".join(str(one.job_id) for one in material.jobs),
        "complete": str(material.is_complete).lower(),
        "threshold": str(material.selection.threshold),
        "boxes": BOXES,
    }
    session.executemany("INSERT INTO about VALUES (?, ?)", [list(one) for one in about.items()])


def _faults(session: duckdb.DuckDBPyConnection) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for table, column in session.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
    ).fetchall():
        found.setdefault(table, []).append(column)
    if missing := [one for one in (*TABLES, *VIEWS) if one not in found]:
        yield f"it lacks {listed(missing)}"
        return
    for table, names in _COLUMNS.items():
        wanted = [*names, *(one for one in columns.FURTHER.get(table, ()) if one in found[table])]
        if found[table] != wanted:
            different = sorted(set(wanted) ^ set(found[table])) or ["their order"]
            yield f"{table}: its columns are not those of the format: {listed(different)}"
            return
    for fault, query in _RULES.items():
        if rows := session.execute(f"{query} LIMIT {MOST_FAULTS}").fetchall():
            first = ", ".join(map(str, rows[0]))
            yield f"{fault}; {counted(len(rows), 'row')} such as {first}"


_RULES: Final = {
    "observations: observation_id is there once": (
        "SELECT observation_id FROM observations GROUP BY ALL HAVING count(*) > 1 OR observation_id IS NULL"
    ),
    "observations: each is of a photograph": (
        "SELECT observation_id FROM observations ANTI JOIN photographs USING (pipeline, image_id)"
    ),
    "photographs: each is there once for a pipeline": (
        "SELECT pipeline, image_id FROM photographs GROUP BY ALL HAVING count(*) > 1"
    ),
    "nights: photographs are done or failed": "SELECT deployment, night FROM nights WHERE found <> done + failed",
    "nights: found is the number of photographs": (
        "(SELECT pipeline, deployment, night, found FROM nights EXCEPT "
        "SELECT pipeline, deployment, night, count(*) FROM photographs GROUP BY ALL)"
    ),
    "counts: each is of a night": (
        "SELECT c.deployment, c.night, c.taxon FROM counts c ANTI JOIN nights n ON n.pipeline = c.pipeline "
        "AND n.deployment IS NOT DISTINCT FROM c.deployment AND n.night IS NOT DISTINCT FROM c.night"
    ),
}  # fmt: skip
"""What is wrong, with the query that finds it."""
