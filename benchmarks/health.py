"""How long a health check takes with 10,000 finished and 100 running jobs."""

from __future__ import annotations

import asyncio
import time

import psycopg

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import publish
from antenna_orchestration.upkeep import health
from benchmarks import rig
from benchmarks.figures import Figure

FINISHED = 10_000
RUNNING = 100
IMAGES = 20


def run() -> list[Figure]:
    """Run one check, with nothing to repair."""
    with rig.stores() as running:
        return asyncio.run(_measure(running))


async def _measure(running: EmbeddedStores) -> list[Figure]:
    async with rig.on(running) as services:
        urls = rig.urls(IMAGES)
        pattern = await rig.started_job(services, urls)
        with psycopg.connect(running.settings.database_url) as connection:
            # Copies of one row, because submitting ten thousand jobs would take much longer than the check.
            connection.execute(
                """INSERT INTO jobs (project_id, name, pipeline, config, config_hash, priority, interactive, total,
                       skipped, duplicates, source_kinds, status, launch, created_at, started_at, finished_at)
                   SELECT project_id, name, pipeline, config, config_hash, priority, interactive, total, skipped,
                       duplicates, source_kinds, 'SUCCESS', 1, now(), now(), now()
                   FROM jobs, generate_series(1, %s) WHERE job_id = %s""",
                [FINISHED, pattern.job_id],
            )
        for number in range(RUNNING):
            job = await rig.started_job(services, urls, project=f"p{number}")
            await publish.publish(services, job.job_id)
            await services.catalog.collectors.enter(job.job_run, run_id="bench", host="bench")
        began = time.perf_counter()
        await health.check(services)
        seconds = time.perf_counter() - began
    return [Figure("health check, 10,000 finished and 100 running jobs", seconds, "s", at_most=3.0)]
