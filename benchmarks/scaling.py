"""Workers that `antenna scale` starts on a real Slurm: 100 small jobs and a large one, 200 ms of simulated inference.

    python -m benchmarks.scaling [--images 5000] [--json FILE]
    python -m benchmarks scaling

A Slurm of eight places for one worker each stands up on this machine; one round of scaling is done every five seconds,
as `antenna scale --every 5` does it. All jobs are submitted at once, and no worker is there. The simulated pipeline
sleeps, so that eight workers have room on two cores, apart from their start-up.

- **Makespan**: from the submission to the last durable result. Its ideal has all workers that the pool allows from the
  first moment on, and one start-up: work / 8 + the time until the first worker's first result.
- **Worker-seconds**: what Slurm gave away, from the start of each of its jobs to the end, against the seconds of
  inference.
- **Fair share**: when each job ends, on a clock of worker-seconds, against dividing the workers evenly among the jobs
  that still have work.

Needs root and Slurm (`tests/engines/install`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nats.aio.msg import Msg

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.pools import configuration
from antenna_orchestration.processing import publish, scale, submit
from antenna_orchestration.processing.services import Services
from benchmarks import rig
from benchmarks.fairness import fair_finishes
from benchmarks.figures import Figure
from tests.engines import slurm_cluster
from tests.engines.slurm_cluster import SlurmCluster

IMAGE_SECONDS: Final = 0.2
SMALL_JOBS: Final = 100
SMALL: Final = 20
"""Images of a small job."""

LARGE: Final = 5_000
WORKERS: Final = 8
ROUND: Final = 5.0
"""Seconds between rounds."""

LOOK: Final = 0.5
"""Seconds between looks at Slurm's list."""

ROOT: Final = Path(__file__).parents[1]


@dataclass
class _Seen:
    """What was seen from outside, on one clock that begins with the submission."""

    began: float = field(default_factory=time.perf_counter)
    # Seconds of each result, by job.
    results: dict[int, list[float]] = field(default_factory=dict)
    # Seconds, workers that Slurm runs, and workers that are heard.
    workers: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def now(self) -> float:
        return time.perf_counter() - self.began

    async def on_result(self, message: Msg) -> None:
        self.results.setdefault(int(message.subject.split(".")[1]), []).append(self.now)

    def worker_seconds(self, until: float, *, heard: bool = False) -> float:
        """Of what Slurm ran, or of those that were heard."""
        total = last = 0.0
        for at, running, listening in self.workers:
            if at > until:
                break
            total += (at - last) * (listening if heard else running)
            last = at
        return total


def run() -> list[Figure]:
    """For the suite: the full size."""
    found = measured(LARGE)
    return [
        Figure("makespan", found["makespan"], "s"),
        Figure("makespan against the ideal", found["of_ideal"], "", at_most=1.25),
        Figure("worker-seconds against the work", found["of_work"], "", at_most=1.3),
        Figure("most workers", found["most_workers"], "", at_least=WORKERS),
        Figure("first worker heard", found["first_heard"], "s"),
        Figure("all workers heard", found["all_heard"], "s"),
        Figure("last result to no worker", found["falling"], "s"),
        Figure("a small job against its fair share, the latest", found["late_small"], "", at_most=2),
        Figure("the large job against its fair share", found["late_large"], "", at_most=2),
        Figure("results beyond one per image", found["twice"], "", at_most=0),
    ]


def measured(large: int) -> dict[str, Any]:
    """All figures, and the workers over time."""
    if why := slurm_cluster.missing():
        raise SystemExit(f"scaling: {why}")
    # Slurm's configuration takes no blanks in paths.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        SlurmCluster(Path(folder) / "cluster", nodes=2, cpus=WORKERS // 2) as cluster,
        rig.stores() as running,
    ):
        os.environ |= cluster.environment
        return asyncio.run(_measure(Path(folder), cluster, running, large))


