"""What the sensor `season_nights` costs each minute: one statement over all finished jobs."""

from __future__ import annotations

import asyncio
import statistics
import time

from antenna_orchestration.embedded.stores import EmbeddedStores
from benchmarks import rig
from benchmarks.figures import Figure

JOBS = 10_000
PROJECTS = 10
TIMES = 20

BOUND = 600
"""Milliseconds: a hundredth of the minute."""

_JOBS = """
    INSERT INTO jobs (project_id, name, pipeline, pipeline_version, status, total, config_hash, finished_at)
    SELECT p.project_id, 'job ' || n, 'null', '0', 'SUCCESS', 1, '', now()
    FROM projects p CROSS JOIN generate_series(1, %(each)s) n WHERE p.slug LIKE 'season-%%'
"""
_GENERATIONS = """
    INSERT INTO job_generations (job_id, generation, compacted_at) SELECT job_id, generation, now() FROM jobs
    ON CONFLICT (job_id, generation) DO UPDATE SET compacted_at = now()
"""


def run() -> list[Figure]:
    """Ten projects, 1,000 jobs each."""
    with rig.stores() as running:
        return asyncio.run(_measure(running))


async def _measure(running: EmbeddedStores) -> list[Figure]:
    async with rig.on(running) as services:
        async with services.catalog.database.transaction() as connection:
            await connection.execute(
                "INSERT INTO projects (slug, name) SELECT 'season-' || n, 'season' FROM generate_series(1, %s) n",
                [PROJECTS],
            )
            await connection.execute(
                "INSERT INTO pipelines (slug, name, version, description) VALUES ('null', 'null', '0', '') "
                "ON CONFLICT DO NOTHING"
            )
            await connection.execute(_JOBS, {"each": JOBS // PROJECTS})
            await connection.execute(_GENERATIONS)
        async with services.catalog.database.transaction() as connection:
            await connection.execute("ANALYZE")
        took = []
        for _ in range(TIMES):
            began = time.perf_counter()
            marks = await services.catalog.seasons.marks()
            took.append((time.perf_counter() - began) * 1000)
        assert len(marks) == PROJECTS, marks
        return [Figure(f"what seasons are made of: {JOBS:,} jobs", statistics.median(took), "ms", at_most=BOUND)]
