"""What the lake holds of a job in its folders, and how that goes. Rows in files of several jobs are in `merged`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.lake import paths, schemas
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import CURRENT, Lake

_FIRST: Final = ("captures", "failed_images", "detections", "classifications")
"""Tables in the order in which they go: without a job's captures, none of its rows is among the newest results."""


class Held(NamedTuple):
    """Files of a job and their bytes."""

    files: int
    bytes: int


def held(lake: Lake, job: JobId) -> dict[str, Held]:
    """What there is of a job, by its folder. Blocks."""
    found = {}
    for folder in _folders(lake, job):
        if sizes := [size for size, _ in lake.files_below(folder).values()]:
            found[folder] = Held(len(sizes), sum(sizes))
    return found


def remove(lake: Lake, job: JobId) -> None:
    """Delete all folders of a job; idempotent, may be killed. Blocks; raises `Unavailable`."""
    for folder in _folders(lake, job):
        with suppress(Missing):
            lake.drop_folder(folder)


def write_current(lake: Lake) -> None:
    """Write `current.sql` for the jobs that are left; without any, delete it, as DuckDB refuses views of no files."""
    if any(lake.names(f"captures/{folder}") for folder in lake.names("captures")):
        lake.write_current()
    else:
        lake.drop([CURRENT])


def jobs_with_folders(lake: Lake, jobs: set[JobId]) -> set[JobId]:
    """Those of the jobs of which the lake has any folder, by a listing of each place. Blocks."""
    if not jobs:
        return set()
    one = min(jobs)
    places = [folder.rpartition("/")[0] for folder in _folders(lake, one)]
    names = {name for place in places for name in lake.names(place)}
    return {job for job in jobs if f"job_id={job}" in names}


def _folders(lake: Lake, job: JobId) -> Iterator[str]:
    for table in (*_FIRST, *(name for name in schemas.ALL if name not in _FIRST)):
        yield paths.table(table, job)
    yield f"{paths.PARTS}/job_id={job}"
    for table in paths.DERIVED_TABLES:
        yield Scope(job=job).path(table).rpartition("/")[0]
    yield paths.report(job=job).rpartition("/")[0]
    yield f"{paths.DOWNLOADS}/job_id={job}"
    for format in lake.names(paths.EXPORTS):
        yield f"{paths.EXPORTS}/{format}/job_id={job}"
