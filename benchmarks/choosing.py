"""How long capture sets take: made of 1,000,000 known photographs, shown, and submitted again.

Ten deployments, two of them in zones with summer time; a photograph every minute for some seventy nights. All of them
were processed, and something was found on every tenth.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import psutil

from antenna_orchestration.domain.capture_sets import Rule
from antenna_orchestration.domain.nights import nights_named
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import capture_sets
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Submission, submit
from benchmarks import rig
from benchmarks.figures import Figure

PHOTOGRAPHS = 1_000_000
DEPLOYMENTS = 10

_KNOWN = """
    INSERT INTO captures (project_id, deployment_id, url, version, captured_at, stamp)
    SELECT d.project_id, d.deployment_id, 'file:///data/traps/' || d.name || '/' || n || '.jpg', '1-1',
           (t.stamp AT TIME ZONE 'UTC'), t.stamp
    FROM deployments d
    CROSS JOIN generate_series(1, %(each)s) n
    CROSS JOIN LATERAL (SELECT timestamp '2026-04-01' + make_interval(mins => n::integer) AS stamp) t
"""
_DONE = """
    INSERT INTO job_images (job_id, image_id, ordinal, status, detections)
    SELECT (SELECT max(job_id) FROM jobs), image_id, row_number() OVER (), 'done', (image_id %% 10 = 0)::integer
    FROM captures
"""
_PROCESSED = """
    INSERT INTO processed (image_id, algorithm_id, job_id, digest_id)
    SELECT i.image_id, a.algorithm_id, i.job_id, 0
    FROM job_images i CROSS JOIN pipeline_algorithms a WHERE a.slug = 'null' AND i.image_id %% 2 = 0
"""

T = TypeVar("T")


def run() -> list[Figure]:
    """One set by each sampler."""
    with rig.stores() as running:
        return asyncio.run(_measure(running))


async def _measure(running: EmbeddedStores) -> list[Figure]:
    async with rig.on(running) as services:
        await _fill(services)
        before = psutil.Process().memory_info().rss
        figures = []
        for name, rule in {
            "all": Rule(),
            "every 10 minutes": Rule(every=600),
            "every 10th": Rule(nth=10),
            "100 of a night": Rule(per_night=100, seed=1),
            "200 at random": Rule(random=200, seed=1),
            "one deployment, ten nights": Rule(deployments=("trap-1",), nights=nights_named("2026-05-01..2026-05-10")),
            "with detections": Rule(with_detections=True),
            "not processed by null": Rule(not_processed_by="null"),
        }.items():
            slug = name.replace(" ", "-").replace(",", "")
            seconds, made = await _timed(capture_sets.create(services, "season", slug, rule))
            figures.append(Figure(f"set of {PHOTOGRAPHS:,}: {name} ({made.photographs:,})", seconds, "s", at_most=30))
            seconds, _ = await _timed(capture_sets.contents(services, made))
            figures.append(Figure("… shown", seconds, "s"))
        grown = (psutil.Process().memory_info().rss - before) / 2**20
        figures.append(Figure("memory of the command: growth", grown, "MB", at_most=50))
        wanted = Submission(capture_set="every-10-minutes", project="season", pipeline="null")
        seconds, submitted = await _timed(submit(services, wanted))
        figures.append(Figure(f"submit a set of {submitted.total + submitted.skipped:,}", seconds, "s"))
    return figures


async def _fill(services: Services) -> None:
    async with services.catalog.database.transaction() as connection:
        await connection.execute("INSERT INTO projects (slug, name) VALUES ('season', 'season')")
        await connection.execute(
            "INSERT INTO deployments (project_id, name, time_zone) SELECT project_id, 'trap-' || n, "
            "CASE WHEN n <= 2 THEN 'Europe/Berlin' END FROM projects, generate_series(1, %s) n WHERE slug = 'season'",
            [DEPLOYMENTS],
        )
        await connection.execute(_KNOWN, {"each": PHOTOGRAPHS // DEPLOYMENTS})
    await submit(
        services, Submission(sources=("https://example.org/x.jpg",), project="season", pipeline="null", exif="never")
    )
    async with services.catalog.database.transaction() as connection:
        await connection.execute("DELETE FROM job_images")
        await connection.execute("DELETE FROM captures WHERE url LIKE 'http%'")
        await connection.execute(_DONE, {})
        await connection.execute(_PROCESSED, {})
    async with services.catalog.database.transaction() as connection:
        await connection.execute("ANALYZE")


async def _timed(work: Awaitable[T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = await work
    return time.perf_counter() - began, result
