"""Derive: compute observations, nights, counts and more of finished jobs anew from their results, without inference.

The results themselves are never changed, and deriving may be repeated: with the same results, recipe and knowledge the
files are the same to the byte. What is written replaces the derived tables of the same job or project.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology import tables
from antenna_orchestration.ecology.model import Classes, Taxon
from antenna_orchestration.ecology.names import require_kept
from antenna_orchestration.ecology.recipes import Recipe
from antenna_orchestration.ecology.steps import fixtures as steps_fixtures
from antenna_orchestration.ecology.tables import Tables
from antenna_orchestration.lake import derived
from antenna_orchestration.lake.derived import Scope, Source
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing import knowledge
from antenna_orchestration.processing.knowledge import Knowledge
from antenna_orchestration.processing.services import Services

Labels = Mapping[AlgorithmRef, Iterable[str]]

Registered = Callable[[Labels], Mapping[AlgorithmRef, Classes]]
"""The classes of classifiers, given the labels that occur of each."""


class _Where(NamedTuple):
    """A pipeline at a deployment; None: photographs without one."""

    pipeline: str
    deployment: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """What was written."""

    scope: Scope
    project: str
    # The jobs whose results went in.
    jobs: Sequence[JobId]
    # Hash of the recipe.
    recipe: str
    # Rows and places of each table.
    rows: Mapping[str, int]
    uris: Mapping[str, str]
    # What people should know of it, a line each.
    warnings: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """In one line, for people."""
        rows = ", ".join(counted(self.rows[table], table[:-1]) for table in derived.TABLES)
        return f"{self.scope.name}: {rows}; recipe {self.recipe}"


async def derive(
    services: Services, *, job: JobId | None = None, project: str | None = None, recipe: Recipe | None = None
) -> Derived:
    """Derive the tables of one finished job, or of all finished jobs of a project; with `recipe` in place of its own.

    Raises `NotFound` for a job or project that does not exist, `Conflict` if the job has no final tables or the project
    no finished job or another process is at the same for long, `InvalidInput` if the species lists keep no class of
    any pipeline, and `Unavailable`. Whatever it raises, the tables that were there stay.
    """
    if (job is None) == (project is None):
        raise errors.InvalidInput("name either one job or one project")
    scope = Scope(job=job, project=project)
    # The one that ends last must be the one that began last: it knows the most, and all tables are of one.
    async with services.catalog.jobs.derivation_lock(scope.name):
        return await _derive(services, scope, recipe)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTables:
    """Derived tables on this machine, for somebody who reads them as long as they are needed."""

    lake: Lake
    scope: Scope
    # What they were made of, and with.
    sources: Sequence[Source]
    known: Knowledge


@asynccontextmanager
async def local_tables(
    services: Services, *, jobs: Sequence[JobId] = (), project: str | None = None
) -> AsyncIterator[LocalTables]:
    """The derived tables of some jobs of one project, or of all of its finished jobs, as they are to be now.

    Those of one job or of a project are derived in the lake, unless they are there and nothing has changed since; then
    they are copied. Raises as `derive` does, and `InvalidInput` for jobs of several projects.
    """
    [job] = jobs if len(jobs) == 1 else [None]
    with tempfile.TemporaryDirectory(prefix="antenna-tables-") as folder:
        local = Lake(folder)
        if len(jobs) > 1:
            of, sources = await _several(services, jobs)
            scope = Scope(project=of)
            known = await knowledge.load(services, of, jobs=jobs)
            await _write(services, scope, sources, known, into=local)
        else:
            scope = Scope(job=job, project=project)
            async with services.catalog.jobs.derivation_lock(scope.name):
                of, sources = await _sources(services, scope)
                known = await knowledge.load(services, of, jobs=[one.job_id for one in sources])
                if not await asyncio.to_thread(_is_current, services.lake, scope, sources, known):
                    await _write(services, scope, sources, known)
                await asyncio.to_thread(_copy, services.lake, scope, local)
        yield LocalTables(lake=local, scope=scope, sources=sources, known=known)


def _is_current(lake: Lake, scope: Scope, sources: Sequence[Source], known: Knowledge) -> bool:
    # Of damaged tables nothing is known.
    with suppress(pa.ArrowException):
        return derived.is_current(lake, scope, sources, known.fingerprint)
    return False


def _copy(lake: Lake, scope: Scope, local: Lake) -> None:
    for path in map(scope.path, derived.TABLES):
        to = Path(local.uri) / path
        to.parent.mkdir(parents=True, exist_ok=True)
        lake.fetch(path, to)


async def _derive(services: Services, scope: Scope, recipe: Recipe | None) -> Derived:
    of, sources = await _sources(services, scope)
    known = await knowledge.load(services, of, jobs=[one.job_id for one in sources], recipe=recipe)
    rows, warnings = await _write(services, scope, sources, known)
    return Derived(
        scope=scope,
        project=of,
        jobs=[one.job_id for one in sources],
        recipe=known.recipe.hash,
        rows=rows,
        uris={table: f"{services.lake.uri}/{scope.path(table)}" for table in derived.TABLES},
        warnings=warnings,
    )


async def _write(
    services: Services, scope: Scope, sources: Sequence[Source], known: Knowledge, *, into: Lake | None = None
) -> tuple[dict[str, int], Sequence[str]]:
    loop = asyncio.get_running_loop()

    def registered(seen: Labels) -> Mapping[AlgorithmRef, Classes]:
        # On the thread that derives, which waits for the answer.
        asked = knowledge.classes(services, known.taxa, seen)
        return asyncio.run_coroutine_threadsafe(asked, loop).result()

    return await asyncio.to_thread(write_tables, services.lake, scope, sources, known, registered, into=into)


async def _sources(services: Services, scope: Scope) -> tuple[str, list[Source]]:
    if scope.job is not None:
        return await _job(services, scope.job)
    return await _jobs(services, scope.project or "")


async def _several(services: Services, jobs: Sequence[JobId]) -> tuple[str, list[Source]]:
    """The one project of some jobs, and the jobs. Raises `NotFound`, `Conflict`, `InvalidInput`."""
    found = [await _job(services, job) for job in dict.fromkeys(jobs)]
    projects = sorted({project for project, _ in found})
    if len(projects) > 1:
        raise errors.InvalidInput(f"the jobs belong to several projects ({', '.join(projects)}): export one at a time")
    return projects[0], [source for _, sources in found for source in sources]


async def _job(services: Services, job_id: JobId) -> tuple[str, list[Source]]:
    """The project of a job, and the job. Raises `NotFound`, and `Conflict` if it has no final tables."""
    job = await services.catalog.jobs.get(job_id)
    if not await services.catalog.jobs.compacted([job_id]):
        hint = f"; `antenna jobs retry {job_id}` goes on with it" if job.status is JobStatus.CANCELED else ""
        raise errors.Conflict(f"job {job_id} is {job.status} and has no final tables to derive from{hint}")
    return job.project, [Source(job_id, job.generation, job.pipeline, job.total)]


async def _jobs(services: Services, project: str) -> tuple[str, list[Source]]:
    """A project and its finished jobs. Raises `NotFound`, and `Conflict` if there are none."""
    if not any(one.slug == project for one in await services.catalog.projects.list()):
        raise errors.NotFound(f"there is no project {project}; `antenna projects list` shows all")
    jobs = await services.catalog.jobs.final(project=project)
    if not jobs:
        raise errors.Conflict(f"project {project} has no finished job to derive tables from")
    return project, [Source(one.job_id, one.generation, one.pipeline, one.images) for one in jobs]


def write_tables(
    lake: Lake,
    scope: Scope,
    sources: Sequence[Source],
    known: Knowledge,
    registered: Registered,
    *,
    into: Lake | None = None,
) -> tuple[dict[str, int], Sequence[str]]:
    """Derive and write the tables, one night in memory; returns the rows of each, and warnings.

    They are written into the lake that the results are in, or `into` another one. Blocks; raises as `derive` does.
    """
    into = into or lake
    made_with = {"recipe": known.recipe.hash, "knowledge": known.fingerprint}
    with_images = [one for one in sources if one.images]
    if not with_images:
        return derived.write(into, scope, [], jobs=sources, **made_with), ()
    with derived.sorted_results(lake, with_images, known.places) as results:
        classes = registered(results.labels)
        unmasked = _unmasked(results, known, classes)
        nights = _nights(results, known, classes, unmasked)
        return derived.write(into, scope, nights, jobs=sources, **made_with), _warnings(unmasked)


def _nights(
    results: derived.SortedResults,
    known: Knowledge,
    classes: Mapping[AlgorithmRef, Classes],
    unmasked: Mapping[_Where, str],
) -> Iterator[Tables]:
    """The tables of each night."""
    taxon_ids = _taxon_ids(known, classes)
    fixtures = _fixtures(results, known.recipe)
    for rows in results.nights():
        group = rows.group
        is_masked = _Where(group.pipeline, group.deployment) not in unmasked
        listed = known.species_list(group.deployment) if is_masked else None
        night = rows.night(
            place=known.places.get(group.deployment) if group.deployment is not None else None,
            classes=classes,
            species=listed.species if listed else None,
            fixtures=fixtures.get((group.pipeline, group.deployment), frozenset()),
        )
        scope = tables.Scope(
            project=known.project,
            pipeline=group.pipeline,
            recipe=known.recipe.hash,
            count_without=known.recipe.count_without,
            decisions=known.decisions,
            taxon_ids=taxon_ids,
        )
        yield tables.of_night(known.recipe.apply(night), scope)


def _fixtures(
    results: derived.SortedResults, recipe: Recipe
) -> dict[tuple[str, str | None], frozenset[tuple[int, str]]]:
    """The detections of each pipeline and deployment whose boxes stay over nights, if the recipe asks for them."""
    parameters = recipe.parameters("fixtures")
    if parameters is None:
        return {}
    return {
        (one.pipeline, one.deployment): steps_fixtures.find(one.frame, one.photographs, parameters)
        for one in results.boxes()
    }


def _taxon_ids(known: Knowledge, classes: Mapping[AlgorithmRef, Classes]) -> dict[str, str | None]:
    """Ids by names; people's names come before those of workers."""
    of_workers: list[Taxon] = [taxon for one in classes.values() for taxon in one.taxa if taxon is not None]
    return {taxon.name: taxon.taxon_id for taxon in (*of_workers, *known.taxa.values()) if taxon.taxon_id}


