"""What the Dagster UI's pages cost after 1,000 and 10,000 jobs (`ANTENNA_HISTORY` names other numbers, by commas).

A few real jobs are multiplied by SQL in both databases, and their tables in the lake by hard links: runs, events,
checks, partitions, images. Copies differ from their pattern by the job's number, the run's id and the ids of events and
images; their moments are the pattern's. Then a new job is run, and the UI's own documents are sent to the webserver.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from antenna_orchestration.domain import run_tags
from benchmarks import ui_documents
from benchmarks.figures import Figure, cpu_seconds, stack_processes
from benchmarks.whole_stack import catalog_of, running_stack, worker_beside
from tests.stack.antenna_up import RunningStack, blank_images

PATTERNS: Final = 5
IMAGES: Final = 20
FIRST: Final = 900_001
"""The first pattern's number: one that stands in no event but as the job's number, so that text can be replaced."""

APART: Final = 1_000
"""Between the numbers of a pattern and of its copies, of jobs and of images."""

EVENTS: Final = 10_000
"""The same for the ids of events; the patterns have fewer."""

BLOCK: Final = 100
"""Copies of each pattern that one statement makes."""

# Of each table that names a run or a job, what becomes of its columns in a copy; others stay as they are.
_RUN: Final = "md5(t.run_id || n)::uuid::text"
_JOB: Final = f"t.job_id + n * {APART}"
_IMAGE: Final = f"t.image_id + n * {APART}"
_DAGSTER: Final = {
    "runs": {"run_id": _RUN, "run_body": "text", "partition": "text"},
    "run_tags": {"run_id": _RUN, "value": "text"},
    "event_logs": {"id": "event", "run_id": _RUN, "event": "text", "partition": "text"},
    "asset_event_tags": {"event_id": "event", "value": "text"},
    "asset_check_executions": {
        "run_id": _RUN, "partition": "text", "evaluation_event": "text",
        "evaluation_event_storage_id": "event", "materialization_event_storage_id": "event",
    },
    "dynamic_partitions": {"partition": "text"},
}  # fmt: skip
_CATALOG: Final = {
    "jobs": {"job_id": _JOB, "run_id": _RUN},
    "job_generations": {"job_id": _JOB},
    "captures": {"image_id": _IMAGE, "url": "t.url || '?' || n"},
    "job_images": {"job_id": _JOB, "image_id": _IMAGE},
    "collectors": {"job_id": _JOB, "run_id": _RUN},
    "job_log": {"job_id": _JOB},
    "processed": {"job_id": _JOB, "image_id": _IMAGE},
}


def run() -> list[Figure]:
    """The pages at each number of jobs."""
    sizes = [int(part) for part in os.environ.get("ANTENNA_HISTORY", "1000,10000").split(",")]
    with running_stack(ANTENNA_AUTOSCALE="0", ANTENNA_HISTORY_DAYS="0") as stack, worker_beside(stack):
        images = blank_images(stack.home.parent / "trap", IMAGES)
        with catalog_of(stack) as catalog:
            catalog.execute(SQL("ALTER TABLE jobs ALTER job_id RESTART WITH {}").format(Literal(FIRST)))
        for _ in range(PATTERNS):
            _one_more_job(stack, images)
        made, figures = 0, []
        for size in sizes:
            copies = size // PATTERNS - 1
            _multiply(stack, range(made + 1, copies + 1))
            made = copies
            figures += list(_measured(stack, images, size))
    return figures


def _one_more_job(stack: RunningStack, images: Path) -> float:
    """Submit a job and wait for its run's end; CPU seconds of the stack meanwhile."""
    processes = stack_processes(str(stack.home))
    before = cpu_seconds(processes)
    job = stack.submit(images, "--pipeline", "null", "--reprocess")
    stack.wait_for(job)
    stack.run_over(job)
    return cpu_seconds(processes) - before


