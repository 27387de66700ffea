"""Result posts over HTTP: ten workers at once, each posting 50 leased results twenty times.

    python -m benchmarks.gateway [--json FILE]

Everything is on one machine: gateway, NATS, Redis, PostgreSQL and the workers, which are threads of this process. They
make their bodies before they post, and send them as bytes. A result has 10 detections with 2 classes in the first row,
and with 1,000 classes in the others, with scores and logits as existing workers write them; the ten best are kept with
their labels. The last row has two gateway processes. A post is timed from sending it to its response.

CPU is counted while posts are under way, per result: of the gateway with its reading processes, of the stores, and of
the workers, which real ones would spend on other machines. Noise of the machine changes it little. Results a second
that two cores allow follow from it: all of the CPU but that of the workers.

Target: every post is answered with 200, and the 95th percentile is at most one second; 800 results a second with 1,000
classes on two cores, and 1,000 with 2 classes.
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
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import requests

from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.dispatch.register import SETTINGS
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing.services import Services
from benchmarks import rig
from benchmarks.figures import Figure, cpu_seconds
from tests.gateway.gateway_process import RunningGateway, job_for_http, running_gateway, token
from tests.gateway.http_worker import BINARY, SPECIES, SPECIES_LABELS, session, success

WORKERS = 10
POSTS = 20
RESULTS = 50
DETECTIONS = 10
P95_SECONDS = 1.0
RESULTS_PER_SECOND = {2: 1_000, 1_000: 800}
"""By the number of classes."""
ROWS = ((2, 1), (1_000, 1), (1_000, 2))
"""Classes, and gateway processes."""


IMAGE = "@image@"
"""Stands for an image's id in the result that all bodies are made from."""


class Meter:
    """CPU and time that passed while posts were under way, over all rounds."""

    def __init__(self, gateway: int) -> None:
        self._gateway = gateway
        self._before: dict[str, float] = {}
        self.spent = dict.fromkeys(self._now(), 0.0)

    def begin(self) -> None:
        """Call when a round begins."""
        self._before = self._now()

    def end(self) -> None:
        """Call when all posts of a round are answered."""
        for name, value in self._now().items():
            self.spent[name] += value - self._before[name]

    def _now(self) -> dict[str, float]:
        own, gateway = psutil.Process(), cpu_seconds([self._gateway])
        workers = sum(own.cpu_times()[:2])
        children = sum(own.cpu_times()[2:4])
        return {
            "wall": time.perf_counter(),
            "gateway": gateway,
            "stores": cpu_seconds([own.pid]) - workers - children - gateway,
            "workers": workers,
        }