def _unmasked(
    results: derived.SortedResults, known: Knowledge, classes: Mapping[AlgorithmRef, Classes]
) -> dict[_Where, str]:
    """Where a species list keeps no class of the pipeline that ran, with what is to be said of it.

    Such a pipeline, as one that tells moths from others, is left as it is. Raises `InvalidInput` if nothing is kept
    anywhere: then the list is the wrong one.
    """
    if known.recipe.parameters("masking") is None:
        return {}
    refused: dict[_Where, errors.InvalidInput] = {}
    judged = 0
    for where in sorted(
        {_Where(group.pipeline, group.deployment) for group in results.groups},
        key=lambda one: (one.pipeline, one.deployment or ""),
    ):
        listed = known.species_list(where.deployment)
        of_pipeline = [
            classes[one]
            for one in sorted(results.classifiers.get(where.pipeline, ()), key=lambda one: (one.key, one.version))
        ]
        if listed and of_pipeline:
            judged += 1
            try:
                require_kept(listed.name, listed.species, where.pipeline, of_pipeline)
            except errors.InvalidInput as error:
                refused[where] = error
    if refused and len(refused) == judged:
        # The pipeline with the most classes is the one that a list is made for.
        raise refused[max(refused, key=lambda one: _size(results, classes, one.pipeline))]
    return {where: str(error) for where, error in refused.items()}


