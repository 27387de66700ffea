"""A migration keeps what the catalog has, and says of it what it can know."""

import secrets
from collections.abc import Iterator

import alembic.command
import alembic.config
import psycopg
import pytest
import sqlalchemy

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
INSERT INTO job_images (job_id, image_id, ordinal) VALUES (1, 1, 1), (1, 2, 2), (1, 3, 3), (2, 4, 1);
"""


@pytest.fixture
def empty_catalog(shared_stores: EmbeddedStores) -> Iterator[str]:
    """The URL of a schema without tables."""
    url, name = shared_stores.settings.database_url, f"migrations_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[call-overload]
    yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {name} CASCADE")  # type: ignore[call-overload]


def test_jobs_from_before_have_their_deployments_and_pipelines_their_projects(empty_catalog: str) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    engine = sqlalchemy.create_engine(empty_catalog.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0005")
        connection.commit()
    engine.dispose()
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