def _multiply(stack: RunningStack, numbers: range) -> None:
    began = time.monotonic()
    with _dagster(stack) as dagster, catalog_of(stack) as catalog:
        dagster.execute(
            "CREATE TEMPORARY TABLE patterns AS SELECT DISTINCT run_id, value AS job FROM run_tags "
            "WHERE key = %s AND value = ANY(%s)",
            [run_tags.JOB, [str(number) for number in range(FIRST, FIRST + PATTERNS)]],
        )
        for start in range(numbers.start, numbers.stop, BLOCK):
            some = range(start, min(start + BLOCK, numbers.stop))
            for statement in _copies(dagster, _DAGSTER, some):
                dagster.execute(statement)
            for statement in _copies(catalog, _CATALOG, some):
                catalog.execute(statement)
        dagster.execute("SELECT setval('event_logs_id_seq', (SELECT max(id) FROM event_logs))")
        for connection in (dagster, catalog):
            connection.execute("VACUUM ANALYZE")
    lake = stack.home / "lake"
    for folder in sorted(lake.glob(f"*/job_id={FIRST // APART}*")):
        for number in numbers:
            _link(folder, folder.with_name(f"job_id={int(folder.name.partition('=')[2]) + number * APART}"))
    print(f"{len(numbers) * PATTERNS} jobs were copied in {time.monotonic() - began:.0f} s", flush=True)


def _copies(
    connection: psycopg.Connection[Any], tables: dict[str, dict[str, str]], numbers: range
) -> Iterator[Composable]:
    """A statement per table that copies the patterns' rows, once for each number."""
    for table, changes in tables.items():
        columns = [
            (name, is_generated)
            for name, is_generated in connection.execute(
                "SELECT column_name, is_identity = 'YES' OR coalesce(column_default LIKE 'nextval%%', false) "
                "FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s "
                "ORDER BY ordinal_position",
                [table],
            )
        ]
        kept = [name for name, is_generated in columns if name in changes or not is_generated]
        values = [_value(name, changes.get(name)) for name in kept]
        yield SQL(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {table} t {whose}, "
            "generate_series({first}, {last}) n WHERE {which}"
        ).format(
            table=Identifier(table),
            columns=SQL(", ").join(map(Identifier, kept)),
            values=SQL(", ").join(values),
            whose=SQL(_WHOSE.get(table, _OF_RUN if tables is _DAGSTER else "")),
            first=Literal(numbers.start),
            last=Literal(numbers.stop - 1),
            which=SQL(_which(table, tables)),
        )


_OF_RUN: Final = "JOIN patterns o USING (run_id)"
_WHOSE: Final = {
    "dynamic_partitions": "JOIN patterns o ON t.partition = 'job-' || o.job",
    "asset_event_tags": "JOIN event_logs e ON e.id = t.event_id JOIN patterns o ON o.run_id = e.run_id",
}


def _which(table: str, tables: dict[str, dict[str, str]]) -> str:
    if tables is _DAGSTER:
        return "true"
    return f"t.image_id < {APART}" if table == "captures" else f"t.job_id < {FIRST + PATTERNS}"


def _value(name: str, change: str | None) -> Composable:
    if change is None:
        return SQL("t.{}").format(Identifier(name))
    if change == "event":
        return SQL("t.{} + n * {}").format(Identifier(name), Literal(EVENTS))
    if change == "text":
        return SQL(
            f"replace(replace(t.{{}}, o.job, (o.job::bigint + n * {APART})::text), o.run_id, "
            "md5(o.run_id || n)::uuid::text)"
        ).format(Identifier(name))
    return SQL(change)


def _link(pattern: Path, copy: Path) -> None:
    copy.mkdir()
    for file in pattern.iterdir():
        os.link(file, copy / file.name)


