"""Collectors: which run collects a job's results, and when it was last heard of."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from antenna_orchestration import errors
from antenna_orchestration.catalog.database import LOCK_PATIENCE, Database, first_line
from antenna_orchestration.domain.ids import JobId, JobRun

logger = logging.getLogger(__name__)


class Collectors:
    """The collectors of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, job_run: JobRun, *, run_id: str, host: str) -> None:
        """Record which run collects the job; idempotent. From then on the run's heartbeats are the collector's."""
        await self._database.rows("enter_collector", **job_run._asdict(), run_id=run_id, host=host)

    async def leave(self, job_run: JobRun, *, run_id: str, awaits_results: bool = False) -> None:
        """Record that the collector stopped in order before its job was finished.

        With `awaits_results`, because there was nothing to collect: the job needs no collector until there is.
        """
        await self._database.rows("leave_collector", **job_run._asdict(), run_id=run_id, awaits_results=awaits_results)

    @asynccontextmanager
    async def lock(self, job_id: JobId) -> AsyncIterator[None]:
        """Wait until no other collector of this job is at work, for two minutes at most.

        It saves double work; correctness does not depend on it: parts and guarded statements ensure that.
        """
        async with self._database.session() as connection:
            try:
                await connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"collector:{job_id}"])
            except psycopg.errors.LockNotAvailable:
                # Its holder may stand still and be connected all the same.
                logger.warning("job %s: another collector holds the lock for %s s, going on", job_id, LOCK_PATIENCE)
            except psycopg.OperationalError as error:
                raise errors.Unavailable(f"PostgreSQL: {first_line(error)}") from error
            yield
