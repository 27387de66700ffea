"""Dagster's PostgreSQL storage with a connection pool; named in `dagster.yaml`, so every process of ours loads it.

dagster-postgres connects anew for each statement: 5 ms for a line of `context.log`, and while nothing happens at all,
the polling of daemon and sensors keeps PostgreSQL busy with log-ins.
"""

from __future__ import annotations

from typing import Any

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

KEPT = 2
"""Connections that a process keeps; fifty runs then stay well below PostgreSQL's limit of 200."""
AT_MOST = 20
"""Connections of one process in a burst: the daemon's threads."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's three storages over one pool.

    They have no setting for it, so their engine is replaced: a private name, which a test watches and the range of
    versions in pyproject.toml keeps.
    """

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._run_storage = _RunStorage(postgres_url, should_autocreate_tables=False)
        engine = create_engine(
            postgres_url,
            isolation_level="AUTOCOMMIT",
            poolclass=QueuePool,
            pool_size=KEPT,
            max_overflow=AT_MOST - KEPT,
            pool_recycle=1800,
            # PostgreSQL may have been started again since.
            pool_pre_ping=True,
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> PooledPostgresStorage:
        """Called by Dagster with the configuration in `dagster.yaml`."""
        return cls(pg_url_from_config(config_value), inst_data)


class _RunStorage(PostgresRunStorage):
    def dispose(self) -> None:
        """Close the pool with the instance."""
        super().dispose()
        self._engine.dispose()
