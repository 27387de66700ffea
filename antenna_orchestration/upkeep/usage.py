"""Usage: how many bytes projects, jobs and tables take in the lake, and how many the databases take.

The lake is listed folder by folder, so that memory does not grow with all of its files together, and nothing is read.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.catalog import sizes
from antenna_orchestration.catalog.sizes import NamedJob
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.folder import Folder, Missing
from antenna_orchestration.processing.services import Records

SHARED: Final = ""
"""The project of what belongs to several, such as merged tables."""

_OF_JOB: Final = re.compile(r"(?:^|/)job_id=(\d+)/")
_OF_PROJECT: Final = re.compile(r"(?:^|/)project=([^/]+)/")

_NESTED: Final = frozenset({paths.DERIVED, paths.EXPORTS, paths.MERGED, "derived/jobs", "derived/projects"})
"""Folders whose folders are listed one by one."""


@dataclass(slots=True)
class LakeUsage:
    """Bytes of the lake's files."""

    # By table and job, or project for what belongs to none.
    tables: Counter[str] = field(default_factory=Counter)
    jobs: Counter[JobId] = field(default_factory=Counter)
    projects: Counter[str] = field(default_factory=Counter)
    names: Mapping[JobId, NamedJob] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """All together."""
        return self.tables.total()


async def of_lake(records: Records, *, project: str | None = None) -> LakeUsage:
    """What the lake holds, of all projects or of one. Raises `Unavailable`."""
    found = await asyncio.to_thread(_listed, records.lake_folder)
    of_jobs = sorted({job for _, job, _ in found if job is not None})
    names = await records.catalog.sizes.names(of_jobs)
    usage = LakeUsage(names=names)
    for (table, job, said), bytes_ in found.items():
        # Jobs that the catalog does not know are of another deployment, or were deleted by hand there.
        known = names.get(job) if job is not None else None
        whose = known.project if known else said
        if project is not None and whose != project:
            continue
        usage.tables[table] += bytes_
        usage.projects[whose] += bytes_
        if job is not None:
            usage.jobs[job] += bytes_
    return usage


async def of_databases(records: Records) -> dict[str, int]:
    """Bytes of the catalog's tables, the largest first, and of `Dagster's history` if it can be looked at."""
    found = await records.catalog.sizes.of_tables()
    url = records.settings.dagster_pg_url
    if url:
        try:
            found[DAGSTER] = await sizes.of_database(url)
        except errors.Unavailable:
            # Its database may be open to Dagster's own processes only.
            return found
    return found


DAGSTER: Final = "Dagster's history"


def _listed(folder: Folder) -> Counter[tuple[str, JobId | None, str]]:
    """Bytes by table, job and project. Blocks."""
    found: Counter[tuple[str, JobId | None, str]] = Counter()
    waiting = [name for name in folder.names("") if not name.startswith(".")]
    while waiting:
        path = waiting.pop()
        if path in _NESTED:
            waiting += [f"{path}/{name}" for name in folder.names(path)]
            continue
        try:
            files = folder.details(path)
        except Missing:
            continue
        for file, (bytes_, _) in files.items():
            job, project = _OF_JOB.search(file), _OF_PROJECT.search(file)
            whose = project.group(1) if project else SHARED
            found[_table(file), JobId(int(job.group(1))) if job else None, whose] += bytes_
    return found


def _table(file: str) -> str:
    """The table of a file, or what else it belongs to: the folders before those of a job or project."""
    before = re.split(r"(?:^|/)(?:job_id|project)=", file)[0]
    folders = [one for one in before.split("/") if "." not in one and one not in ("jobs", "projects")]
    return "/".join(folders) or "files at the top"
