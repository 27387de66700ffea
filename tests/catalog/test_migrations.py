"""A migration keeps what the catalog has, and says of it what it can know."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import alembic.command
import alembic.config
import psycopg
import pytest
import sqlalchemy

from antenna_orchestration import errors
from antenna_orchestration.catalog import migrate
from antenna_orchestration.embedded.stores import EmbeddedStores

BEFORE = """
INSERT INTO projects (slug, name) VALUES ('a', 'a'), ('b', 'b');
INSERT INTO deployments (project_id, name) VALUES (1, 'pond'), (1, 'forest'), (2, 'pond');
INSERT INTO captures (project_id, deployment_id, url) VALUES (1, 1, 'u1'), (1, 2, 'u2'), (1, NULL, 'u3'), (2, 3, 'u4');
INSERT INTO pipelines (slug, name, version) VALUES ('own', 'own', '1'), ('installed', 'installed', '1');
INSERT INTO tokens (sha256, fingerprint, role) VALUES ('x', 'x', 'worker');
INSERT INTO workers (name, kind, token_id) VALUES ('w', 'http', 1);
INSERT INTO project_pipelines (project_id, slug, worker_id) VALUES (1, 'own', 1);
INSERT INTO jobs (project_id, name, pipeline, config_hash, total)
VALUES (1, 'one', 'own', '', 3), (2, 'two', 'installed', '', 1), (2, 'none', 'installed', '', 0);
INSERT INTO algorithms (key, version, name, task, labels_sha256) VALUES ('a', '1', 'a', 'localization', '');
INSERT INTO pipeline_algorithms (slug, position, algorithm_id) VALUES ('own', 0, 1);
INSERT INTO job_generations (job_id, generation) VALUES (1, 1), (2, 1);
UPDATE jobs SET status = 'SUCCESS' WHERE job_id = 2;
INSERT INTO processed (image_id, algorithm_id, job_id) VALUES (1, 1, 1);
INSERT INTO job_images (job_id, image_id, ordinal) VALUES (1, 1, 1), (1, 2, 2), (1, 3, 3), (2, 4, 1);
"""


@pytest.fixture
def empty_catalog(shared_stores: EmbeddedStores) -> Iterator[str]:
    """The URL of a database without tables: an index that is built concurrently waits for all statements of its own."""
    url, name = shared_stores.settings.database_url, f"migrations_{secrets.token_hex(4)}"
    owner = psycopg.conninfo.conninfo_to_dict(url)["user"]
    with psycopg.connect(shared_stores.admin_database_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE {name} OWNER "{owner}"')  # type: ignore[call-overload]
    yield url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(shared_stores.admin_database_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


def upgraded(url: str, revision: str) -> None:
    """Migrate as far as an earlier release did."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)
        connection.commit()
    engine.dispose()


def test_jobs_from_before_have_their_deployments_and_pipelines_their_projects(empty_catalog: str) -> None:
    upgraded(empty_catalog, "0005")
    with psycopg.connect(empty_catalog) as catalog:
        catalog.execute(BEFORE)
    migrate.migrate(empty_catalog)
    with psycopg.connect(empty_catalog) as catalog:
        jobs = catalog.execute("SELECT deployments, created_by FROM jobs ORDER BY job_id").fetchall()
        assert jobs == [([1, 2], None), ([3], None), ([], None)]
        # B3: their nights were cut at noon UTC. B4: nobody wrote down which version it was.
        zones = catalog.execute("SELECT DISTINCT time_zone, pipeline_version FROM jobs").fetchall()
        assert zones == [("UTC", None)]
        pipelines = catalog.execute("SELECT slug, is_public FROM pipelines ORDER BY slug").fetchall()
        assert pipelines == [("installed", True), ("own", False)]
        # A2, C1: nobody knows the versions of captures from before; jobs under way keep the pipeline that they have.
        captures = catalog.execute("SELECT version, count(*) FROM captures GROUP BY version").fetchall()
        assert captures == [("", 4)]
        terms = catalog.execute("SELECT pipeline_version, algorithms FROM job_generations ORDER BY job_id").fetchall()
        assert terms == [("1", [1]), (None, None)]
        # Nobody knows what those algorithms were made of.
        assert catalog.execute("SELECT digest FROM job_generations").fetchall() == [(None,), (None,)]
        assert catalog.execute("SELECT * FROM processed").fetchall() == [(1, 1, 1, 0)]
        with pytest.raises(psycopg.errors.UniqueViolation), catalog.transaction():
            catalog.execute("INSERT INTO captures (project_id, url) VALUES (1, 'u1')")
        catalog.execute("INSERT INTO captures (project_id, url, version) VALUES (1, 'u1', 'next card')")


def test_a_migration_that_was_interrupted_begins_again(empty_catalog: str) -> None:
    """A2: building the index may be interrupted, which leaves one behind that is not valid."""
    upgraded(empty_catalog, "0008")
    with psycopg.connect(empty_catalog, autocommit=True) as catalog:
        catalog.execute("CREATE UNIQUE INDEX captures_identity ON captures (project_id)")
    migrate.migrate(empty_catalog)
    with psycopg.connect(empty_catalog) as catalog:
        rows = catalog.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'captures' ORDER BY 1").fetchall()
    assert len(rows) == 2 and any("(project_id, url, version)" in row[0] for row in rows)


def test_tables_that_are_not_ours_are_told_in_one_line(empty_catalog: str) -> None:
    upgraded(empty_catalog, "0005")
    with psycopg.connect(empty_catalog) as connection:
        connection.execute("ALTER TABLE jobs ADD COLUMN created_by text")
    with pytest.raises(errors.Conflict, match='cannot be brought up to date: column "created_by" of relation') as told:
        migrate.migrate(empty_catalog)
    assert "\n" not in str(told.value) and "`antenna restore`" in str(told.value)


def test_processes_that_start_together_migrate_once(empty_catalog: str) -> None:
    """A2: one that waited inside PostgreSQL would have been waited for by the index that is built."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate.migrate, [empty_catalog] * 4))
    with psycopg.connect(empty_catalog) as catalog:
        assert catalog.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
