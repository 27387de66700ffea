"""Whether four workers serve a thousand active jobs of twenty images evenly."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from statistics import mean

from nats.aio.msg import Msg

from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from benchmarks import rig
from benchmarks.figures import Figure
from tests.waiting import eventually
from tests.worker.bench import QueuedJob, open_bench
from tests.worker.worker_process import started

JOBS = 1_000
IMAGES = 20
WORKERS = 4


def run() -> list[Figure]:
    """From the first durable result to the last."""
    with tempfile.TemporaryDirectory() as folder, rig.queue_only() as server:
        return asyncio.run(_measure(server.settings, Path(folder)))


async def _measure(settings: Settings, folder: Path) -> list[Figure]:
    picture = folder / "picture.jpg"
    picture.write_bytes(bytes(10_000))
    async with open_bench(settings) as bench:
        jobs: list[QueuedJob] = [await bench.submit([picture.as_uri()] * IMAGES) for _ in range(JOBS)]
        left = {int(job.job): IMAGES for job in jobs}
        ends: dict[int, float] = {}
        first = 0.0

        async def on_result(message: Msg) -> None:
            nonlocal first
            first = first or time.perf_counter()
            job = int(message.subject.split(".")[1])
            left[job] -= 1
            if left[job] == 0:
                ends[job] = time.perf_counter()

        await bench.client.subscribe("results.>", cb=on_result)
        with contextlib.ExitStack() as stack:
            # All jobs exist before the first worker starts, so that the order in which they are served is measured.
            for number in range(WORKERS):
                stack.enter_context(started(settings, folder / str(number), WorkerOptions()))

            async def all_done() -> bool:
                return len(ends) == JOBS

            await eventually(all_done, description="all results", timeout=300, poll=0.1)
    took = [end - first for end in ends.values()]
    return [
        Figure("1,000 jobs of 20 images", JOBS * IMAGES / max(took), "images/s"),
        Figure("1,000 jobs, the last against the mean", max(took) / mean(took), "", at_most=2.0),
    ]
