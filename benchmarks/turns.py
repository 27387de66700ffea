"""What turns cost unmodified HTTP workers: six jobs at once, four workers, 50 ms of simulated inference per image.

    python -m benchmarks.turns [--loading SECONDS] [--json FILE]

Two jobs each of 10, 100 and 500 images are there when four workers, written from the contract alone, begin. They run
once with turns, and once draining: then their jobs are found by others, so the gateway ends no turn of theirs, as it
did before there were turns. A job's time runs from its first image to its last durable result, and is compared with
processor sharing as in `benchmarks.fairness`. `--loading` is how long a worker loads models for each list of tasks that
it begins.

Expected: a makespan within 15 % of total work / workers and at most 5 % longer than draining, no job later than 2.5
times its fair share, no redelivery.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from antenna_orchestration.processing.services import Services
from benchmarks import rig
from benchmarks.fairness import IMAGE_SECONDS, JOBS, WORKERS, fair_finishes
from benchmarks.figures import Figure
from tests.gateway.gateway_process import RunningGateway, job_for_http, running_gateway, token
from tests.gateway.http_worker import HttpWorker, JobItem, Task, working
from tests.waiting import wait_until

OF_IDEAL = 1.15
OF_DRAINING = 1.05
OF_SHARE = 2.5


@dataclass
class TimedWorker(HttpWorker):
    """One worker, which notes when images are begun and when their results are taken."""

    began: dict[str, float] = field(default_factory=dict)
    taken: dict[str, float] = field(default_factory=dict)
    # Finds jobs in its place; None for itself.
    scout: HttpWorker | None = None
    loading: float = 0.0

    def jobs(self) -> list[JobItem]:
        """The jobs to work on."""
        return self.scout.jobs() if self.scout is not None else super().jobs()

    def process(self, job: JobItem) -> bool:
        """Load models, and work on the job."""
        self.stopping.wait(self.loading)
        return super().process(job)

    def infer(self, http: requests.Session, task: Task) -> dict[str, Any]:
        """One image."""
        self.began[task.image_id] = time.perf_counter()
        return super().infer(http, task)

    def post(self, job: int, results: list[dict[str, Any]]) -> bool:
        """Results; `success` names the image as its source."""
        done = super().post(job, results)
        for one in results:
            self.taken[one["result"]["source_images"][0]["id"]] = time.perf_counter()
        return done


async def measure(services: Services, gateway: RunningGateway, *, draining: bool, loading: float) -> dict[str, Any]:
    """Run the six jobs once."""
    project = f"mix-{uuid4().hex[:8]}"
    workers = [
        TimedWorker(
            base=gateway.base,
            token=await token(services, project),
            scout=HttpWorker(base=gateway.base, token=await token(services, project)) if draining else None,
            seconds_per_image=IMAGE_SECONDS,
            loading=loading,
        )
        for _ in range(WORKERS)
    ]
    jobs = []
    for size in JOBS:
        urls = [f"http://192.0.2.1/{uuid4()}.jpg" for _ in range(size)]
        jobs.append(await job_for_http(services, project, size, urls=urls))
    images = [await services.catalog.images.pending(job.job_run, upto=job.total) for job in jobs]
    began = time.perf_counter()
    with working(*workers):
        await asyncio.to_thread(
            wait_until,
            lambda: sum(len(worker.taken) for worker in workers) >= sum(JOBS),
            description="all results",
            timeout=600,
            poll=0.02,
        )
    counts = [await services.queue.counts(job.job_run, job.epoch) for job in jobs if job.epoch is not None]
    redelivered = sum(one.delivered for one in counts if one is not None) - sum(JOBS)
    starts = {int(image): at for worker in workers for image, at in worker.began.items()}
    ends = {int(image): at for worker in workers for image, at in worker.taken.items()}
    fair = fair_finishes([size * IMAGE_SECONDS for size in JOBS], WORKERS)
    ideal = sum(JOBS) * IMAGE_SECONDS / WORKERS
    makespan = max(ends.values()) - began
    shares = [
        (max(ends[image] for image in mine) - min(starts[image] for image in mine)) / share
        for mine, share in zip(images, fair, strict=True)
    ]
    waits = [(max(ends[image] for image in mine) - began) / share for mine, share in zip(images, fair, strict=True)]
    return {
        "makespan": round(makespan, 2),
        "of_ideal": round(makespan / ideal, 3),
        "of_fair_share": [round(share, 2) for share in shares],
        "from_the_start": [round(share, 2) for share in waits],
        "redelivered": redelivered,
        "errors": [error for worker in workers for error in worker.errors],
    }


async def _both(loading: float) -> dict[str, dict[str, Any]]:
    with rig.stores() as stores:
        async with rig.on(stores) as services:
            with running_gateway(stores, ANTENNA_TASK_ACK_WAIT="30", ANTENNA_HTTP_LEASE="300") as gateway:
                return {
                    name: await measure(services, gateway, draining=name == "draining", loading=loading)
                    for name in ("draining", "turns")
                }


def figures(both: dict[str, dict[str, Any]]) -> list[Figure]:
    """The figures of a pair of runs."""
    turns, draining = both["turns"], both["draining"]
    return [
        Figure("makespan, draining", draining["makespan"], "s"),
        Figure("makespan, turns", turns["makespan"], "s"),
        Figure("makespan, turns against the ideal", turns["of_ideal"], at_most=OF_IDEAL),
        Figure(
            "makespan, turns against draining", round(turns["makespan"] / draining["makespan"], 3), at_most=OF_DRAINING
        ),
        Figure("the latest job against its fair share, draining", max(draining["from_the_start"])),
        Figure("the latest job against its fair share, turns", max(turns["from_the_start"]), at_most=OF_SHARE),
        Figure("redelivered", turns["redelivered"], at_most=0),
    ]


def run() -> list[Figure]:
    """For the suite."""
    return figures(asyncio.run(_both(0.0)))


def main() -> int:
    """Measure, print, and say whether it is as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loading", type=float, default=0.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    both = asyncio.run(_both(arguments.loading))
    for name, found in both.items():
        print(name, json.dumps(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(both, indent=2) + "\n")
    missed = [one.name for one in figures(both) if one.is_met is False]
    print("not as expected: " + ", ".join(missed) if missed else "as expected")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
