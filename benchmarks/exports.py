"""How long exports of 1,000,000 detections of 100,000 photographs take, and the memory above that at the start.

The results are those of `deriving`: ten jobs, ten deployments, a hundred nights, 100 classes. Beside them stands what
pyarrow alone needs to read the same derived tables and write them as CSV. Crops are measured on photographs that are
drawn, beside what decoding them takes in one process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow.csv
import pyarrow.parquet as pq

from antenna_orchestration.answers import derive, kept_downloads
from antenna_orchestration.answers.kept_downloads import Kept
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.ecology import columns
from antenna_orchestration.ecology.names import Names
from antenna_orchestration.exports import crops, csv_tables
from antenna_orchestration.exports.dataset import Contributor, Dataset, Project
from antenna_orchestration.exports.formats import FORMATS
from antenna_orchestration.exports.material import Material, OfJob, Photograph, Pictures
from antenna_orchestration.exports.report import page
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.lake import derived, paths
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.pipelines import images
from antenna_orchestration.processing import photographs
from antenna_orchestration.settings import Settings
from antenna_orchestration.synthetic import captures
from benchmarks import deriving
from benchmarks.figures import Figure, cpu_seconds

CLASSES: Final = 100
MOST_MB: Final = 1_000

PROJECT: Final = paths.Scope(project="bench")

PHOTOGRAPHS: Final = 40
CROPS_ON_EACH: Final = 10


class Measured(NamedTuple):
    """An export that is measured."""

    format: str
    options: dict[str, str]
    most_seconds: float | None


EXPORTS: Final = (
    Measured("tables", {"as": "csv"}, 90),
    Measured("tables", {"as": "parquet"}, 90),
    Measured("camtrap-dp", {}, 90),
    Measured("dwca", {}, 90),
    Measured("megadetector", {}, 60),
    Measured("coco", {}, None),
    Measured("yolo", {"images": "none"}, None),
    Measured("label-studio", {"empty": "no"}, None),
    Measured("antenna", {}, None),
    Measured("duckdb", {}, 90),
)
"""Those of a million; formats whose results depend on the speed of decoding are measured apart."""


class Cost(NamedTuple):
    """What something took."""

    seconds: float
    cpu: float
    # Above what the process had at its start.
    mb: float
    # Bytes written.
    size: int


def run() -> list[Figure]:
    """Each export in a process of its own, as memory is of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        _apart(deriving.write_results, folder, CLASSES)
        _apart(derive_tables, folder)
        plain: Cost = _apart(with_pyarrow, folder)
        return [
            Figure("pyarrow reads the tables and writes CSV", plain.seconds, "s"),
            *(figure for one in EXPORTS for figure in of_a_million(folder, one, plain)),
            *_figures("report without crops", _apart(report, folder), plain, 30),
            *_figures("CSV of observations for HTTP", _apart(csv_for_download, folder), plain, None),
            *_of_crops(folder),
        ]


def of_a_million(folder: str, one: Measured, plain: Cost) -> list[Figure]:
    """The figures of an export of derived tables that lie in the folder."""
    name = " ".join([one.format, *one.options.values()])
    return _figures(name, _apart(export, folder, one), plain, one.most_seconds)


def _figures(name: str, cost: Cost, plain: Cost, most_seconds: float | None) -> list[Figure]:
    return [
        Figure(name, cost.seconds, "s", at_most=most_seconds),
        Figure(f"{name}: CPU", cost.cpu, "s"),
        Figure(f"{name}: memory above the start", cost.mb, "MB", at_most=MOST_MB),
        Figure(f"{name}: time of pyarrow's", cost.seconds / plain.seconds),
        Figure(f"{name}: size", cost.size / 1e6, "MB"),
    ]


