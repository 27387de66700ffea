"""The whole embedded stack as a user runs it: the main job, small jobs, an interactive job, and the idle stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from dotenv import dotenv_values
from psycopg.sql import SQL, Identifier

from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded import stack as stack_module
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.stores import copy_template, make_template
from antenna_orchestration.processing.services import opened
from antenna_orchestration.processing.submit import Submission, submit
from benchmarks import bare_limit
from benchmarks.figures import Figure, cpu_seconds, pss_mb, stack_processes
from tests.stack.antenna_up import RunningStack, blank_images
from tests.waiting import wait_until

IMAGES = 20_000
DETECTIONS = 10
SMALL_JOBS = 200
SMALL = 10
LONG_JOBS = 12
IDLE_AFTER = 20.0
"""Seconds after its start at which a stack counts as idle."""

MEASURED = 60.0
"""Seconds over which the CPU time of the idle stack is measured."""


@contextlib.contextmanager
def running_stack(**variables: str) -> Iterator[RunningStack]:
    """A stack in a folder of its own, with these variables in its environment."""
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
def worker_beside(stack: RunningStack) -> Iterator[int]:
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
    with running_stack(ANTENNA_AUTOSCALE="0") as stack, worker_beside(stack) as worker:
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
    """A burst of 200 jobs of ten images, each of which has a Dagster run; first as many runs that do nothing."""
    least = _empty_runs("benchmarks.bare_definitions")
    floor = _empty_runs("benchmarks.bare_assets")
    with running_stack(ANTENNA_AUTOSCALE="0") as stack, worker_beside(stack) as worker:
        images = blank_images(stack.home.parent / "trap", SMALL)
        stack.wait_for(stack.submit(images, "--pipeline", "null", "--reprocess"))
        kept, before = _dagster_bytes(stack.home), _cpu(stack, worker)
        began = time.perf_counter()
        jobs = asyncio.run(_submit(stack, images, SMALL_JOBS))
        submitting = time.perf_counter() - began
        _wait_for(stack, jobs)
        seconds = time.perf_counter() - began
        cpu = _cpu(stack, worker) - before
        kept = _dagster_bytes(stack.home) - kept
        with catalog_of(stack) as connection:
            rows = connection.execute(
                "SELECT done, extract(epoch FROM finished_at - created_at) FROM jobs WHERE job_id = ANY(%s)", [jobs]
            ).fetchall()
    if sum(done for done, _ in rows) != SMALL_JOBS * SMALL:
        raise AssertionError("an image is missing")
    took = sorted(float(lasted) for _, lasted in rows)
    per_job = cpu / SMALL_JOBS
    return [
        *least.figures("200 runs of one empty asset"),
        *floor.figures("200 runs of as many assets as a job has, empty (Dagster's floor)"),
        Figure("200 jobs of ten, submitting them", submitting, "s"),
        Figure("200 jobs of ten, submit to the last SUCCESS", SMALL_JOBS / seconds, "jobs/s", at_least=3),
        Figure("200 jobs of ten, CPU per job", per_job, "s", at_most=0.6),
        Figure("200 jobs of ten, CPU per job against the floor", per_job / floor.cpu, "", at_most=1.3),
        Figure("200 jobs of ten, Dagster's database per job", kept / SMALL_JOBS / 1000, "kB", at_most=25),
        Figure("200 jobs of ten, submit to SUCCESS, the first", took[0], "s", at_most=4),
        Figure("200 jobs of ten, submit to SUCCESS, the median", took[len(took) // 2], "s"),
    ]


class _Floor(NamedTuple):
    """What a run that does nothing costs: CPU seconds of the stack's processes, and bytes of Dagster's database."""

    cpu: float
    per_second: float
    kept: float

    def figures(self, name: str) -> list[Figure]:
        return [
            Figure(f"{name}, CPU per run", self.cpu, "s"),
            Figure(name, self.per_second, "runs/s"),
            Figure(f"{name}, Dagster's database per run", self.kept / 1000, "kB"),
        ]


def _empty_runs(definitions_module: str) -> _Floor:
    """A burst of runs that do nothing."""
    with _bare_stack(definitions_module) as home:
        (home / "dagster" / "wanted").write_text("1")
        _wait_for_runs(home, 1)
        kept, before = _dagster_bytes(home), cpu_seconds(stack_processes(str(home)))
        began = time.perf_counter()
        (home / "dagster" / "wanted").write_text(str(SMALL_JOBS + 1))
        _wait_for_runs(home, SMALL_JOBS + 1)
        seconds = time.perf_counter() - began
        cpu = cpu_seconds(stack_processes(str(home))) - before
        kept = _dagster_bytes(home) - kept
    return _Floor(cpu / SMALL_JOBS, SMALL_JOBS / seconds, kept / SMALL_JOBS)


def _dagster_bytes(home: Path) -> int:
    """Bytes of the tables of Dagster's database, with their indexes."""
    with _dagsters_database(home) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        ).fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def _bare_stack(definitions_module: str = "benchmarks.bare_definitions") -> Iterator[Path]:
    """A stack of which only Dagster's part works: see `bare_definitions`; yields its home."""
    with tempfile.TemporaryDirectory(prefix="antenna bench ") as folder:
        Path(folder).chmod(0o755)
        make_template(Path(folder) / "template" / ".antenna")
        home = Path(folder) / ".antenna"
        copy_template(Home(Path(folder) / "template" / ".antenna"), Home(home))
        blank = dict.fromkeys(("nats_url", "worker_nats_url", "redis_url", "database_url", "dagster_pg_url"), "")
        wanted = settings_module.load(home=home, lake_uri=str(home / "lake"), ui_port=0, gateway_port=0, **blank)
        # Its code server imports this folder.
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        front = stack_module.start_background(wanted, definitions_module=definitions_module)
        try:
            yield home
        finally:
            front.stop()


