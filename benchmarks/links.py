"""What a worker does behind a long line, beside a worker on the orchestrator's network: images per second.

    python -m benchmarks links

The line is one between network namespaces, with 150 ms for a round trip and a loss of 1 % each way; photographs of 100
kB come over HTTP from a server that sends with cubic, the device takes 10 ms for an image. `at a time` is the bound of
the worker, ANTENNA_LOAD_CONCURRENCY. One part has the images at the worker's end, so that only the queue is far. Each
figure is that of the middle of a job, without start-up. Needs root.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from antenna_orchestration.settings import load
from benchmarks.figures import Figure
from tests.engines.bad_link import bad_link, why_not
from tests.engines.docker_nats import nats_on
from tests.engines.image_host import image_host
from tests.waiting import eventually
from tests.worker.bench import Bench, open_bench
from tests.worker.worker_process import started

SIZE = 100_000
DELAY_MS = 10
FIRST, LAST = 0.4, 0.9
"""Shares of a job's images between which it is measured: by then as much is loaded at a time as will be."""

FAR = {1: 60, 16: 1000, 128: 4000}
"""Loads at a time, and images of the job."""


def run() -> list[Figure]:
    """Near, then far, in one sitting."""
    if reason := why_not():
        raise SystemExit(f"links: {reason}")
    with bad_link(round_trip_ms=150, loss_percent=1) as link, image_host(link.address, size=SIZE) as host:
        near = _measured(link.address, (), host.uris(2000), 128)
        figures = [Figure("near", near, "images/s")]
        for at_a_time, images in FAR.items():
            far = _measured(link.address, link.there, host.uris(images), at_a_time)
            name = f"far, at most {at_a_time} at a time"
            figures += [Figure(name, far, "images/s"), Figure(f"{name}, share of near", far / near)]
        with tempfile.TemporaryDirectory() as folder:
            files = _files(Path(folder), 4000)
            local = _measured(link.address, (), files, 128, delay_ms=0)
            queue_far = _measured(link.address, link.there, files, 128, delay_ms=0)
        figures += [
            Figure("images here, queue near", local, "images/s"),
            Figure("images here, queue far", queue_far, "images/s"),
            Figure("images here, queue far, share of near", queue_far / local),
        ]
    return figures


def _files(folder: Path, count: int) -> list[str]:
    paths = [folder / f"{number}.jpg" for number in range(200)]
    for path in paths:
        path.write_bytes(os.urandom(SIZE))
    return [paths[number % len(paths)].as_uri() for number in range(count)]


def _measured(
    address: str, there: tuple[str, ...], uris: list[str], at_a_time: int, *, delay_ms: int = DELAY_MS
) -> float:
    with tempfile.TemporaryDirectory() as folder, nats_on(address) as urls:
        settings = load(
            home=Path(folder) / ".antenna",
            **urls,
            device="cpu",
            worker_threads=1,
            allow_private_hosts=True,
            load_concurrency=at_a_time,
        )

        async def measure() -> float:
            async with open_bench(settings) as bench:
                with started(settings, Path(folder), prefix=there):
                    await bench.submit(uris, config={"delay_ms": delay_ms})
                    return await _rate(bench, len(uris))

        return asyncio.run(measure())


async def _rate(bench: Bench, images: int) -> float:
    began, at_first = await _reached(bench, int(images * FIRST))
    ended, at_last = await _reached(bench, int(images * LAST))
    return (at_last - at_first) / (ended - began)


async def _reached(bench: Bench, results: int) -> tuple[float, int]:
    """When there were so many results, and how many there were."""
    found = 0

    async def there() -> bool:
        nonlocal found
        found = await bench.unread_count()
        return found >= results

    await eventually(there, description=f"{results} results", timeout=600, poll=0.05)
    return time.perf_counter(), found
