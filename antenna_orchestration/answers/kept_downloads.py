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
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final

from antenna_orchestration import __version__, errors
from antenna_orchestration.answers.results_of import results_of
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing.services import Services

FOLDER: Final = paths.DOWNLOADS

TABLES: Final = ("detections", "classifications", "captures", "failed_images")
"""The tables of results that people read."""

ABOUT: Final = "about.json"
"""The file of rows so far that is written last and removed first: with it they are whole."""

FRESH: Final = 30.0
"""Seconds for which rows so far are handed out though there are more by now, besides what their size adds."""

SLOW_LINE: Final = 100_000
"""Bytes per second: rows so far stay for as long as they take on a slow line, so that a download of them can go on."""


JUST_NOW: Final = 60.0
"""Seconds for which a file stays in any case."""

EARLIER_STAY: Final = 3600.0
"""Seconds for which rows so far stay when there are newer ones, so that a download of them can be resumed."""

LAST_STAY: Final = 86_400.0
"""The same for the newest rows so far: those of a canceled job are its last."""

LOOK_EVERY: Final = 300.0
"""Seconds after which a gateway looks again how much is there."""

_SHARE: Final = 4
"""Of what room is left, a process takes one part in so many before it looks again, for there may be others."""


class Changed(errors.Conflict):
    """The results changed while a file was made of them."""


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
    # Whether they are there still, in this state. Blocks.
    is_same: Callable[[], bool]
    # Images that have no result yet; None: the tables are final.
    pending: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether the job is over and the tables have all of its results."""
        return self.pending is None

    def unchanged(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """What is made of the tables. Raises `Changed` in the end if they became others meanwhile."""
        # They are listed and read one after another: a retry writes some of them and deletes others.
        try:
            yield from pieces
        except Missing:
            if self.is_same():
                raise
        if not self.is_same():
            raise Changed("the job's results changed while the file was made; ask again")


def is_there(lake: Lake, kept: Kept) -> bool:
    """Whether the file was made. Blocks."""
    return lake.has_file(kept.path)


class Room:
    """The room below `downloads/`, as this process knows it: to look costs a listing of all that is there."""

    def __init__(self, most: int) -> None:
        """`most` bytes may be there."""
        self.most = most
        self._lock = threading.Lock()
        self._left = 0
        self._until = 0.0

    def taken(self, lake: Lake, path: str, size: int) -> None:
        """Drop the oldest downloads if there may be too many; `path`, of `size` bytes, was just written. Blocks."""
        with self._lock:
            self._left -= size
            if self._left >= 0 and time.monotonic() < self._until:
                return
            # Other gateways write, too.
            self._left = (self.most - drop_oldest(lake, most=self.most, keep=path)) // _SHARE
            self._until = time.monotonic() + LOOK_EVERY


def make(lake: Lake, kept: Kept, pieces: Iterator[bytes], *, room: Room, stop: threading.Event) -> None:
    """Make the file, and drop those of earlier states and, without room, the oldest.

    Blocks. What the pieces raise is raised, and so is `Unavailable`; then there is no file.
    """
    size = 0

    def fill(sink: IO[bytes]) -> None:
        nonlocal size
        for piece in pieces:
            if stop.is_set():
                raise errors.Unavailable("the gateway stops")
            size += sink.write(piece)

    lake.write_file(kept.path, fill)
    folder = f"{FOLDER}/{kept.whose}"
    ours = kept.path.rpartition("/")[2]
    lake.drop(f"{folder}/{one}" for one in lake.names(folder) if one != ours and one[33:] == kept.name)
    room.taken(lake, kept.path, size)


def drop_oldest(lake: Lake, *, most: int, keep: str) -> int:
    """Drop the oldest downloads until at most `most` bytes are left; returns how many are. Blocks.

    Never `keep`, nor what was written in the last minute: those who wait for it may not have opened it yet, and rows so
    far may still be written.
    """
    sizes: dict[str, int] = {}
    ages: dict[str, float] = {}
    marked: set[str] = set()
    for path, (size, written) in lake.files_below(FOLDER).items():
        # A file, or the folder of rows so far.
        one = "/".join(path.split("/")[:3])
        sizes[one] = sizes.get(one, 0) + size
        ages[one] = max(written, ages.get(one, written))
        if path.endswith(f"/{ABOUT}"):
            marked.add(one)
    total = sum(sizes.values())
    now = time.time()
    for one in sorted(sizes, key=lambda name: ages[name]):
        if total <= most:
            break
        is_written = _is_so_far(one) and one not in marked
        if one != keep and now - ages[one] > (EARLIER_STAY if is_written else JUST_NOW):
            _drop(lake, one)
            total -= sizes[one]
    return total


def _is_so_far(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_SO_FAR)


def _drop(lake: Lake, one: str) -> None:
    if _is_so_far(one):
        # First: who reads the rest meanwhile looks for it in the end.
        lake.drop([f"{one}/{ABOUT}"])
        with suppress(Missing):
            lake.drop_folder(one)
    else:
        lake.drop([one])


# Results of a job

_SO_FAR: Final = "so-far-"

_AT: Final = "%Y%m%dT%H%M%S%f"
"""The form of the time, of UTC, in the names of rows so far: they sort by it."""


async def final(services: Services, job: Job) -> Readable:
    """The final tables of a job that is over and has them. Raises `Unavailable`."""

    def state() -> str:
        found = [services.lake.files_of(table, job.job_id) for table in TABLES]
        # Another deployment may have had a job of this number here.
        return json.dumps([str(job.created_at), job.generation, *found], sort_keys=True)

    known = await asyncio.to_thread(state)
    return Readable(lake=services.lake, state=known, is_same=lambda: state() == known)


async def newest_so_far(services: Services, job: Job) -> Readable | None:
    """Rows so far of a job that were written before, unless there are more by now. Raises `Unavailable`."""
    for path in await asyncio.to_thread(_all_so_far, services.lake, job.job_id):
        if about := await _about(services, path):
            is_newest = about["generation"] == job.generation and await _is_fresh(services, job, about)
            return _so_far(services, path, int(about["pending"])) if is_newest else None
    return None


async def earlier_so_far(services: Services, job: Job, is_it: Callable[[str], bool]) -> Readable | None:
    """Those rows so far of a job, if they are there still, for whose state `is_it`. Raises `Unavailable`."""
    for path in await asyncio.to_thread(_all_so_far, services.lake, job.job_id):
        if is_it(path) and (about := await _about(services, path)):
            return _so_far(services, path, int(about["pending"]))
    return None


async def _about(services: Services, path: str) -> dict[str, int | float] | None:
    with suppress(Missing):
        about: dict[str, int | float] = json.loads(await asyncio.to_thread(services.lake.read_bytes, f"{path}/{ABOUT}"))
        return about
    return None


def _all_so_far(lake: Lake, job: JobId) -> list[str]:
    """The folders of rows so far of a job, the newest first. Blocks."""
    folder = f"{FOLDER}/job_id={job}"
    return [f"{folder}/{name}" for name in reversed(lake.names(folder)) if name.startswith(_SO_FAR)]


async def _is_fresh(services: Services, job: Job, about: dict[str, int | float]) -> bool:
    age = datetime.now(UTC).timestamp() - about["made_at"]
    if 0 <= age < FRESH + about["bytes"] / SLOW_LINE:
        return True
    return (await services.catalog.images.count(job.job_id)).pending == about["pending"]


async def make_so_far(services: Services, job_id: JobId, *, room: Room) -> Readable | None:
    """Write the rows that a job has so far; None if it ended meanwhile and has final tables.

    Raises `Conflict` if it has no results yet, and `Unavailable`.
    """
    scope = Scope(job=job_id)
    async with results_of(services, scope) as results:
        if results.lake is services.lake:
            return None
        made_at = datetime.now(UTC)
        path = f"{FOLDER}/job_id={job_id}/{_SO_FAR}{made_at:{_AT}}"
        [source] = results.sources
        copied = await asyncio.to_thread(_copy, results.lake, job_id, services.lake, path)
        about = {
            "generation": source.generation,
            "pending": results.pending,
            "made_at": made_at.timestamp(),
            "bytes": copied,
        }
        await asyncio.to_thread(services.lake.write_bytes, f"{path}/{ABOUT}", json.dumps(about).encode())
        await asyncio.to_thread(drop_old, services.lake, job_id)
        await asyncio.to_thread(room.taken, services.lake, path, copied)
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
    for path in _all_so_far(lake, job):
        _drop(lake, path)


def old_so_far(lake: Lake, job: JobId) -> list[str]:
    """The folders of rows so far of a job whose time is over. Blocks."""
    every = _all_so_far(lake, job)
    return [*_older(every[:1], LAST_STAY), *_older(every[1:], EARLIER_STAY)]


def drop_old(lake: Lake, job: JobId) -> None:
    """Drop `old_so_far`. Blocks."""
    for path in old_so_far(lake, job):
        _drop(lake, path)


def _older(paths: Iterable[str], seconds: float) -> Iterator[str]:
    before = f"{datetime.now(UTC) - timedelta(seconds=seconds):{_AT}}"
    return (path for path in paths if path.rpartition(_SO_FAR)[2] < before)


def _so_far(services: Services, path: str, pending: int) -> Readable:
    lake = services.lake
    return Readable(
        lake=lake.below(path), state=path, is_same=lambda: lake.has_file(f"{path}/{ABOUT}"), pending=pending
    )


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
