"""Fifty HTTP workers at once: how long each call of the contract takes, and what it costs the gateway.

    python -m benchmarks.gateway_clients [--processes 1] [--seconds-per-image 0.125] [--json FILE]

The clients do as the contract says that existing workers do: they ask `/jobs` for work, lease eight tasks at a time
until a job is drained, "infer" for a second, and post the results on a connection of its own. They are threads of this
process, which shares the machine with the gateway and the stores. There are eight jobs of 500 images.

With `--seconds-per-image 0` the clients wait for nothing but the gateway, so its calls queue up: the figures then show
how many it answers, and not how fast.

Target: every image is taken once, and the 95th percentile of every route is at most a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from antenna_orchestration.processing.services import Services
from benchmarks import rig
from benchmarks.figures import Figure, cpu_seconds
from tests.gateway.gateway_process import RunningGateway, job_for_http, running_gateway, token
from tests.gateway.http_worker import HttpWorker, JobItem, Task, working
from tests.waiting import eventually

CLIENTS = 50
JOBS = 8
IMAGES = 500
IMAGE_SECONDS = 0.125
P95_SECONDS = 1.0
ROUTES = ("/jobs", "/tasks/", "/result/")


@dataclass
class TimedWorker(HttpWorker):
    """A worker that notes how long the gateway takes to answer."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def jobs(self) -> list[JobItem]:
        """As the contract has it."""
        with self._timed("/jobs"):
            return super().jobs()

    def lease(self, http: requests.Session, job: int) -> list[Task]:
        """As the contract has it."""
        with self._timed("/tasks/"):
            return super().lease(http, job)

    def post(self, job: int, results: list[dict[str, Any]]) -> bool:
        """As the contract has it."""
        with self._timed("/result/"):
            return super().post(job, results)

    @contextmanager
    def _timed(self, route: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[route].append(time.perf_counter() - began)


async def measure(services: Services, gateway: RunningGateway, *, image_seconds: float) -> dict[str, Any]:
    """Let the clients finish the jobs; percentiles by route, and the gateway's CPU time."""
    for _ in range(JOBS):
        await job_for_http(services, "bench", IMAGES)
    clients = [
        TimedWorker(
            base=gateway.base,
            token=await token(services, "bench"),
            seconds_per_image=image_seconds,
            poll_every=1.0,
        )
        for _ in range(CLIENTS)
    ]
    cpu, began = cpu_seconds([gateway.pid]), time.perf_counter()

    async def is_done() -> bool:
        return sum(len(client.statuses) for client in clients) >= JOBS * IMAGES

    with working(*clients):
        await eventually(is_done, description="all images posted", timeout=600, poll=0.05)
        busy, cpu = time.perf_counter() - began, cpu_seconds([gateway.pid]) - cpu
    statuses = [status for client in clients for status in client.statuses]
    row: dict[str, Any] = {"images_per_s": round(JOBS * IMAGES / busy), "ideal_per_s": _ideal(image_seconds)}
    for route in ROUTES:
        seconds = sorted(second for client in clients for second in client.seconds[route])
        row |= {
            f"{route} calls": len(seconds),
            f"{route} p50_ms": round(seconds[len(seconds) // 2] * 1000, 1),
            f"{route} p95_ms": round(seconds[int(len(seconds) * 0.95)] * 1000, 1),
        }
    calls = sum(row[f"{route} calls"] for route in ROUTES)
    return row | {
        "cpu_ms_per_call": round(cpu * 1000 / calls, 2),
        "not_queued": len(statuses) - statuses.count("queued"),
        "errors": sum(len(client.errors) for client in clients),
    }


def _ideal(image_seconds: float) -> int | None:
    return round(CLIENTS / image_seconds) if image_seconds else None


async def _row(processes: int, image_seconds: float) -> dict[str, Any]:
    with rig.stores() as stores:
        async with rig.on(stores) as services:
            with running_gateway(
                stores,
                ANTENNA_TASK_ACK_WAIT="30",
                ANTENNA_HTTP_LEASE="300",
                ANTENNA_GATEWAY_PROCESSES=str(processes),
            ) as gateway:
                return {"processes": processes} | await measure(services, gateway, image_seconds=image_seconds)


def run() -> list[Figure]:
    """One gateway process and two, for the suite."""
    figures = []
    for processes in (1, 2):
        row = asyncio.run(_row(processes, IMAGE_SECONDS))
        name: Callable[[str], str] = f"{processes} processes: {{}}".format
        for route in ROUTES:
            figures += [
                Figure(name(f"{route} p50"), row[f"{route} p50_ms"], "ms"),
                Figure(name(f"{route} p95"), row[f"{route} p95_ms"], "ms", at_most=P95_SECONDS * 1000),
            ]
        figures += [
            Figure(name("images"), row["images_per_s"], "1/s"),
            Figure(name("CPU per call"), row["cpu_ms_per_call"], "ms"),
            Figure(name("results not taken"), row["not_queued"], at_most=0),
        ]
    return figures


def main() -> int:
    """Measure, print, and say whether it is as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds-per-image", type=float, default=IMAGE_SECONDS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    row = asyncio.run(_row(arguments.processes, arguments.seconds_per_image))
    for name, value in row.items():
        print(f"{name:>20}  {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=2) + "\n")
    slowest = max(row[f"{route} p95_ms"] for route in ROUTES)
    is_met = arguments.seconds_per_image == 0 or slowest <= P95_SECONDS * 1000
    return 0 if is_met and not row["not_queued"] else 1


if __name__ == "__main__":
    sys.exit(main())
