"""Result posts over HTTP: ten workers at once, each posting 50 leased results twenty times.

    python -m benchmarks.gateway [--json FILE]

Everything is on one machine: gateway, NATS, Redis, PostgreSQL and the workers, which are threads of this process and
prepare their bodies before they post. A result has 10 detections with 2 classes in the first row, and with 1,000
classes in the others, with scores and logits as existing workers write them; the last row has two gateway processes. A
post is timed from sending it to its response. CPU is that of the gateway's processes, which noise of the machine
changes little.

Target: every post is answered with 200, and the 95th percentile is at most one second; 800 results a second with 1,000
classes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing.services import Services
from benchmarks import rig
from benchmarks.figures import Figure, cpu_seconds
from tests.gateway.gateway_process import RunningGateway, job_for_http, running_gateway, token
from tests.gateway.http_worker import session, success

WORKERS = 10
POSTS = 20
RESULTS = 50
DETECTIONS = 10
P95_SECONDS = 1.0
RESULTS_PER_SECOND = 800
ROWS = ((2, 1), (1_000, 1), (1_000, 2))
"""Classes, and gateway processes."""


class Poster:
    """One worker, which posts results and times the posts."""

    def __init__(self, base: str, secret: str, job: int, *, classes: int, together: threading.Barrier) -> None:
        self._base, self._job, self._classes, self._together = base, job, classes, together
        self._http = session(secret)
        self.seconds: list[float] = []
        self.statuses: list[int] = []
        self.queued = 0

    def run(self) -> None:
        """Post a few results first, so that the gateway knows the worker's speed and leases it enough; then measure.

        All workers post at the same time.
        """
        warm = self._lease(8)
        self._post(self._body(warm))
        # The gateway's reading processes start with the first large post.
        self._together.wait()
        self.seconds.clear()
        self.statuses.clear()
        self.queued = 0
        for _ in range(POSTS):
            body = self._body(self._lease(RESULTS))
            self._together.wait()
            self._post(body)

    def _lease(self, wanted: int) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = []
        while len(tasks) < wanted:
            body = {"batch_size": wanted - len(tasks)}
            answer = self._http.post(f"{self._base}/jobs/{self._job}/tasks/", json=body, timeout=60)
            answer.raise_for_status()
            tasks += answer.json()["tasks"]
        return tasks

    def _body(self, tasks: Sequence[dict[str, Any]]) -> bytes:
        results = [
            {
                "reply_subject": task["reply_subject"],
                "result": success(task["image_id"], detections=DETECTIONS, classes=self._classes),
            }
            for task in tasks
        ]
        return json.dumps({"results": results}).encode()

    def _post(self, body: bytes) -> None:
        began = time.perf_counter()
        answer = self._http.post(
            f"{self._base}/jobs/{self._job}/result/",
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        self.seconds.append(time.perf_counter() - began)
        self.statuses.append(answer.status_code)
        self.queued += answer.json()["results_queued"] if answer.ok else 0


async def measure(services: Services, gateway: RunningGateway, *, classes: int) -> dict[str, Any]:
    """Measure one row of the table."""
    job: Job = await job_for_http(services, "bench", WORKERS * (POSTS * RESULTS + 8))
    together = threading.Barrier(WORKERS)
    posters = [
        Poster(gateway.base, await token(services, "bench"), job.job_id, classes=classes, together=together)
        for _ in range(WORKERS)
    ]
    loop = asyncio.get_running_loop()
    cpu = cpu_seconds([gateway.pid])
    with ThreadPoolExecutor(WORKERS) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, poster.run) for poster in posters))
    cpu = cpu_seconds([gateway.pid]) - cpu
    seconds = sorted(second for poster in posters for second in poster.seconds)
    statuses = [status for poster in posters for status in poster.statuses]
    # All workers start a post together, so a round takes as long as its slowest post.
    busy = sum(max(rounds) for rounds in zip(*(poster.seconds for poster in posters), strict=True))
    queued = sum(poster.queued for poster in posters)
    body = len(posters[0]._body([{"reply_subject": "x" * 200, "image_id": "1"}]))
    return {
        "classes": classes,
        "posts": len(seconds),
        "not_200": sum(status != requests.codes.ok for status in statuses),
        "not_queued": WORKERS * POSTS * RESULTS - queued,
        "mb_per_post": round(body * RESULTS / 2**20, 2),
        "p50_s": round(seconds[len(seconds) // 2], 3),
        "p95_s": round(seconds[int(len(seconds) * 0.95)], 3),
        "results_per_second": round(queued / busy),
        "cpu_ms_per_result": round(cpu * 1000 / queued, 2),
    }


async def _rows() -> list[dict[str, Any]]:
    rows = []
    with rig.stores() as stores:
        async with rig.on(stores) as services:
            for classes, processes in ROWS:
                with running_gateway(
                    stores,
                    ANTENNA_TASK_ACK_WAIT="30",
                    ANTENNA_HTTP_LEASE="300",
                    ANTENNA_GATEWAY_PROCESSES=str(processes),
                ) as gateway:
                    row = await measure(services, gateway, classes=classes)
                    rows.append({"processes": processes} | row)
    return rows


def run() -> list[Figure]:
    """All rows, for the suite."""
    figures = []
    for row in asyncio.run(_rows()):
        name = f"{row['classes']} classes, {row['processes']} processes"
        wanted = RESULTS_PER_SECOND if row["processes"] > 1 else None
        figures += [
            Figure(f"{name}: p95", row["p95_s"], "s", at_most=P95_SECONDS),
            Figure(f"{name}: results", row["results_per_second"], "1/s", at_least=wanted),
            Figure(f"{name}: CPU per result", row["cpu_ms_per_result"], "ms"),
            Figure(f"{name}: posts not answered 200", row["not_200"], at_most=0),
            Figure(f"{name}: results not taken", row["not_queued"], at_most=0),
        ]
    return figures


def main() -> int:
    """Measure, print, and say whether it is as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = asyncio.run(_rows())
    print("  ".join(f"{name:>18}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value:>18}" for value in row.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    is_met = all(row["p95_s"] <= P95_SECONDS and not row["not_200"] and not row["not_queued"] for row in rows)
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
