"""Lists of jobs after a year: a page of the gateway's list, and what `antenna jobs list` asks, among 50,000 jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg

from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from benchmarks import rig
from benchmarks.figures import Figure, cpu_seconds

JOBS: Final = 50_000
ASKED: Final = 50
"""Times that each list is read."""

PAGE: Final[dict[str, Any]] = {"projects": None, "cutoff_hours": 24, "limit": 10}


def run() -> list[Figure]:
    """Read each list some times."""
    with rig.stores() as running:
        return asyncio.run(_measure(running))


async def _measure(running: EmbeddedStores) -> list[Figure]:
    async with rig.on(running) as services:
        pattern = await rig.started_job(services, rig.urls(5))
        with psycopg.connect(running.settings.database_url, autocommit=True) as connection:
            # Copies of one row, a fiftieth of them failed: jobs that were submitted have the same columns.
            connection.execute(
                """INSERT INTO jobs (project_id, name, pipeline, config, config_hash, priority, interactive, total,
                       skipped, duplicates, source_kinds, status, launch, created_at, started_at, finished_at)
                   SELECT project_id, name, pipeline, config, config_hash, priority, interactive, total, skipped,
                       duplicates, source_kinds, CASE WHEN n %% 50 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END, 1,
                       at, at, at
                   FROM jobs, generate_series(1, %s) n, LATERAL (SELECT now() - n * interval '10 minutes' AS at) t
                   WHERE job_id = %s""",
                [JOBS, pattern.job_id],
            )
            connection.execute(
                """INSERT INTO job_generations (job_id, generation, epoch, published_upto)
                   SELECT job_id, 1, 'x', 5 FROM jobs ON CONFLICT DO NOTHING"""
            )
            connection.execute("VACUUM ANALYZE jobs, job_generations")
        jobs = services.catalog.jobs
        lists: dict[str, Callable[[], Awaitable[object]]] = {
            "a page of the gateway's list": lambda: jobs.page(**PAGE),
            "the same, the oldest first": lambda: jobs.page(**PAGE | {"oldest_first": True}),
            "a page of those under way": lambda: jobs.page(**PAGE | {"statuses": [JobStatus.RUNNING]}),
            "what antenna jobs list asks": lambda: jobs.list(limit=20),
        }
        return [
            Figure(f"50,000 jobs, {name}, CPU", await _cpu(running, read), "ms", at_most=20)
            for name, read in lists.items()
        ]


async def _cpu(running: EmbeddedStores, read: Callable[[], Awaitable[object]]) -> float:
    """CPU time of one reading in ms, that of PostgreSQL included."""
    server = [running.pid("postgres")]
    before = time.process_time() + cpu_seconds(server)
    for _ in range(ASKED):
        await read()
    return 1000 * (time.process_time() + cpu_seconds(server) - before) / ASKED
