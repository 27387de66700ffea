"""How long a new recipe over 1,000,000 detections takes, and its memory: all of `answers/derive.py` but the catalog.

Ten jobs of 10,000 photographs, ten detections each, at ten deployments over a hundred nights; once with whole score
vectors of 100 classes, once of 1,000. DuckDB has two threads. The memory is the process's highest resident set.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from antenna_orchestration.answers import derive
from antenna_orchestration.answers.knowledge import Knowledge, SpeciesList
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology.model import Classes, Place, Taxon
from antenna_orchestration.ecology.names import classes_of
from antenna_orchestration.lake import arrow, derived, paths, schemas
from antenna_orchestration.lake.store import Lake
from benchmarks.figures import Figure

DETECTIONS: Final = 1_000_000
JOBS: Final = 10
ON_EACH: Final = 10
NIGHTS: Final = 10
INTERVAL: Final = timedelta(seconds=20)
CLASSIFIER: Final = AlgorithmRef("moths", "1")
MOST_SECONDS: Final = 60
MOST_MB: Final = 1_000


def run() -> list[Figure]:
    """Each number of classes in a process of its own, as memory is of the whole process."""
    figures = []
    for classes in (100, 1_000):
        with tempfile.TemporaryDirectory() as folder:
            _apart(write_results, folder, classes)
            seconds, cpu, mb, rows = _apart(_derive, folder, classes)
        bounds = (MOST_SECONDS, MOST_MB) if classes == 100 else (None, None)
        name = f"{DETECTIONS:,} detections of {classes:,} classes"
        figures += [
            Figure(f"{name}: derive", seconds, "s", at_most=bounds[0]),
            Figure(f"{name}: CPU", cpu, "s"),
            Figure(f"{name}: highest memory", mb, "MB", at_most=bounds[1]),
            Figure(f"{name}: rows of counts", rows),
        ]
    return figures


def _apart(function, folder: str, classes: int):  # type: ignore[no-untyped-def]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, folder, classes).result()


def labels(classes: int) -> list[str]:
    """Names of species; twenty of a genus."""
    return [f"Genus{number // 20} species{chr(97 + number % 20)}" for number in range(classes)]


def write_results(folder: str, classes: int, detections: int = DETECTIONS) -> None:
    """Write the tables of the jobs: each a deployment, ten nights one after the other."""
    lake = Lake(folder)
    random = np.random.default_rng(1)
    photographs = detections // JOBS // ON_EACH
    start = datetime(2026, 6, 1, 22, tzinfo=UTC)
    per_night = -(-photographs // NIGHTS)
    times = [start + timedelta(days=n // per_night) + INTERVAL * (n % per_night) for n in range(photographs)]
    for job in range(1, JOBS + 1):
        write_job(lake, job, times, site=f"site {job}", names=np.array(labels(classes)), random=random)


def write_job(
    lake: Lake,
    job: int,
    times: Sequence[datetime],
    *,
    site: str,
    names: np.ndarray,
    random: np.random.Generator,
    on_each: int = ON_EACH,
) -> None:
    """Write the tables of a job: photographs of one deployment, taken at these times, with detections on each."""
    photographs = len(times)
    images = np.arange(photographs) + job * photographs
    of_job = {"project": "bench", "job_name": f"job {job}", "pipeline": "moths", "pipeline_version": "1"}

    def column(value: object, kind: pa.DataType, rows: int) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), rows)

    captures = {
        "image_id": pa.array(images),
        "url": [f"file:///card/{job}/{image:09d}.jpg" for image in images],
        "deployment": column(site, pa.string(), photographs),
        "captured_at": pa.array(times, schemas.TIME),
        "stamp": pa.array([one.replace(tzinfo=None) for one in times], pa.timestamp("us")),
        "width": column(4096, pa.int32(), photographs),
        "height": column(2160, pa.int32(), photographs),
        "status": column("done", pa.string(), photographs),
        "detections": column(on_each, pa.int32(), photographs),
        "finished_at": pa.array(times, schemas.TIME),
    }
    rows = photographs * on_each
    # Some places on the sheet, where animals sit on for a while.
    left = np.tile(np.arange(on_each) * 400.0, photographs) + random.integers(0, 3, rows)
    top = np.repeat(random.integers(0, 2000, photographs // 10 + 1), on_each * 10)[:rows].astype(float)
    ids = [f"{image}-{n}" for image in images for n in range(on_each)]
    boxes = {
        "image_id": pa.array(np.repeat(images, on_each)),
        "detection_id": ids,
        **{"x1": left, "y1": top, "x2": left + 60, "y2": top + 40},
        "score": random.random(rows),
        "algorithm": column("boxes", pa.string(), rows),
        "algorithm_version": column("1", pa.string(), rows),
        "worker": column("worker", pa.string(), rows),
        "created_at": column(times[0], schemas.TIME, rows),
    }
    _write(lake, "captures", job, captures, of_job)
    lake.write_table("failed_images", JobId(job), Generation(1), [schemas.FAILED_IMAGES.empty_table()])
    _write(lake, "detections", job, boxes, of_job)
    lake.write_table(
        "classifications",
        JobId(job),
        Generation(1),
        (_scored(random, names, ids[at : at + 10_000], of_job) for at in range(0, rows, 10_000)),
    )


def _scored(random: np.random.Generator, names: np.ndarray, ids: list[str], of_job: dict[str, str]) -> pa.Table:
    rows = len(ids)
    logits = random.standard_normal((rows, len(names)), np.float32)
    logits[np.arange(rows), random.integers(0, len(names), rows)] += 8
    scores = np.exp(logits)
    scores /= scores.sum(1, keepdims=True)
    best = scores.argmax(1)
    values = {
        "image_id": [int(one.partition("-")[0]) for one in ids],
        "detection_id": ids,
        "algorithm": [CLASSIFIER.key] * rows,
        "algorithm_version": [CLASSIFIER.version] * rows,
        "label": names[best].tolist(),
        "score": scores.max(1),
        "top_labels": [[name] for name in names[best].tolist()],
        "top_scores": scores.max(1)[:, None].tolist(),
        "terminal": [True] * rows,
        "created_at": [datetime(2026, 7, 1, tzinfo=UTC)] * rows,
        "scores": [one.tobytes() for one in scores.astype("<f2")],
    }
    return _table("classifications", values, of_job)


def _table(name: str, values: dict[str, object], of_job: dict[str, str]) -> pa.Table:
    schema = schemas.TABLES[name]
    given = {**values, **{key: [value] * len(values["image_id"]) for key, value in of_job.items()}}  # type: ignore[arg-type]
    known = pa.table(
        {key: pa.array(value, schema.field(key).type) for key, value in given.items() if key in schema.names}
    )
    return arrow.fitted(known, schema)


def _write(lake: Lake, name: str, job: int, values: dict[str, object], of_job: dict[str, str]) -> None:
    lake.write_table(name, JobId(job), Generation(1), [_table(name, values, of_job)])


def knowledge(classes: int, deployments: int = JOBS) -> tuple[Knowledge, Classes]:
    """A place for each deployment, a name for each label, and a species list with every other class."""
    names = labels(classes)
    taxa = {
        name: Taxon(name=name, rank="species", lineage={"family": "Familia", "genus": name.split()[0], "species": name})
        for name in names
    }
    zone = ZoneInfo("Europe/Copenhagen")
    sites = [f"site {number}" for number in range(1, deployments + 1)]
    known = Knowledge(
        project="bench",
        places={
            site: Place(deployment=site, latitude=55.7, longitude=12.6, time_zone=zone.key, zone=zone) for site in sites
        },
        taxa=taxa,
        lists={"half": SpeciesList(name="half", species=frozenset(names[::2]))},
        project_list="half",
    )
    return known, classes_of(CLASSIFIER, names, (), taxa)


def _derive(folder: str, classes: int) -> tuple[float, float, float, int]:
    known, of_classifier = knowledge(classes)
    sources = [derived.Source(JobId(job), Generation(1), "moths", DETECTIONS // JOBS) for job in range(1, JOBS + 1)]
    started = time.perf_counter()
    rows, _ = derive.write_tables(
        Lake(folder), paths.Scope(project="bench"), sources, known, lambda _: {CLASSIFIER: of_classifier}
    )
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, rows["counts"]
