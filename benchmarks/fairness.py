"""Whether large jobs hold up small ones: six jobs at once, four workers, 50 ms of simulated inference per image.

    python -m benchmarks.fairness [--kill] [--batch-size 4] [--json FILE]

Two jobs each of 10, 100 and 500 images are announced together to four workers that have their pipeline loaded. A job's
time runs from its first lease to its last durable result. It is compared with processor sharing: the fleet is divided
evenly among the jobs that still have work, and again whenever a job ends. `--kill` ends one worker with SIGKILL.

Expected: a makespan within 10 % of total work / workers, no job later than twice its fair share, no redelivery, and no
image that waits in a worker for longer than one batch. With `--kill`: no image with two results, and a makespan longer
by at most one lease and the work that the killed worker would have done.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from antenna_orchestration.domain import messages
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from benchmarks.figures import Figure
from tests.waiting import eventually
from tests.worker.bench import Bench, QueuedJob, open_bench, queue_server
from tests.worker.worker_process import WorkerProcess, started

JOBS = (10, 10, 100, 100, 500, 500)
WORKERS = 4
IMAGE_SECONDS = 0.05
CONFIG = {"delay_ms": int(IMAGE_SECONDS * 1000)}
KILL_AFTER = 4.0
"""Seconds after the start at which a worker is killed."""


class Observer:
    """Records, from outside the workers, when jobs are leased from and when results are published."""

    def __init__(self) -> None:
        self.first_pull: dict[str, float] = {}
        self.results: dict[tuple[int, int], list[tuple[float, messages.Result]]] = {}

    async def watch(self, bench: Bench) -> None:
        """Subscribe to pulls and results on the bench's connection, which has the permission to."""
        await bench.client.subscribe("$JS.API.CONSUMER.MSG.NEXT.TASKS.*", cb=self._on_pull)
        await bench.client.subscribe("results.>", cb=self._on_result)
        await bench.client.flush()

    async def _on_pull(self, message: Msg) -> None:
        self.first_pull.setdefault(message.subject.rpartition(".")[2].split("-")[0], time.perf_counter())

    async def _on_result(self, message: Msg) -> None:
        result = messages.decode(messages.Result, message.data)
        self.results.setdefault((result.job, result.image), []).append((time.perf_counter(), result))

    def finished(self, job: QueuedJob) -> int:
        """Images of the job that have a result."""
        return sum((job.job, image) in self.results for image in job.images)


async def measure(settings: Settings, folder: Path, *, batch_size: int, kill: bool) -> dict[str, Any]:
    """Run the six jobs once."""
    picture = folder / "picture.jpg"
    picture.write_bytes(bytes(100_000))
    options = WorkerOptions(batch_size=batch_size)
    async with open_bench(settings) as bench:
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(started(settings, folder / str(n), options)) for n in range(WORKERS)]
            await _warm_up(bench, picture.as_uri())
            observer = Observer()
            await observer.watch(bench)
            jobs = [await bench.submit([picture.as_uri()] * size, config=CONFIG, announce=False) for size in JOBS]
            began = time.perf_counter()
            for job in jobs:
                await bench.announce(job)
            killed = await _kill_one(workers[0]) if kill else None

            async def all_done() -> bool:
                return all(observer.finished(job) == len(job.images) for job in jobs)

            await eventually(all_done, description="all results", timeout=180)
            redelivered = sum([(await bench.counts(job)).delivered - len(job.images) for job in jobs])
    return _figures(jobs, observer, began, redelivered, batch_size, killed, settings.task_ack_wait)


async def _warm_up(bench: Bench, uri: str) -> None:
    """Run jobs of the same configuration until every worker has loaded and timed the pipeline."""
    while True:
        job = await bench.submit([uri] * 20 * WORKERS, config=CONFIG)
        results = await bench.results(job, timeout=120)
        await bench.withdraw(job)
        if len({result.worker for result in results}) == WORKERS:
            return


async def _kill_one(worker: WorkerProcess) -> float:
    await asyncio.sleep(KILL_AFTER)
    worker.kill()
    return KILL_AFTER


def fair_finishes(work: list[float], workers: int) -> list[float]:
    """Seconds at which each job ends under processor sharing; `work` is seconds of work per job."""
    left = dict(enumerate(work))
    now, finishes = 0.0, [0.0] * len(work)
    while left:
        shortest = min(left.values())
        now += shortest * len(left) / workers
        for job in list(left):
            left[job] -= shortest
            if left[job] <= 1e-9:
                finishes[job] = now
                del left[job]
    return finishes