def _size(results: derived.SortedResults, classes: Mapping[AlgorithmRef, Classes], pipeline: str) -> int:
    return sum(len(classes[one].labels) for one in results.classifiers[pipeline])


def _warnings(unmasked: Mapping[_Where, str]) -> list[str]:
    """What is to be said of the pipelines that are left as they are, a line for each and its list."""
    return [f"not masked: {said}" for said in dict.fromkeys(unmasked.values())]


def head(lake: Lake, made: Derived, table: str, rows: int) -> pa.Table:
    """The first rows of a table that was written. Blocks; raises `Unavailable`."""
    return derived.read(lake, made.scope, table, most=rows)


def summary(lake: Lake, made: Derived) -> dict[str, list[dict[str, Any]]]:
    """The nights, and for each taxon of a pipeline how much of it there is, the most first. Blocks."""
    nights = derived.read(lake, made.scope, "nights")
    names = ["pipeline", "deployment", "night", "expected", "found", "done", "failed", "empty", "detections"]
    taxa: dict[tuple[str, str | None], dict[str, Any]] = {}
    for row in derived.read(lake, made.scope, "counts").to_pylist():
        of_taxon = taxa.setdefault(
            (row["pipeline"], row["taxon"]),
            {**{name: row[name] for name in ("pipeline", "taxon", "rank")}, "nights": 0, "detections": 0, "max_n": 0},
        )
        of_taxon["nights"] += 1
        of_taxon["detections"] += row["detections"]
        of_taxon["max_n"] = max(of_taxon["max_n"], row["max_n"])
    counts = sorted(taxa.values(), key=lambda one: (-one["detections"], one["taxon"] or "", one["pipeline"]))
    return {"nights": nights.select(names).to_pylist(), "counts": counts}
