"""How many photographs of 4096x2160 pixels a worker's device process takes per second on the CPU, before and after.

    python -m benchmarks.detector_speed [--pipeline SLUG] [--images 40] [--rounds 3] [--against CHECKOUT]

A device process gets batches as a worker sends them: the next when it began with one. Of each run are told photographs
per second, CPU seconds of the process per photograph, which hardly depend on what else the machine does, and the most
memory that it had. With `--against`, another checkout of this repository is run by turns with this one, in the same
environment, and the detections of both are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import msgspec
import psutil

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import registry
from antenna_orchestration.settings import load
from antenna_orchestration.synthetic import captures
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import Shipment
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.policy.batch_groups import BatchGroup

HERE: Final = Path(__file__).resolve().parent.parent
SIZE: Final = (4096, 2160)
DISTINCT: Final = 4
SAME: Final = 0.8
"""Least overlap (IoU) of two boxes of the same kind that count as the same detection."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of all photographs."""

    seconds: float
    # CPU seconds of the device process, per photograph.
    cpu: float
    # Proportional set size at its highest, in MB.
    memory: float
    # Per distinct photograph its detections: box, score, label.
    found: list[list[tuple[list[float], float, str]]]


def main() -> None:
    """Draw some photographs, run them, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pipeline", default=registry.DEFAULT_PIPELINE)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="a checkout of this repository to compare with")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        run = asyncio.run(measure(arguments.pipeline, sorted(arguments.once.glob("*.jpg")), arguments.images))
        print(json.dumps(asdict(run)))
        return
    trees = {"before": arguments.against.resolve(), "after": HERE} if arguments.against else {"here": HERE}
    runs: dict[str, list[Run]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(DISTINCT):
            Path(folder, f"{seed}.jpg").write_bytes(captures.draw_capture(seed, *SIZE, insects=40)[0])
        for _ in range(arguments.rounds):
            for name, tree in trees.items():
                runs[name].append(_in(tree, folder, arguments.pipeline, arguments.images))
                print(_line(name, [runs[name][-1]], arguments.images), flush=True)
    for name, some in runs.items():
        print(_line(f"{name}, median", some, arguments.images))
    if arguments.against:
        print(compared(runs["before"][0].found, runs["after"][0].found))


def _line(name: str, runs: Sequence[Run], images: int) -> str:
    return (
        f"{name}: {images / median(run.seconds for run in runs):.2f} photographs/s, "
        f"{median(run.cpu for run in runs):.3f} CPU s per photograph, {median(run.memory for run in runs):.0f} MB "
        f"(load {os.getloadavg()[0]:.0f})"
    )


def _in(tree: Path, folder: str, pipeline: str, images: int) -> Run:
    """A run with the code of a checkout, in a process of its own."""
    command = [sys.executable, __file__, "--once", folder, "--pipeline", pipeline, "--images", str(images)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    # As in a worker, whose device process sets how many threads there are.
    environment.pop("OMP_NUM_THREADS", None)
    said = subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Run(**json.loads(said.splitlines()[-1]))


async def measure(slug: str, files: Sequence[Path], images: int) -> Run:
    """Run the photographs through a device process of a pool, after a warm-up of one batch."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    spec = registry.get(slug)
    group = BatchGroup(1, spec, spec.merged_config({}))
    data = [file.read_bytes() for file in files]
    shipments = [
        Shipment(
            item=protocol.Item(n, len(data[n % len(data)]), n, f"file:///{n}.jpg", None, None), data=data[n % len(data)]
        )
        for n in range(images + spec.batch_size)
    ]
    batches = [shipments[n : n + spec.batch_size] for n in range(0, len(shipments), spec.batch_size)]
    with tempfile.TemporaryDirectory() as home:
        async with DevicePool(settings=load(home=Path(home), device="cpu"), device="cpu") as pool:
            await pool.load(group)
            outcomes = await _run(pool, group, batches[:1])
            [child] = psutil.Process().children()
            with _Peak(child) as peak:
                cpu, began = _cpu(child), time.perf_counter()
                await _run(pool, group, batches[1:])
                seconds, spent = time.perf_counter() - began, _cpu(child) - cpu
    found = [_detections(outcome) for outcome in outcomes[: len(files)]]
    return Run(seconds=seconds, cpu=spent / images, memory=peak.megabytes, found=found)


async def _run(pool: DevicePool, group: BatchGroup, batches: Sequence[Sequence[Shipment]]) -> list[Any]:
    """Send each batch when the device began with the one before it; returns the outcomes in the images' order."""
    running = []
    for batch in batches:
        begun = asyncio.Event()
        running.append(asyncio.create_task(pool.run(group, batch, begun.set)))
        waiting = asyncio.create_task(begun.wait())
        # A batch that is lost never begins.
        await asyncio.wait([waiting, running[-1]], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    reports = await asyncio.gather(*running)
    outcomes = sorted((one for report in reports for one in report.outcomes), key=lambda one: one.number)
    for outcome in outcomes:
        if not isinstance(outcome, protocol.Done):
            raise SystemExit(f"photograph {outcome.number} failed: {outcome}")
    return outcomes


def _detections(outcome: protocol.Done) -> list[tuple[list[float], float, str]]:
    detections = msgspec.msgpack.decode(outcome.detections, type=list[Detection])
    return [(list(one.box), one.score, str(one.classifications[0].label)) for one in detections]


def compared(before: Sequence[Any], after: Sequence[Any]) -> str:
    """In words, how many insects both found, and how far apart the scores of these are."""
    # Not at the top: the photographs are run with the package of an older checkout, too.
    from antenna_orchestration.domain.boxes import overlap

    apart = []
    for some, others in zip(before, after, strict=True):
        left = list(others)
        for box, score, label in some:
            near = [one for one in left if one[2] == label and overlap(box, one[0]) >= SAME]
            if near:
                twin = max(near, key=lambda one: overlap(box, one[0]))
                left.remove(twin)
                apart.append(abs(score - twin[1]))
    totals = sum(map(len, before)), sum(map(len, after))
    said = f"{totals[0]} detections before, {totals[1]} after, {len(apart)} the same"
    return f"{said}, with scores apart by {mean(apart):.4f} on average, {max(apart):.4f} at most" if apart else said


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class _Peak:
    """Looks at the memory of a process five times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.megabytes = 0.0

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.megabytes = max(self.megabytes, self._process.memory_full_info().pss / 2**20)


if __name__ == "__main__":
    main()
