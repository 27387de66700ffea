"""How PostgreSQL runs the statements executed over and over: by index, however many images the catalog holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.migrate import migrate
from antenna_orchestration.embedded.stores import EmbeddedStores

pytestmark = pytest.mark.long

IMAGES_A_JOB = 2_000
BIG_TABLES = {"job_images", "captures", "processed", "job_log", "source_files"}
HOT: dict[str, dict[str, Any]] = {
    "images_to_publish": {"after": 500, "limit": 1_000},
    "images_to_publish_again": {"images": [1_001, 1_002]},
    "pending_images": {"upto": 1_000},
    "count_images": {},
    "count_likely_copies": {"project": "p", "urls": ["http://192.0.2.1/1001"], "versions": ["5-1"]},
    "part_of_images": {},
    "advance_cursor": {"upto": 1_000},
    "reset_images_of_part": {"part": "x"},
    "commit_images": {"outcomes": '[{"image": 1001, "status": "done", "part": "x", "attempts": 1}]'},
    "job_manifest": {"after": 500, "limit": 1_000, "only": None},
    "read_log": {"after": 0, "limit": 100},
    "image_of_job": {"image": 1_001},
    "log_of_image": {"image": 1_001, "actions": ["published"], "limit": 100},
    "newest_log": {"limit": 100},
    "list_sources": {"project": None, "source": None},
    "note_looked": {"sources": [1], "next_looks": [None], "error": "", "least": 15},
    "source_files_to_read": {"most": 200, "again": 3600.0, "source": None},
    "sources_to_submit": {"limit": 20, "held": 3600.0},
    "redate": {},
}


@pytest.fixture(scope="module")
def filled(shared_stores: EmbeddedStores, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """A database of the test's own with so many images, as jobs of two thousand."""
    name = f"plans_{request.param}"
    with psycopg.connect(shared_stores.admin_database_url, autocommit=True) as admin:
        owner = psycopg.conninfo.conninfo_to_dict(shared_stores.settings.database_url)["user"]
        admin.execute(f'CREATE DATABASE {name} OWNER "{owner}"')
    url = shared_stores.settings.database_url.rpartition("/")[0] + f"/{name}"
    migrate(url)
    jobs = request.param // IMAGES_A_JOB
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO projects (slug, name) VALUES ('p', 'p')")
        connection.execute("INSERT INTO pipelines (slug, name, version) VALUES ('null', 'Null', '1')")
        connection.execute(
            "INSERT INTO algorithms (key, version, name, task, labels_sha256) "
            "VALUES ('a', '1', 'A', 'localization', '0')"
        )
        connection.execute("INSERT INTO pipeline_algorithms (slug, position, algorithm_id) VALUES ('null', 0, 1)")
        connection.execute(
            "INSERT INTO captures (project_id, url) SELECT 1, 'http://192.0.2.1/' || n FROM generate_series(1, %s) n",
            [request.param],
        )
        connection.execute(
            "INSERT INTO jobs (project_id, name, pipeline, config_hash, status, total) "
            "SELECT 1, 'j', 'null', '0', 'RUNNING', %s FROM generate_series(1, %s)",
            [IMAGES_A_JOB, jobs],
        )
        connection.execute("INSERT INTO job_generations (job_id, generation) SELECT job_id, 1 FROM jobs")
        connection.execute(
            "INSERT INTO job_images (job_id, image_id, ordinal) "
            "SELECT 1 + (n - 1) / %(size)s, n, 1 + (n - 1) %% %(size)s FROM generate_series(1, %(all)s) n",
            {"size": IMAGES_A_JOB, "all": request.param},
        )
        connection.execute(
            "INSERT INTO processed (image_id, algorithm_id, job_id) SELECT image_id, 1, job_id FROM job_images"
        )
        connection.execute(
            "INSERT INTO job_log (job_id, level, action, message) SELECT 1 + n %% %s, 'INFO', 'a', 'm' "
            "FROM generate_series(1, 20000) n",
            [jobs],
        )
        connection.execute("INSERT INTO deployments (project_id, name) VALUES (1, 'd')")
        connection.execute(
            "INSERT INTO sources (project_id, deployment_id, uri, pipeline, settle_seconds, every_seconds) "
            "SELECT 1, deployment_id, 'file:///a', 'null', 600, 300 FROM deployments, generate_series(1, 20)"
        )
        connection.execute(
            "INSERT INTO source_files (source_id, uri, version, size, state) "
            "SELECT source_id, 'file:///a/' || n, '1-1', 1, 'submitted' FROM sources, generate_series(1, 2000) n"
        )
        connection.execute("VACUUM ANALYZE")
        yield connection
    with psycopg.connect(shared_stores.admin_database_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def scanned(plan: dict[str, Any]) -> set[str]:
    """The tables that a plan reads from end to end."""
    found = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return found.union(*(scanned(child) for child in plan.get("Plans", [])))


def nodes(plan: dict[str, Any]) -> set[str]:
    """What a plan consists of."""
    return {plan["Node Type"]}.union(*(nodes(child) for child in plan.get("Plans", [])))


@pytest.mark.parametrize(
    "filled", [200_000, pytest.param(10_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], indirect=True
)
def test_no_hot_statement_reads_a_whole_table(filled: psycopg.Connection[Any]) -> None:
    for query, parameters in HOT.items():
        cursor = filled.execute(
            "EXPLAIN (FORMAT JSON) " + queries.load(query), {"job": 1, "generation": 1, **parameters}
        )
        row = cursor.fetchone()
        assert row is not None
        assert not scanned(row[0][0]["Plan"]) & BIG_TABLES, f"{query}: {scanned(row[0][0]['Plan'])}"


@pytest.mark.parametrize("filled", [200_000], indirect=True)
def test_a_job_that_no_statistics_know_is_read_in_chunks(filled: psycopg.Connection[Any]) -> None:
    with filled.transaction(force_rollback=True):
        filled.execute(
            "INSERT INTO job_images (job_id, image_id, ordinal) SELECT 1000000, n, n FROM generate_series(1, 50000) n"
        )
        filled.execute(queries.load("in_index_order"))
        wanted = {"job": 1_000_000, "generation": 1, "after": 10_000, "limit": 1_000}
        row = filled.execute("EXPLAIN (FORMAT JSON) " + queries.load("images_to_publish"), wanted).fetchone()
    assert row is not None
    assert "Sort" not in nodes(row[0][0]["Plan"]), row[0]


def rejected(plan: dict[str, Any]) -> int:
    """Rows that a plan read, or pairs of rows that it compared, in vain."""
    own = sum(int(plan.get(f"Rows Removed by {what}", 0)) for what in ("Filter", "Join Filter")) * plan["Actual Loops"]
    return own + sum(rejected(child) for child in plan.get("Plans", []))


HISTORIES = {
    "jobs that run": [],
    "jobs that are over": [
        "UPDATE job_images SET status = 'done' WHERE job_id <= 20",
        "DELETE FROM job_images WHERE job_id > 20",
    ],
    "jobs of one image": ["UPDATE job_images SET job_id = 2000000 + image_id"],
    "one small job": ["DELETE FROM job_images WHERE image_id > 1000", "UPDATE job_images SET status = 'done'"],
    "nothing": ["DELETE FROM job_images"],
}
"""What the catalog's statistics were made of."""


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("filled", [20_000], indirect=True)
def test_images_that_no_statistics_know_are_committed_by_their_key(
    filled: psycopg.Connection[Any], history: str
) -> None:
    fields = {"status": "done", "attempts": 1, "retryable": False, "detections": 0, "classifications": 0, "worker": "w"}
    outcomes = [{"image": image, **fields} for image in range(1, 2_001)]
    with filled.transaction(force_rollback=True):
        for change in HISTORIES[history]:
            filled.execute(change)
        filled.execute("ANALYZE job_images")
        filled.execute(
            "INSERT INTO jobs (job_id, project_id, name, pipeline, config_hash, status, total) "
            "OVERRIDING SYSTEM VALUE VALUES (1000000, 1, 'j', 'null', '0', 'RUNNING', 20000)"
        )
        filled.execute(
            "INSERT INTO job_images (job_id, image_id, ordinal) SELECT 1000000, n, n FROM generate_series(1, 20000) n"
        )
        parameters = {"job": 1_000_000, "generation": 1, "outcomes": json.dumps(outcomes)}
        row = filled.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + queries.load("commit_images"), parameters).fetchone()
    assert row is not None
    assert rejected(row[0][0]["Plan"]) < len(outcomes), row[0]


@pytest.mark.parametrize("filled", [200_000], indirect=True)
def test_a_small_submission_reads_no_whole_table(filled: psycopg.Connection[Any]) -> None:
    with filled.transaction(force_rollback=True):
        filled.execute(
            "CREATE TEMPORARY TABLE submitted (ordinal bigint, url text, captured_at timestamptz, deployment text, "
            "version text, modified_at timestamptz, link text)"
        )
        filled.execute(
            "INSERT INTO submitted (ordinal, url, version) "
            "SELECT n, 'http://192.0.2.1/' || n, '' FROM generate_series(1, 50) n"
        )
        filled.execute("ANALYZE submitted")
        creation = queries.load("select_images")
        select = creation[creation.index("SELECT") :]
        row = filled.execute(
            "EXPLAIN (FORMAT JSON) " + select, {"project": 1, "algorithms": [1], "reprocess": False, "digest": "x"}
        ).fetchone()
    assert row is not None
    assert not scanned(row[0][0]["Plan"]) & BIG_TABLES, row[0]