def _apart(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def derive_tables(folder: str) -> None:
    """Derive the tables of the project."""
    known, of_classifier = deriving.knowledge(CLASSES)
    sources = [
        derived.Source(JobId(job), Generation(1), "moths", deriving.DETECTIONS // deriving.JOBS)
        for job in range(1, deriving.JOBS + 1)
    ]
    derive.write_tables(Lake(folder), PROJECT, sources, known, lambda _: {deriving.CLASSIFIER: of_classifier})


def material(folder: str, pictures: Pictures | None = None) -> Material:
    """The results, with all that archives demand."""
    known, _ = deriving.knowledge(CLASSES)
    who = Contributor(given="Ada", family="Example", email="ada@example.org", roles=("contact", "rightsHolder"))
    return Material(
        selection=Selection(project="bench"),
        lake=Lake(folder),
        scope=PROJECT,
        jobs=[OfJob(JobId(job), f"job {job}", "moths", datetime(2026, 7, 1, tzinfo=UTC)) for job in range(1, 11)],
        places=known.places,
        names=Names(known.taxa),
        dataset=Dataset(
            title="Benchmark",
            description="Drawn by a program.",
            contributors=(who,),
            data_licence="CC0-1.0",
            media_licence="CC-BY-4.0",
            project=Project(title="Benchmark", sampling_design="targeted", capture_method=("timeLapse",)),
        ),
        pictures=pictures,  # type: ignore[arg-type]
        made_at=datetime(2026, 7, 2, tzinfo=UTC),
    )


def export(folder: str, one: Measured) -> Cost:
    """Write an export beside the results."""
    made = material(folder)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return _measured(lambda: FORMATS[one.format].write(made, Path(place) / "out", **one.options), Path(place))


def report(folder: str) -> Cost:
    """Write the report without pictures."""
    made = material(folder)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return _measured(
            lambda: (Path(place) / "report.html").write_bytes(page.made(made, pictures=False).html), Path(place)
        )


def csv_for_download(folder: str) -> Cost:
    """Make the CSV that the gateway hands out of a million observations."""
    lake = Lake(folder)
    kept = Kept.of(PROJECT, "observations.csv")

    def make() -> None:
        with derived.opened(lake, PROJECT, "observations") as opened:
            lines = csv_tables.lines(columns.SCHEMAS["observations"].names, opened.batches())
            kept_downloads.make(lake, kept, lines, most=0, stop=threading.Event())

    return _measured(make, Path(folder) / kept_downloads.FOLDER)


def with_pyarrow(folder: str) -> Cost:
    """Read the derived tables and write them as CSV, which has no lists."""
    with tempfile.TemporaryDirectory(dir=folder) as place:

        def copy() -> None:
            for table in paths.DERIVED_TABLES:
                file = pq.ParquetFile(Path(folder) / PROJECT.path(table))
                names = [one.name for one in file.schema_arrow if one.name != "flags"]
                kinds = pyarrow.schema([file.schema_arrow.field(name) for name in names])
                with pyarrow.csv.CSVWriter(f"{place}/{table}.csv", kinds) as writer:
                    for batch in file.iter_batches(columns=names):
                        writer.write_batch(batch)

        return _measured(copy, Path(place))


def _measured(work: Callable[[], object], place: Path) -> Cost:
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = sum(one.stat().st_size for one in place.rglob("*") if one.is_file())
    return Cost(seconds, cpu, (after.ru_maxrss - before.ru_maxrss) / 1024, size)


# Crops


def _of_crops(folder: str) -> list[Figure]:
    card = Path(folder) / "card"
    card.mkdir()
    for number in range(PHOTOGRAPHS):
        (card / f"{number}.jpg").write_bytes(captures.draw_capture(number, 4096, 2160)[0])
    decoding: float = _apart(_decode, str(card))
    seconds, cpu = _apart(_cut, folder, str(card))
    return [
        Figure("decoding a photograph of 4096 x 2160: CPU", decoding * 1000, "ms"),
        Figure("crops, ten of each such photograph", 1 / seconds, "photographs/s"),
        Figure("crops: CPU for a photograph, all processes together", cpu * 1000, "ms"),
        Figure("crops: CPU of decoding alone", cpu / decoding),
    ]


def _decode(card: str) -> float:
    """Seconds of CPU for a photograph."""
    contents = [one.read_bytes() for one in Path(card).iterdir()]
    started = time.process_time()
    for content in contents:
        images.decode(content)
    return (time.process_time() - started) / len(contents)


class _OfCard(Material):
    """Material whose photographs are those of a folder."""

    def photographs(self, *columns: str, counted_only: bool = False) -> Any:
        boxes = [
            {"x1": 380.0 * n, "y1": 700.0, "x2": 380.0 * n + 120, "y2": 800.0, "taxon": "Genus0 speciesa", "score": 0.9}
            for n in range(CROPS_ON_EACH)
        ]
        for number in range(PHOTOGRAPHS):
            found = [
                {**box, "observation_id": f"1-{number}-{n}", "source": "classifier"} for n, box in enumerate(boxes)
            ]
            row = {"url": f"file://{self.lake.uri}/card/{number}.jpg", "status": "done"}
            yield Photograph(row, f"{number}.jpg", found)


def _cut(folder: str, card: str) -> tuple[float, float]:
    """Seconds and CPU seconds for a photograph, without what the processes start with."""

    async def cut() -> tuple[float, float]:
        async with photographs.pictures(Settings(image_roots=(Path(card),))) as pictures:
            plain = material(folder, pictures)
            of_card = _OfCard(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
            await asyncio.to_thread(crops.write, of_card, Path(folder) / "warm")
            started, used = time.perf_counter(), cpu_seconds([os.getpid()])
            await asyncio.to_thread(crops.write, of_card, Path(folder) / "crops")
            seconds, cpu = time.perf_counter() - started, cpu_seconds([os.getpid()]) - used
            return seconds / PHOTOGRAPHS, cpu / PHOTOGRAPHS

    return asyncio.run(cut())
