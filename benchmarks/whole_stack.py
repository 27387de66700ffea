"""The whole embedded stack as a user runs it: the main job, small jobs, an interactive job, and the idle stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded.stores import make_template
from antenna_orchestration.processing.services import opened
from antenna_orchestration.processing.submit import Submission, submit
from benchmarks import bare_limit
from benchmarks.figures import Figure, cpu_seconds, pss_mb, stack_processes
from tests.stack.antenna_up import RunningStack, blank_images
from tests.waiting import wait_until

IMAGES = 20_000
DETECTIONS = 10
SMALL_JOBS = 100
SMALL = 20
LONG_JOBS = 12
IDLE_AFTER = 20.0
"""Seconds after its start at which a stack counts as idle."""

MEASURED = 30.0
"""Seconds over which the CPU time of the idle stack is measured."""


@contextlib.contextmanager
def _stack(**variables: str) -> Iterator[RunningStack]:
    with tempfile.TemporaryDirectory(prefix="antenna bench ") as folder:
        Path(folder).chmod(0o755)
        make_template(Path(folder) / "template" / ".antenna")
        stack = RunningStack(Path(folder) / ".antenna", template=Path(folder) / "template" / ".antenna")
        stack.environment |= {"ANTENNA_TASK_ACK_WAIT": "30"} | variables
        stack.up()
        try:
            yield stack
        finally:
            stack.down()


@contextlib.contextmanager
def _worker(stack: RunningStack) -> Iterator[int]:
    """Run a worker beside the stack; yields its process id."""
    process = stack.background("worker", "--pipelines", "null", "--name", "bench")
    try:
        wait_until(
            lambda: json.loads(stack.antenna("workers", "--json").stdout), description="a worker", timeout=60, poll=0.5
        )
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def main_job() -> list[Figure]:
    """The null pipeline over 20,000 images with ten detections each, right after the bare limit on the same machine."""
    bare, bare_cpu = bare_limit.run()
    with _stack(ANTENNA_AUTOSCALE="0") as stack, _worker(stack) as worker:
        images = blank_images(stack.home.parent / "trap", IMAGES)
        options = ("--pipeline", "null", "--reprocess", "--config", json.dumps({"detections": DETECTIONS}))
        warm = stack.submit(images, *options, "--limit", "1000")
        stack.wait_for(warm)
        stack.run_over(warm)
        there = set(stack_processes(str(stack.home)))
        before = _cpu(stack, worker)
        job = stack.submit(images, *options)
        _wait_for(stack, [job], "started_at")
        # Of the new processes, the run's is the one that has used most CPU time.
        starting = max(cpu_seconds([pid]) for pid in set(stack_processes(str(stack.home))) - there)
        _wait_for(stack, [job])
        cpu = _cpu(stack, worker) - before
        shown = stack.wait_for(job)
    if (shown["done"], shown["detections"]) != (IMAGES, IMAGES * DETECTIONS):
        raise AssertionError(f"the job ended as {shown}")
    # The rate counts from the run's first step. Before it, the worker had only the tasks that the sensor published.
    rate = IMAGES / _seconds(shown, "started_at", "finished_at")
    return [
        bare,
        bare_cpu,
        Figure("main job, from the run's start", rate, "images/s"),
        Figure("main job, share of the bare limit", rate / bare.value, "", at_least=0.5),
        Figure("main job, submit to SUCCESS", _seconds(shown, "created_at", "finished_at"), "s"),
        Figure("main job, CPU per image, all processes", 1000 * (cpu - starting) / IMAGES, "ms", at_most=0.8),
        Figure("main job, CPU of the run's start-up", starting, "s"),
    ]


def small_jobs() -> list[Figure]:
    """A hundred jobs of twenty images, submitted one after the other; each has a Dagster run."""
    with _stack(ANTENNA_AUTOSCALE="0") as stack, _worker(stack) as worker:
        images = blank_images(stack.home.parent / "trap", SMALL)
        stack.wait_for(stack.submit(images, "--pipeline", "null", "--reprocess"))
        before = _cpu(stack, worker)
        began = time.perf_counter()
        jobs = asyncio.run(_submit(stack, images, SMALL_JOBS))
        submitting = time.perf_counter() - began
        _wait_for(stack, jobs)
        seconds = time.perf_counter() - began
        cpu = _cpu(stack, worker) - before
        shown = [stack.wait_for(job) for job in jobs]
    if sum(job["done"] for job in shown) != SMALL_JOBS * SMALL:
        raise AssertionError("an image is missing")
    return [
        Figure("100 jobs of 20, submitting them", submitting, "s"),
        Figure("100 jobs of 20, submit to the last SUCCESS", seconds, "s"),
        Figure("100 jobs of 20, CPU per job", cpu / SMALL_JOBS, "s"),
    ]


async def _submit(stack: RunningStack, images: Path, count: int) -> list[int]:
    """Submit from one process, because a hundred `antenna` commands would take half of the measured time."""
    joined = stack.joined()
    given = {name.removeprefix("ANTENNA_").lower(): joined[name] for name in joined if name.startswith("ANTENNA_")}
    settings = settings_module.load(**{name: given[name] for name in ("nats_url", "redis_url", "database_url")})
    async with opened(settings) as services:
        submission = Submission(sources=[str(images)], pipeline="null", reprocess=True)
        return [(await submit(services, submission)).job_id for _ in range(count)]


def interactive() -> list[Figure]:
    """An interactive job of one image, submitted while twelve long jobs run."""
    with _stack(ANTENNA_AUTOSCALE="0") as stack, _worker(stack):
        images = blank_images(stack.home.parent / "trap", 1_000)
        options = ("--pipeline", "null", "--reprocess")
        long = [stack.submit(images, *options, "--config", '{"delay_ms": 100}') for _ in range(LONG_JOBS)]
        with _catalog(stack) as connection:

            def have_started() -> bool:
                row = connection.execute(
                    "SELECT count(DISTINCT job_id) FROM job_images WHERE job_id = ANY(%s) AND status = 'done'", [long]
                ).fetchone()
                return row == (LONG_JOBS,)

            wait_until(have_started, description="all jobs have started", timeout=300, poll=0.5)
        urgent = stack.submit(next(images.iterdir()), *options, "--interactive")
        _wait_for(stack, [urgent])
        shown = stack.wait_for(urgent)
    return [
        Figure("interactive job beside 12 long ones", _seconds(shown, "created_at", "finished_at"), "s", at_most=15)
    ]


def idle() -> list[Figure]:
    """Memory and CPU of a stack that waits for its first job, and how long the stack takes to start."""
    began = time.perf_counter()
    with _stack() as stack:
        ready = time.perf_counter() - began
        time.sleep(IDLE_AFTER)
        processes = stack_processes(str(stack.home))
        before, since = cpu_seconds(processes), time.perf_counter()
        time.sleep(MEASURED)
        cpu = (cpu_seconds(processes) - before) / (time.perf_counter() - since)
        memory = pss_mb(processes)
    return [
        Figure("idle stack, memory", memory, "MB", at_most=800),
        Figure("idle stack, CPU", 100 * cpu, "% of a core"),
        Figure("start of a new stack, initdb included", ready, "s"),
    ]


def _cpu(stack: RunningStack, worker: int) -> float:
    """CPU seconds of the stack and of the worker beside it so far."""
    return cpu_seconds([*stack_processes(str(stack.home)), worker])


def _wait_for(stack: RunningStack, jobs: Sequence[int], moment: str = "finished_at") -> None:
    """Wait until these jobs are over, or have started.

    It polls PostgreSQL, because an `antenna` command per poll would occupy a core.
    """
    with _catalog(stack) as connection:

        def has_come() -> bool:
            query = SQL("SELECT count({}) FROM jobs WHERE job_id = ANY(%s)").format(Identifier(moment))
            return connection.execute(query, [list(jobs)]).fetchone() == (len(jobs),)

        wait_until(has_come, description=f"{moment} of all jobs", timeout=900, poll=0.1)


def _catalog(stack: RunningStack) -> psycopg.Connection[Any]:
    return psycopg.connect(stack.joined()["ANTENNA_DATABASE_URL"], autocommit=True)


def _seconds(shown: dict[str, Any], begin: str, end: str) -> float:
    return (datetime.fromisoformat(shown[end]) - datetime.fromisoformat(shown[begin])).total_seconds()