async def _measure(folder: Path, cluster: SlurmCluster, running: EmbeddedStores, large: int) -> dict[str, Any]:
    pools = configuration.read(_pools(folder, running))
    async with rig.on(running) as services:
        await services.ensure_streams()
        sizes = {await _submitted(services, folder, "large", large): large}
        for number in range(SMALL_JOBS):
            sizes[await _submitted(services, folder, f"small-{number}", SMALL)] = SMALL
        seen = _Seen()
        await services.connection.subscribe("results.>", cb=seen.on_result)
        tasks = [asyncio.create_task(work) for work in (_rounds(services, pools), _watch(services, cluster, seen))]
        try:
            await _until(lambda: sum(map(len, seen.results.values())) >= sum(sizes.values()), tasks)
            await _until(lambda: seen.workers[-1][1:] == (0, 0), tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return _figures(seen, sizes)


def _pools(folder: Path, running: EmbeddedStores) -> Path:
    settings = running.settings
    exports = {
        "ANTENNA_HOME": str(folder / "worker"), "ANTENNA_WORKER_NATS_URL": settings.worker_nats_url,
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    # The defaults, but for a pipeline whose work is minutes: `overhead` would let four workers leave after a minute.
    pool = {
        "kind": "slurm", "most": WORKERS, "options": ["--cpus-per-task=1", f"--output={folder}/worker-%j.log"],
        "setup": "\n".join(f"export {name}='{value}'" for name, value in exports.items()),
        "worker": [sys.executable, "-m", "antenna_orchestration.cli.main", "worker", "--device", "cpu"],
        "reaches": ["file:*"], "finish_within_minutes": 3, "cold_start_seconds": 20, "idle_exit_seconds": 10,
    }  # fmt: skip
    file = folder / "pools.yaml"
    file.write_text(json.dumps({"cluster": pool}))
    return file


async def _submitted(services: Services, folder: Path, name: str, images: int) -> int:
    """Submit a job of so many files that nobody opens, and publish all its tasks."""
    photographs = folder / f"images-{images}"
    if not photographs.exists():
        photographs.mkdir()
        for number in range(images):
            (photographs / f"{number:05}.jpg").write_bytes(b"not opened")
    submission = submit.Submission(
        sources=(str(photographs),), pipeline="null", project=name, config={"delay_ms": int(IMAGE_SECONDS * 1000)}
    )
    job = (await submit.submit(services, submission)).job_id
    await publish.publish(services, job)
    return job


async def _rounds(services: Services, pools: dict[str, configuration.AnyPool]) -> None:
    launchers = scale.launchers_of(pools)
    while True:
        done = await scale.round_(services, pools, launchers)
        if done is None or done.faults:
            raise AssertionError(f"a round did not come about: {done}")
        await asyncio.sleep(ROUND)


async def _watch(services: Services, cluster: SlurmCluster, seen: _Seen) -> None:
    while True:
        states = await asyncio.to_thread(cluster.jobs)
        heard = len(await services.heartbeats.workers())
        seen.workers.append((seen.now, sum(state != "PENDING" for state in states.values()), heard))
        await asyncio.sleep(LOOK)


async def _until(condition: Any, tasks: list[asyncio.Task[None]]) -> None:
    while not condition():
        ended, _ = await asyncio.wait(tasks, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()


def _figures(seen: _Seen, sizes: dict[int, int]) -> dict[str, Any]:
    work = sum(sizes.values()) * IMAGE_SECONDS
    first = min(times[0] for times in seen.results.values())
    makespan = max(times[-1] for times in seen.results.values())
    ideal = work / WORKERS + first
    used = seen.worker_seconds(seen.workers[-1][0])
    jobs = list(sizes)
    fair = dict(zip(jobs, fair_finishes([sizes[job] * IMAGE_SECONDS for job in jobs], 1), strict=True))
    late = {job: seen.worker_seconds(seen.results[job][-1], heard=True) / fair[job] for job in jobs}
    heard_at = [at for at, _, heard in seen.workers if heard]
    most = max(heard for *_, heard in seen.workers)
    return {
        "images": sum(sizes.values()),
        "work": round(work, 1),
        "first_result": round(first, 1),
        "makespan": round(makespan, 1),
        "ideal": round(ideal, 1),
        "of_ideal": round(makespan / ideal, 3),
        "worker_seconds": round(used, 1),
        "of_work": round(used / work, 3),
        "most_workers": most,
        "first_heard": round(heard_at[0], 1),
        "all_heard": round(next(at for at, _, heard in seen.workers if heard == most), 1),
        "falling": round(seen.workers[-1][0] - makespan, 1),
        "late_small": round(max(share for job, share in late.items() if sizes[job] == SMALL), 2),
        "late_large": round(late[jobs[0]], 2),
        "twice": sum(map(len, seen.results.values())) - sum(sizes.values()),
        "workers": [(round(at), running, heard) for at, running, heard in seen.workers[::10]],
    }


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=LARGE, help="of the large job")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measured(arguments.images)
    workers = figures["workers"]
    print("seconds, workers that Slurm runs, workers heard:")
    print("  ".join(f"{at}:{running}/{heard}" for at, running, heard in workers))
    for name, value in figures.items():
        if name != "workers":
            print(f"{name.replace('_', ' '):>16}  {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if figures["of_ideal"] > 1.25 or figures["of_work"] > 1.3 or figures["twice"] else 0


if __name__ == "__main__":
    sys.exit(main())
