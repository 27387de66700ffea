"""Derived tables on this machine, for exports and reports: as they are to be now, and nobody changes them meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from antenna_orchestration.answers import derive, knowledge, results_of
from antenna_orchestration.answers.knowledge import Knowledge
from antenna_orchestration.answers.results_of import Results
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.lake import derived, paths
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTables:
    """Derived tables, with what they were made of and with."""

    lake: Lake
    scope: Scope
    results: Results
    known: Knowledge


@asynccontextmanager
async def local_tables(
    services: Services,
    *,
    jobs: Sequence[JobId] = (),
    project: str | None = None,
    capture_set: str | None = None,
) -> AsyncIterator[LocalTables]:
    """The derived tables of some jobs of one project, or of all of its finished jobs.

    Those of a finished job or of a project are derived in the lake, unless they are there and nothing has changed
    since, and then copied. Those of several jobs, of one that is not complete, and of the photographs of a capture set,
    as if there were no others, are derived here only.

    Raises as `derive.derive` does, `InvalidInput` for jobs of several projects, and `NotFound` for a capture set.
    """
    with tempfile.TemporaryDirectory(prefix="antenna-tables-") as folder:
        local = Lake(folder)
        if len(jobs) > 1:
            results = await results_of.of_several(services, jobs)
            scope = Scope(project=results.project)
            yield await _derived_here(services, scope, results, local, capture_set)
            return
        scope = Scope(job=jobs[0]) if jobs else Scope(project=project)
        # Before the results are read, as `derive` does: of two that write, the later one knows more.
        lock = services.catalog.jobs.derivation_lock(scope.name)
        async with lock, results_of.results_of(services, scope) as results:
            if results.pending or capture_set is not None:
                made = await _derived_here(services, scope, results, local, capture_set)
            else:
                made = await _derived_in_the_lake(services, scope, results, local)
        yield made


async def _derived_here(
    services: Services, scope: Scope, results: Results, local: Lake, capture_set: str | None
) -> LocalTables:
    only = None if capture_set is None else await _images_of(services, results.project, capture_set)
    known = await knowledge.load(services, results.project, jobs=results.job_ids)
    await derive.write(services, scope, results, known, into=local, only=only)
    return LocalTables(lake=local, scope=scope, results=results, known=known)


async def _images_of(services: Services, project: str, capture_set: str) -> pa.Table:
    one = await services.catalog.capture_sets.get(project, capture_set)
    images = [pa.array(some, pa.int64()) async for some in services.catalog.capture_sets.images(one)]
    return pa.table({"image_id": pa.chunked_array(images, pa.int64())})


async def _derived_in_the_lake(services: Services, scope: Scope, results: Results, local: Lake) -> LocalTables:
    known = await knowledge.load(services, results.project, jobs=results.job_ids)
    if not await asyncio.to_thread(_is_current, services.lake, scope, results, known):
        await derive.write(services, scope, results, known)
    await asyncio.to_thread(_copy, services.lake, scope, local)
    return LocalTables(lake=local, scope=scope, results=results, known=known)


def _is_current(lake: Lake, scope: Scope, results: Results, known: Knowledge) -> bool:
    # Of damaged tables nothing is known.
    with suppress(pa.ArrowException):
        return derived.is_current(lake, scope, results.sources, known.fingerprint)
    return False


def _copy(lake: Lake, scope: Scope, local: Lake) -> None:
    for path in map(scope.path, paths.DERIVED_TABLES):
        to = Path(local.uri) / path
        to.parent.mkdir(parents=True, exist_ok=True)
        lake.fetch(path, to)