def _dagsters_database(home: Path) -> psycopg.Connection[tuple[Any, ...]]:
    url = dotenv_values(home / "env")["ANTENNA_DAGSTER_PG_URL"] or ""
    return psycopg.connect(url.replace("+psycopg2", ""), autocommit=True)


def _wait_for_runs(home: Path, count: int) -> None:
    with _dagsters_database(home) as connection:

        def are_over() -> bool:
            row = connection.execute("SELECT count(*) FROM runs WHERE status = 'SUCCESS'").fetchone()
            return row == (count,)

        wait_until(are_over, description=f"{count} runs are over", timeout=600, poll=0.2)


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
    with running_stack(ANTENNA_AUTOSCALE="0") as stack, worker_beside(stack):
        images = blank_images(stack.home.parent / "trap", 1_000)
        options = ("--pipeline", "null", "--reprocess")
        long = [stack.submit(images, *options, "--config", '{"delay_ms": 100}') for _ in range(LONG_JOBS)]
        with catalog_of(stack) as connection:

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
    """Memory and CPU of a stack that waits for its first job, against one whose sensors do nothing."""
    began = time.perf_counter()
    with running_stack() as stack:
        ready = time.perf_counter() - began
        memory, cpu = _idle(stack.home)
    with _bare_stack() as home:
        bare_memory, bare_cpu = _idle(home)
    return [
        Figure("idle stack, memory", memory, "MB"),
        Figure("idle stack with sensors that do nothing, memory (floor)", bare_memory, "MB"),
        Figure("idle stack, CPU", cpu, "% of a core"),
        Figure("idle stack with sensors that do nothing, CPU (floor)", bare_cpu, "% of a core"),
        Figure("idle stack, memory against the floor", memory / bare_memory, "", at_most=1.3),
        Figure("idle stack, CPU against the floor", cpu / bare_cpu, "", at_most=1.3),
        Figure("start of a new stack, initdb included", ready, "s"),
    ]


def _idle(home: Path) -> tuple[float, float]:
    """Memory in MB, and CPU in percent of a core."""
    time.sleep(IDLE_AFTER)
    processes = stack_processes(str(home))
    before, since = cpu_seconds(processes), time.perf_counter()
    time.sleep(MEASURED)
    cpu = (cpu_seconds(processes) - before) / (time.perf_counter() - since)
    return pss_mb(processes), 100 * cpu


def _cpu(stack: RunningStack, worker: int) -> float:
    """CPU seconds of the stack and of the worker beside it so far."""
    return cpu_seconds([*stack_processes(str(stack.home)), worker])


def _wait_for(stack: RunningStack, jobs: Sequence[int], moment: str = "finished_at") -> None:
    """Wait until these jobs are over, or have started.

    It polls PostgreSQL, because an `antenna` command per poll would occupy a core.
    """
    with catalog_of(stack) as connection:

        def has_come() -> bool:
            query = SQL("SELECT count({}) FROM jobs WHERE job_id = ANY(%s)").format(Identifier(moment))
            return connection.execute(query, [list(jobs)]).fetchone() == (len(jobs),)

        wait_until(has_come, description=f"{moment} of all jobs", timeout=900, poll=0.1)


def catalog_of(stack: RunningStack) -> psycopg.Connection[Any]:
    """A connection to the stack's catalog."""
    return psycopg.connect(stack.joined()["ANTENNA_DATABASE_URL"], autocommit=True)


def _seconds(shown: dict[str, Any], begin: str, end: str) -> float:
    return (datetime.fromisoformat(shown[end]) - datetime.fromisoformat(shown[begin])).total_seconds()
