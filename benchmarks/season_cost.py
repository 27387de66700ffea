"""What it costs to bring a season up to date: all of `answers/season.py` but the catalog.

Ten deployments, thirty nights, a job for each: 100,000 photographs with 500,000 detections. Then each deployment has a
night more, as each morning; then one has; then nothing of it changed. CPU time, and the highest memory.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from antenna_orchestration.answers import season
from antenna_orchestration.answers.results_of import Results
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.lake import derived
from antenna_orchestration.lake import season as files
from antenna_orchestration.lake.store import Lake
from benchmarks import deriving
from benchmarks.figures import Figure

DEPLOYMENTS: Final = 10
NIGHTS: Final = 30
PHOTOGRAPHS: Final = 333
ON_EACH: Final = 5
CLASSES: Final = 100
PROJECT: Final = "bench"


def run() -> list[Figure]:
    """Each in a process of its own, as memory is of the whole process."""
    steps = (
        ("all nights, the first time", DEPLOYMENTS * (NIGHTS - 2)),
        ("one more night of each deployment", DEPLOYMENTS * (NIGHTS - 1)),
        ("one more night of one deployment", DEPLOYMENTS * (NIGHTS - 1) + 1),
        ("nothing of it changed", DEPLOYMENTS * (NIGHTS - 1) + 1),
    )
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        _apart(_write, folder, DEPLOYMENTS * NIGHTS)
        for name, jobs in steps:
            cpu, mb, rows = _apart(_refresh, folder, jobs)
            figures += [
                Figure(f"{name}: CPU", cpu, "s"),
                Figure(f"{name}: highest memory", mb, "MB"),
                Figure(f"{name}: rows made anew", rows),
            ]
    return figures


def _apart(function, *arguments):  # type: ignore[no-untyped-def]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _write(folder: str, jobs: int) -> None:
    """A job for each deployment and night, night by night."""
    lake = Lake(folder)
    random = np.random.default_rng(1)
    for job in range(1, jobs + 1):
        start = datetime(2026, 6, 1, 21, tzinfo=UTC) + timedelta(days=(job - 1) // DEPLOYMENTS)
        deriving.write_job(
            lake,
            job,
            [start + timedelta(minutes=number) for number in range(PHOTOGRAPHS)],
            site=f"site {(job - 1) % DEPLOYMENTS + 1}",
            names=np.array(deriving.labels(CLASSES)),
            random=random,
            on_each=ON_EACH,
        )


def _refresh(folder: str, jobs: int) -> tuple[float, float, int]:
    """Bring the season up to date with the first so many jobs."""
    known, of_classifier = deriving.knowledge(CLASSES, DEPLOYMENTS)
    lake = Lake(folder)
    sources = [derived.Source(JobId(job), Generation(1), "moths", PHOTOGRAPHS) for job in range(1, jobs + 1)]
    began = time.process_time()
    before = files.read(lake, PROJECT) or files.Season()
    made = season.made_from(
        Results(project=PROJECT, sources=sources, lake=lake),
        known,
        before=before,
        nights=(),
        registered=lambda _: {deriving.CLASSIFIER: of_classifier},
    )
    files.write(lake, PROJECT, replace(made.season, mark=str(jobs)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.process_time() - began, memory, len(made.changed)