class Poster:
    """One worker, which posts results and times the posts."""

    def __init__(self, gateway: RunningGateway, secret: str, job: int, *, classes: int) -> None:
        self._gateway, self._job = gateway, job
        self._http = session(secret)
        self._template = json.dumps(success(IMAGE, detections=DETECTIONS, classes=classes)).encode()
        self._connection = HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        self._headers = {"Authorization": f"Token {secret}", "Content-Type": "application/json"}
        self.seconds: list[float] = []
        self.statuses: list[int] = []
        self.queued = 0
        self.largest = 0

    def run(self, begin: threading.Barrier, end: threading.Barrier) -> None:
        """Post a few results first, so that the gateway knows the worker's speed and leases it enough; then measure.

        All workers post at the same time.
        """
        # The gateway's reading processes start with the first large post.
        for wanted in [8, *[RESULTS] * POSTS]:
            body = self._body(self._lease(wanted))
            begin.wait()
            self._post(body)
            end.wait()

    def _lease(self, wanted: int) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = []
        while len(tasks) < wanted:
            body = {"batch_size": wanted - len(tasks)}
            answer = self._http.post(f"{self._gateway.base}/jobs/{self._job}/tasks/", json=body, timeout=60)
            answer.raise_for_status()
            tasks += answer.json()["tasks"]
        return tasks

    def _body(self, tasks: Sequence[dict[str, Any]]) -> bytes:
        # Not encoded anew: that would take seconds for each post.
        results = [
            b'{"reply_subject": %s, "result": %s}'
            % (
                json.dumps(task["reply_subject"]).encode(),
                self._template.replace(IMAGE.encode(), task["image_id"].encode()),
            )
            for task in tasks
        ]
        return b'{"results": [' + b", ".join(results) + b"]}"

    def _post(self, body: bytes) -> None:
        began = time.perf_counter()
        self._connection.request("POST", f"/api/v2/jobs/{self._job}/result/", body, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        self.seconds.append(time.perf_counter() - began)
        self.statuses.append(answer.status)
        self.queued += json.loads(text)["results_queued"] if answer.status == requests.codes.ok else 0
        self.largest = max(self.largest, len(body))


def _pipeline(slug: str, classes: int) -> PipelineRow:
    """The pipeline of the results, with the labels of its classes, as workers register it."""
    labels = {
        BINARY["key"]: ["moth", "nonmoth"],
        SPECIES["key"]: [SPECIES_LABELS[0], *(f"Species number {number}" for number in range(1, classes))],
    }
    algorithms = [
        AlgorithmRow(
            key=key, version=str(classes), name=key, task="classification", description="", uri=None, labels=found
        )
        for key, found in labels.items()
    ]
    return PipelineRow(
        slug=slug, name=slug, version="1", description="", default_config=SETTINGS, algorithms=algorithms
    )


async def measure(services: Services, gateway: RunningGateway, *, classes: int) -> dict[str, Any]:
    """Measure one row of the table."""
    slug = f"classes_{classes}"
    await services.catalog.pipelines.register(_pipeline(slug, classes))
    job: Job = await job_for_http(services, "bench", WORKERS * (POSTS * RESULTS + 8), slug=slug, register=False)
    posters = [Poster(gateway, await token(services, "bench"), job.job_id, classes=classes) for _ in range(WORKERS)]
    meter = Meter(gateway.pid)
    begin, end = threading.Barrier(WORKERS, meter.begin), threading.Barrier(WORKERS, meter.end)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(WORKERS) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, poster.run, begin, end) for poster in posters))
    seconds = sorted(second for poster in posters for second in poster.seconds[1:])
    statuses = [status for poster in posters for status in poster.statuses]
    queued = sum(poster.queued for poster in posters)
    cpu = {name: meter.spent[name] * 1000 / queued for name in ("gateway", "stores", "workers")}
    return {
        "classes": classes,
        "posts": len(seconds),
        "not_200": sum(status != requests.codes.ok for status in statuses),
        "not_queued": WORKERS * (POSTS * RESULTS + 8) - queued,
        "mb_per_post": round(max(poster.largest for poster in posters) / 2**20, 2),
        "p50_s": round(seconds[len(seconds) // 2], 3),
        "p95_s": round(seconds[int(len(seconds) * 0.95)], 3),
        # A round takes as long as its slowest post.
        "results_per_second": round(queued / meter.spent["wall"]),
        **{f"{name}_cpu_ms": round(value, 2) for name, value in cpu.items()},
        "two_cores_allow": round(2000 / (cpu["gateway"] + cpu["stores"])),
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
        wanted = RESULTS_PER_SECOND[row["classes"]]
        figures += [
            Figure(f"{name}: p95", row["p95_s"], "s", at_most=P95_SECONDS),
            Figure(f"{name}: results", row["results_per_second"], "1/s", at_least=wanted),
            Figure(f"{name}: results that two cores allow", row["two_cores_allow"], "1/s", at_least=wanted),
            Figure(f"{name}: CPU of the gateway per result", row["gateway_cpu_ms"], "ms"),
            Figure(f"{name}: CPU of the stores per result", row["stores_cpu_ms"], "ms"),
            Figure(f"{name}: CPU of the workers per result", row["workers_cpu_ms"], "ms"),
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
    is_met = all(
        row["p95_s"] <= P95_SECONDS
        and row["results_per_second"] >= RESULTS_PER_SECOND[row["classes"]]
        and not row["not_200"]
        and not row["not_queued"]
        for row in rows
    )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
