"""Files that are made for those who download: CSV, MegaDetector's JSON, and the rows that a job has so far.

They lie in the lake below `downloads/`, so that a download can be resumed at any gateway. Each is made once for each
state of what it is made of, appears whole or not at all, and can be made again: the oldest go when there are too many
bytes of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from antenna_orchestration import __version__, errors
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.lake.derived import Scope
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing.results_of import results_of
from antenna_orchestration.processing.services import Services

FOLDER: Final = "downloads"
"""Below the lake's root; a backup leaves it out."""

TABLES: Final = ("detections", "classifications", "captures", "failed_images")
"""The tables of results that people read."""

ABOUT: Final = "about.json"
"""The file of rows so far that is written last and removed first: with it they are whole."""

FRESH: Final = 30.0
"""Seconds for which rows so far are handed out though there are more by now, besides what their size adds."""

SLOW_LINE: Final = 100_000
"""Bytes per second: rows so far stay for as long as they take on a slow line, so that a download of them can go on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A file to download, and the state of what it is made of."""

    # A job's or a project's folder.
    whose: str
    # Such as `detections.csv`.
    name: str
    # Another one for each state; also the file's `ETag`.
    tag: str

    @classmethod
    def of(cls, scope: Scope, name: str, *state: object) -> Kept:
        """The file that is made of what is in this state, by this version of the program."""
        whose = f"job_id={scope.job}" if scope.job is not None else f"project={scope.project}"
        text = json.dumps([__version__, whose, name, *state], default=str)
        return cls(whose=whose, name=name, tag=hashlib.sha256(text.encode()).hexdigest()[:32])

    @property
    def path(self) -> str:
        """Below the lake's root."""
        return f"{FOLDER}/{self.whose}/{self.tag}-{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Readable:
    """The tables of a job's results as they are now."""

    lake: Lake
    # Another one for each state of them.
    state: str
    # Images that have no result yet; None: the tables are final.
    pending: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether the job is over and the tables have all of its results."""
        return self.pending is None


def is_there(lake: Lake, kept: Kept) -> bool:
    """Whether the file was made. Blocks."""
    return lake.has_file(kept.path)


def make(lake: Lake, kept: Kept, pieces: Iterator[bytes], *, most: int, stop: threading.Event) -> None:
    """Make the file, and drop those of earlier states and the oldest beyond `most` bytes.

    Blocks. What the pieces raise is raised, and so is `Unavailable`; then there is no file.
    """

    def fill(sink: IO[bytes]) -> None:
        for piece in pieces:
            if stop.is_set():
                raise errors.Unavailable("the gateway stops")
            sink.write(piece)

    lake.write_file(kept.path, fill)
    folder = f"{FOLDER}/{kept.whose}"
    ours = kept.path.rpartition("/")[2]
    lake.drop(f"{folder}/{one}" for one in lake.names(folder) if one != ours and one[33:] == kept.name)
    drop_oldest(lake, most=most, keep=kept.path)


def drop_oldest(lake: Lake, *, most: int, keep: str) -> None:
    """Drop the oldest downloads until at most `most` bytes are left, but never `keep`. Blocks."""
    sizes: dict[str, int] = {}
    ages: dict[str, float] = {}
    for path, (size, written) in lake.files_below(FOLDER).items():
        # A file, or the folder of rows so far.
        one = "/".join(path.split("/")[:3])
        sizes[one] = sizes.get(one, 0) + size
        ages[one] = max(written, ages.get(one, written))
    total = sum(sizes.values())
    for one in sorted(sizes, key=lambda name: ages[name]):
        if total <= most:
            return
        if one != keep:
            _drop(lake, one)
            total -= sizes[one]


def _drop(lake: Lake, one: str) -> None:
    if one.rpartition("/")[2].startswith(_SO_FAR):
        lake.drop([f"{one}/{ABOUT}"])
        with suppress(Missing):
            lake.drop_folder(one)
    else:
        lake.drop([one])


# Results of a job

_SO_FAR: Final = "so-far-"


async def final(services: Services, job: Job) -> Readable:
    """The final tables of a job that is over and has them. Raises `Unavailable`."""
    found = [await asyncio.to_thread(services.lake.files_of, table, job.job_id) for table in TABLES]
    return Readable(lake=services.lake, state=json.dumps([job.generation, *found], sort_keys=True))


async def newest_so_far(services: Services, job: Job) -> Readable | None:
    """Rows so far of a job that was written before, unless there are more by now. Raises `Unavailable`."""
    folder = f"{FOLDER}/job_id={job.job_id}"
    for name in sorted(await asyncio.to_thread(services.lake.names, folder), reverse=True):
        if name.startswith(_SO_FAR):
            with suppress(Missing):
                about = json.loads(await asyncio.to_thread(services.lake.read_bytes, f"{folder}/{name}/{ABOUT}"))
                if about["generation"] == job.generation and await _is_fresh(services, job, about):
                    return _so_far(services, f"{folder}/{name}", about["pending"])
    return None


async def _is_fresh(services: Services, job: Job, about: dict[str, int | float]) -> bool:
    age = datetime.now(UTC).timestamp() - about["made_at"]
    if 0 <= age < FRESH + about["bytes"] / SLOW_LINE:
        return True
    return (await services.catalog.images.count(job.job_id)).pending == about["pending"]


async def make_so_far(services: Services, job_id: JobId, *, most: int) -> Readable | None:
    """Write the rows that a job has so far; None if it ended meanwhile and has final tables.

    Raises `Conflict` if it has no results yet, and `Unavailable`.
    """
    scope = Scope(job=job_id)
    async with results_of(services, scope) as results:
        if results.lake is services.lake:
            return None
        made_at = datetime.now(UTC)
        folder = f"{FOLDER}/job_id={job_id}"
        path = f"{folder}/{_SO_FAR}{made_at:%Y%m%dT%H%M%S%f}"
        [source] = results.sources
        copied = await asyncio.to_thread(_copy, results.lake, job_id, services.lake, path)
        about = {
            "generation": source.generation,
            "pending": results.pending,
            "made_at": made_at.timestamp(),
            "bytes": copied,
        }
        await asyncio.to_thread(services.lake.write_bytes, f"{path}/{ABOUT}", json.dumps(about).encode())
        await asyncio.to_thread(_drop_earlier, services.lake, folder, path, most)
        return _so_far(services, path, results.pending)


def jobs_so_far(lake: Lake) -> set[JobId]:
    """The jobs of which there are rows so far. Blocks."""
    return {
        JobId(int(folder.removeprefix("job_id=")))
        for folder in lake.names(FOLDER)
        if folder.removeprefix("job_id=").isdecimal()
        and any(name.startswith(_SO_FAR) for name in lake.names(f"{FOLDER}/{folder}"))
    }


def drop_so_far(lake: Lake, job: JobId) -> None:
    """Drop the rows so far of a job, as it has final tables. Blocks."""
    folder = f"{FOLDER}/job_id={job}"
    for name in lake.names(folder):
        if name.startswith(_SO_FAR):
            _drop(lake, f"{folder}/{name}")


def _so_far(services: Services, path: str, pending: int) -> Readable:
    return Readable(lake=services.lake.below(path), state=path, pending=pending)


def _copy(local: Lake, job: JobId, to: Lake, path: str) -> int:
    """Returns the bytes."""
    files: dict[str, Path] = {}
    size = 0
    for table in TABLES:
        for name, bytes_ in local.files_of(table, job).items():
            below = f"{table}/job_id={job}/{name}"
            files[f"{path}/{below}"] = Path(local.uri) / below
            size += bytes_
    to.write_files(files)
    return size


def _drop_earlier(lake: Lake, folder: str, path: str, most: int) -> None:
    for name in lake.names(folder):
        if name.startswith(_SO_FAR) and f"{folder}/{name}" < path:
            _drop(lake, f"{folder}/{name}")
    drop_oldest(lake, most=most, keep=path)
