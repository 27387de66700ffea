"""CPU time of the worker engine per image, with a pipeline that does nothing, on local files of 100 kB.

    python -m benchmarks.worker_overhead [--images 10000] [--size 100000] [--json FILE]

One worker processes one job from a real NATS server. The CPU time is that of the worker and its device process
together, from the first lease to the last result, without start-up. Target: at most 0.3 ms per image.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from benchmarks.figures import Figure
from tests.waiting import eventually
from tests.worker.bench import Bench, open_bench, queue_server
from tests.worker.worker_process import started

TARGET_MS = 0.3
DISTINCT_FILES = 200
WARM_UP = 1000


async def measure(settings: Settings, folder: Path, *, images: int, size: int) -> dict[str, Any]:
    """Process one job with one worker."""
    files = []
    for number in range(min(images, DISTINCT_FILES)):
        path = folder / f"{number:04}.jpg"
        path.write_bytes(os.urandom(size))
        files.append(path.as_uri())
    async with open_bench(settings) as bench:
        with started(settings, folder, WorkerOptions(name="measured")) as process:
            # Warm up: load the null pipeline, and read the files into the page cache. Torch is not imported at all.
            await bench.submit([files[n % len(files)] for n in range(WARM_UP)])
            await _drain(bench, WARM_UP)
            worker = psutil.Process(process.pid)
            [device] = worker.children()
            job = await bench.submit([files[n % len(files)] for n in range(images)], announce=False)
            before = [_cpu(worker), _cpu(device)]
            began = time.perf_counter()
            await bench.announce(job)
            await _drain(bench, WARM_UP + images)
            seconds = time.perf_counter() - began
            after = [_cpu(worker), _cpu(device)]
            memory = [one.memory_info().rss / 2**20 for one in (worker, device)]
        counts = await bench.counts(job)
    (parent, parent_kernel), (child, child_kernel) = (
        (1000 * (sum(end) - sum(start)) / images, 1000 * (end[1] - start[1]) / images)
        for start, end in zip(before, after, strict=True)
    )
    return {
        "images": images,
        "image_bytes": size,
        "seconds": round(seconds, 2),
        "images_per_second": round(images / seconds),
        "cpu_ms_per_image": round(parent + child, 3),
        "cpu_ms_per_image_worker": round(parent, 3),
        "cpu_ms_per_image_worker_in_kernel": round(parent_kernel, 3),
        "cpu_ms_per_image_device_process": round(child, 3),
        "cpu_ms_per_image_device_process_in_kernel": round(child_kernel, 3),
        "memory_mb_worker": round(memory[0]),
        "memory_mb_device_process": round(memory[1]),
        "redelivered": counts.redelivered,
        "target_cpu_ms_per_image": TARGET_MS,
    }


async def _drain(bench: Bench, results: int) -> None:
    """Wait until there are so many results. Polls rarely, because polling costs CPU time as well."""

    async def there() -> bool:
        return await bench.unread_count() >= results

    await eventually(there, description=f"{results} results", timeout=600, poll=0.1)


def _cpu(process: psutil.Process) -> tuple[float, float]:
    times = process.cpu_times()
    return float(times.user), float(times.system)


def run() -> list[Figure]:
    """For the suite."""
    with tempfile.TemporaryDirectory() as folder, queue_server() as server:
        found = asyncio.run(measure(server.settings, Path(folder), images=10_000, size=100_000))
    return [
        Figure("worker, images of 100 kB", found["images_per_second"], "images/s"),
        Figure("worker, CPU per image", found["cpu_ms_per_image"], "ms", at_most=TARGET_MS),
        Figure("worker, redelivered", found["redelivered"], "", at_most=0),
    ]


def main() -> int:
    """Measure, print, and say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, queue_server() as server:
        figures = asyncio.run(measure(server.settings, Path(folder), images=arguments.images, size=arguments.size))
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):>36}  {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures["cpu_ms_per_image"] <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