def _measured(stack: RunningStack, images: Path, size: int) -> Iterator[Figure]:
    keys = [node["assetKey"] for node in stack.graphql("{ assetNodes { assetKey { path } } }")["assetNodes"]]
    detections = {"path": ["detections"]}
    copy = {
        "runId": stack.runs("process_job", **{run_tags.JOB: str(FIRST + size // PATTERNS // 2 * APART)})[0]["runId"]
    }
    selector = {"repositoryName": "__repository__", "repositoryLocationName": "antenna"}
    # As the browser of a person has asked before: what the copies changed is not for the next job to pay.
    stack.graphql(ui_documents.document("AssetGraphLiveQuery"), assetKeys=keys)
    yield Figure(f"{size} jobs, one more: CPU of the stack", _one_more_job(stack, images), "s")
    pages: dict[str, tuple[str, dict[str, Any], float | None]] = {
        "lineage after a new job": ("AssetGraphLiveQuery", {"assetKeys": keys}, 1.0),
        "lineage": ("AssetGraphLiveQuery", {"assetKeys": keys}, None),
        "partitions of an asset": ("PartitionHealthQuery", {"assetKey": detections}, 1.0),
        "partitions of process_job": (
            "PartitionsStatusQuery",
            {"partitionSetName": "process_job_partition_set", "repositorySelector": selector},
            1.0,
        ),
        "history of a check": (
            "AssetCheckDetailsQuery",
            {"assetKey": {"path": ["failed_images"]}, "checkName": "failure_rate", "limit": 25},
            0.05,
        ),
        "runs": ("RunsFeedRootQuery", {"limit": 30, "view": "RUNS"}, None),
        "a run": ("RunRootQuery", copy, None),
        "a run's events": ("RunLogsQuery", {**copy, "limit": 1000}, None),
    }
    for name, (query, variables, bound) in pages.items():
        processes = stack_processes(str(stack.home))
        before, began = cpu_seconds(processes), time.perf_counter()
        answer = stack.graphql(ui_documents.document(query), **variables)
        yield Figure(f"{size} jobs, {name}", time.perf_counter() - began, "s", at_most=bound)
        yield Figure(f"… CPU of the stack meanwhile, {size}, {name}", cpu_seconds(processes) - before, "s")
        if name == "lineage":
            _has_all(answer, size)
    for whose, connection in (("Dagster's", _dagster(stack)), ("the catalog's", catalog_of(stack))):
        with connection:
            [bytes_] = connection.execute("SELECT pg_database_size(current_database())").fetchone() or [0]
            _tell_what_is_large(connection, whose, size)
        yield Figure(f"{size} jobs, {whose} database, a job", bytes_ / size / 1e3, "kB")


def _tell_what_is_large(connection: psycopg.Connection[Any], whose: str, size: int) -> None:
    """Print what a job leaves, by table with its indexes, and by kind of event."""
    print(f"{size} jobs, {whose} tables with their indexes, kB a job:")
    for name, table, indexes in connection.execute(
        "SELECT relname, pg_table_size(relid), pg_indexes_size(relid) FROM pg_stat_user_tables "
        "ORDER BY pg_total_relation_size(relid) DESC LIMIT 8"
    ):
        print(f"  {name:<24} {table / size / 1e3:7.1f} {indexes / size / 1e3:7.1f}")
    if whose == "Dagster's":
        print("  its events, as text: a job has so many of a kind, of so many kB each")
        for kind, count, length in connection.execute(
            "SELECT dagster_event_type, count(*), avg(length(event)) FROM event_logs JOIN run_tags USING (run_id) "
            "WHERE key = %s AND value = %s GROUP BY 1 ORDER BY count(*) * avg(length(event)) DESC LIMIT 15",
            [run_tags.JOB, str(FIRST)],
        ):
            print(f"  {kind!s:<32} {count:3} {float(length) / 1e3:7.1f}")


def _has_all(lineage: dict[str, Any], size: int) -> None:
    """See that the UI takes copies for jobs: else it would be quick for nothing."""
    materialized = {
        "/".join(node["assetKey"]["path"]): (node["partitionStats"] or {}).get("numMaterialized")
        for node in lineage["assetNodes"]
    }
    if not materialized["detections"] >= size:
        raise AssertionError(f"of {size} jobs the UI shows detections of {materialized['detections']}")


def _dagster(stack: RunningStack) -> psycopg.Connection[Any]:
    return psycopg.connect(stack.joined()["ANTENNA_DAGSTER_PG_URL"].replace("+psycopg2", ""), autocommit=True)