def _figures(
    jobs: list[QueuedJob],
    observer: Observer,
    began: float,
    redelivered: int,
    batch_size: int,
    killed: float | None,
    ack_wait: float,
) -> dict[str, Any]:
    fair = fair_finishes([len(job.images) * IMAGE_SECONDS for job in jobs], WORKERS)
    rows = []
    for job, share in zip(jobs, fair, strict=True):
        times = [observer.results[job.job, image][0][0] for image in job.images]
        took = max(times) - observer.first_pull[f"j{job.job}"]
        rows.append(
            {
                "images": len(job.images),
                "seconds": round(took, 2),
                "fair_share": round(share, 2),
                "of_fair_share": round(took / share, 2),
            }
        )
    total = sum(len(job.images) for job in jobs) * IMAGE_SECONDS
    makespan = max(when for seen in observer.results.values() for when, _ in seen[:1]) - began
    ideal = total / WORKERS
    if killed is not None:
        ideal = killed + (total - killed * WORKERS) / (WORKERS - 1) + ack_wait
    waits = [seen[0][1].timings.get("wait", 0.0) for seen in observer.results.values()]
    return {
        "jobs": rows,
        "batch_size": batch_size,
        "killed_after": killed,
        "makespan": round(makespan, 2),
        "ideal_makespan": round(ideal, 2),
        "of_ideal": round(makespan / ideal, 3),
        "redelivered": redelivered,
        "images_with_two_results": sum(len(seen) > 1 for seen in observer.results.values()),
        "longest_wait": round(max(waits), 3),
        "batch_seconds": round(batch_size * IMAGE_SECONDS, 3),
    }


def _as_expected(figures: dict[str, Any]) -> list[str]:
    """The names of the figures that are out of bounds."""
    wrong = []
    if figures["of_ideal"] > (1.1 if figures["killed_after"] is None else 1.0):
        wrong.append("the makespan")
    if figures["killed_after"] is None:
        wrong += [f"a job of {row['images']} images" for row in figures["jobs"] if row["of_fair_share"] > 2]
        if figures["redelivered"]:
            wrong.append("redeliveries")
        if figures["longest_wait"] > 1.5 * figures["batch_seconds"]:
            wrong.append("reserved images")
    return wrong


def run() -> list[Figure]:
    """For the suite: the six jobs undisturbed, then with one worker killed."""
    found = []
    for kill in (False, True):
        with tempfile.TemporaryDirectory() as folder, queue_server(task_ack_wait=30.0) as server:
            mix = asyncio.run(measure(server.settings, Path(folder), batch_size=4, kill=kill))
        which = "one worker killed" if kill else "six-job mix"
        found += [
            Figure(f"{which}, makespan against the ideal", mix["of_ideal"], "", at_most=1.0 if kill else 1.1),
            Figure(f"{which}, images with two results", mix["images_with_two_results"], "", at_most=0),
        ]
        if not kill:
            late = max(row["of_fair_share"] for row in mix["jobs"])
            found += [
                Figure("six-job mix, makespan", mix["makespan"], "s"),
                Figure("six-job mix, the latest job against its fair share", late, "", at_most=2),
                Figure("six-job mix, redelivered", mix["redelivered"], "", at_most=0),
                Figure("six-job mix, longest wait in a worker", mix["longest_wait"], "s", at_most=0.3),
            ]
    return found


def main() -> int:
    """Measure, print, and say whether it is as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--ack-wait", type=float, default=30.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, queue_server(task_ack_wait=arguments.ack_wait) as server:
        figures = asyncio.run(
            measure(server.settings, Path(folder), batch_size=arguments.batch_size, kill=arguments.kill)
        )
    print(f"{'images':>8} {'seconds':>8} {'fair':>8} {'of fair':>8}")
    for row in figures["jobs"]:
        print("{images:>8} {seconds:>8} {fair_share:>8} {of_fair_share:>8}".format(**row))
    for name, value in figures.items():
        if name != "jobs":
            print(f"{name.replace('_', ' '):>24}  {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    wrong = _as_expected(figures)
    print("not as expected: " + ", ".join(wrong) if wrong else "as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
