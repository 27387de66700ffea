"""What the default pipeline loses by bad pipelines on the same worker: broken, hanging, crashing, leaking, lying.

    python -m benchmarks.isolation [--photographs 300] [--rounds 3]

One worker processes a job of the default pipeline: drawn photographs of 2048 x 1080. Then another worker does so beside
jobs of five own pipelines (`tests/worker/bad_pipelines.py`), of a tenth as many photographs each, announced together
with it; each wants torch when it is loaded. The settings make them cost much: a hang is ended after a minute instead
of ten, and a process that grows is replaced at 800 MB, that is, after some ten images. Both are repeated by turns. A
job's time runs from its announcement to its last durable result, the default pipeline being loaded already.

Two figures tell what is kept. The ratio of the throughputs is what a person sees, and is right on a quiet machine only.
The other one is right on a busy one, too: the CPU seconds of the default pipeline's process against those of all
processes of the worker, which is the ratio of the throughputs where CPUs are all that is short.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from antenna_orchestration.settings import Settings
from antenna_orchestration.synthetic import captures
from antenna_orchestration.worker.options import WorkerOptions
from benchmarks.figures import Figure
from tests.waiting import eventually
from tests.worker import bad_pipelines
from tests.worker.bench import Bench, QueuedJob, open_bench, queue_server
from tests.worker.worker_process import started

DEFAULT: Final = "light_trap_insects"
DISTINCT: Final = 4
SIZE: Final = (2048, 1080)
WARM_UP: Final = 8
KEPT: Final = 0.9
"""Share of its throughput that the default pipeline is to keep."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a job of the default pipeline took."""

    # From its announcement to its last result.
    seconds: float
    # CPU seconds meanwhile: of the process that runs the default pipeline, of the worker itself, and of those of the
    # bad pipelines.
    default: float
    worker: float
    bad: float


async def measure(settings: Settings, folder: Path, uris: Sequence[str], *, beside: bool) -> Spent:
    """Run the default pipeline's job once, alone or beside the five."""
    async with open_bench(settings) as bench:
        with started(settings, folder, WorkerOptions(name="measured")) as process:
            await bench.results(await bench.submit(uris[:WARM_UP], pipeline=DEFAULT), timeout=900)
            worker = psutil.Process(process.pid)
            [default] = worker.children()
            few = uris[: len(uris) // 10]
            bad = [await _queued(bench, few, one.slug) for one in bad_pipelines.ALL] if beside else []
            job = await _queued(bench, uris, DEFAULT)
            before, began = (_cpu(default), _cpu(worker), _ended(worker)), time.perf_counter()
            for one in [*bad, job]:
                await bench.announce(one)
            await _results(bench, job)
            others = [child for child in worker.children(recursive=True) if child != default]
            return Spent(
                seconds=time.perf_counter() - began,
                default=_cpu(default) - before[0],
                worker=_cpu(worker) - before[1],
                bad=sum(_cpu(child) + _ended(child) for child in others) + _ended(worker) - before[2],
            )


async def _queued(bench: Bench, uris: Sequence[str], pipeline: str) -> QueuedJob:
    return await bench.submit(uris, pipeline=pipeline, announce=False)


async def _results(bench: Bench, job: QueuedJob) -> None:
    """Wait until each image has a result. Asks rarely, because asking costs CPU time as well."""

    async def there() -> bool:
        return await bench.unread(job) >= len(job.images)

    await eventually(there, description="the default pipeline's results", timeout=1800, poll=0.5)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _ended(process: psutil.Process) -> float:
    """CPU seconds of the processes that a process started and that have ended."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _round(pictures: Path, photographs: int, *, beside: bool) -> Spent:
    uris = [(pictures / f"{number % DISTINCT}.jpg").as_uri() for number in range(photographs)]
    with tempfile.TemporaryDirectory() as folder, queue_server(task_ack_wait=30.0) as server:
        lab = Path(folder) / "lab"
        lab.mkdir()
        for one in bad_pipelines.ALL:
            one.write(lab)
        settings = server.settings.model_copy(
            update={
                "device": "cpu",
                "task_timeout": 60.0,
                "worker_process_mb": 800,
                "worker_processes": len(bad_pipelines.ALL),
                "pipeline_paths": (lab,),
                "allow_private_hosts": True,
            }
        )
        return asyncio.run(measure(settings, Path(folder), uris, beside=beside))


def run(photographs: int = 300, rounds: int = 3) -> list[Figure]:
    """For the suite."""
    alone: list[Spent] = []
    beside: list[Spent] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(DISTINCT):
            (Path(folder) / f"{number}.jpg").write_bytes(captures.draw_capture(number, *SIZE, trap=0)[0])
        for _ in range(rounds):
            alone.append(_round(Path(folder), photographs, beside=False))
            beside.append(_round(Path(folder), photographs, beside=True))
    kept = median(one.seconds / other.seconds for one, other in zip(alone, beside, strict=True))
    by_cpu = median((one.default + one.worker) / (one.default + one.worker + one.bad) for one in beside)
    return [
        Figure("default pipeline alone", median(photographs / one.seconds for one in alone), "photographs/s"),
        Figure("… CPU of its process", median(1000 * one.default / photographs for one in alone), "ms/photograph"),
        Figure("… beside five bad ones", median(photographs / one.seconds for one in beside), "photographs/s"),
        Figure(
            "… CPU of its process beside them",
            median(1000 * one.default / photographs for one in beside),
            "ms/photograph",
        ),
        Figure("… CPU of theirs", median(one.bad for one in beside), "s"),
        Figure("… the share of its throughput that it keeps", kept, "", at_least=KEPT),
        Figure("… the share by CPU time", by_cpu, "", at_least=KEPT),
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    figures = run(arguments.photographs, arguments.rounds)
    for figure in figures:
        print(f"{figure.name:>45}  {figure.value:9.3f} {figure.unit}")
    return 1 if any(figure.is_met is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
