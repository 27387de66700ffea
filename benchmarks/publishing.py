"""Speed and memory of `processing.publish`, which publishes a job's tasks from the catalog."""

from __future__ import annotations

import asyncio
import time

import psutil

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import publish
from benchmarks import rig
from benchmarks.figures import Figure

IMAGES = 1_000_000


def run() -> list[Figure]:
    """Publish one job of a million images."""
    with rig.stores() as running:
        return asyncio.run(_measure(running))


async def _measure(running: EmbeddedStores) -> list[Figure]:
    async with rig.on(running) as services:
        job = await rig.started_job(services, rig.urls(IMAGES))
        # Publish a first chunk, so that imports and connections do not count as the publisher's memory.
        await publish.publish(services, job.job_id, limit=publish.AT_SUBMIT)
        before, most = _memory_mb(), 0.0

        def on_chunk(_: int) -> None:
            nonlocal most
            most = max(most, _memory_mb())

        began = time.perf_counter()
        published = await publish.publish(services, job.job_id, on_chunk=on_chunk)
        seconds = time.perf_counter() - began
    if published.stored != IMAGES - publish.AT_SUBMIT:
        raise AssertionError(f"published {published}")
    return [
        Figure("publish", published.stored / seconds, "tasks/s", at_least=30_000),
        Figure("publish, memory above its start", most - before, "MB", at_most=100),
    ]


def _memory_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20
