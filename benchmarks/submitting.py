"""How long it takes to submit 100,000 images from a list, and how soon after the commit a task can be leased."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import publish, submit
from antenna_orchestration.queue.leasing import Leaser
from benchmarks import rig
from benchmarks.figures import Figure

IMAGES = 100_000


def run() -> list[Figure]:
    """Submit the first list of a project, so that every capture is new; then publish a job that was committed."""
    with rig.stores() as running:
        return asyncio.run(_measure(running))


async def _measure(running: EmbeddedStores) -> list[Figure]:
    async with rig.on(running) as services:
        # A first submission, so that one-time imports do not count.
        await submit.submit(services, submit.Submission(sources=("http://images.invalid/a.jpg",), pipeline="null"))
        with tempfile.TemporaryDirectory() as folder:
            listing = Path(folder) / "night.txt"
            listing.write_text("\n".join(rig.urls(IMAGES)))
            began = time.perf_counter()
            submitted = await submit.submit(
                services, submit.Submission(sources=(str(listing),), pipeline="null", project="season")
            )
            seconds = time.perf_counter() - began
        if submitted.total != IMAGES:
            raise AssertionError(f"submitted {submitted}")
        job = await rig.queued_job(services, rig.urls(IMAGES, site="other"), project="other")
        began = time.perf_counter()
        await publish.publish_first(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)
        async with Leaser(services.connection, ack_wait=30.0) as leaser:
            if job.epoch is None or not await leaser.lease(job.job_run, job.epoch, 1, wait=5.0):
                raise AssertionError("nothing to lease")
        leasable = time.perf_counter() - began
    return [
        Figure("submit 100,000 from a list", seconds, "s", at_most=2.0),
        Figure("commit to first lease", leasable, "s", at_most=0.3),
    ]
