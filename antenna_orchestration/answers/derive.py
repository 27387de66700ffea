"""Derive: compute observations, nights, counts and more of finished jobs anew from their results, without inference.

The results themselves are never changed, and deriving may be repeated: with the same results, recipe and knowledge the
files are the same to the byte. What is written replaces the derived tables of the same job or project.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.answers import knowledge
from antenna_orchestration.answers.knowledge import Knowledge
from antenna_orchestration.answers.results_of import Results, results_of
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology import places, tables
from antenna_orchestration.ecology.model import Classes, Taxon
from antenna_orchestration.ecology.names import Judged, refused
from antenna_orchestration.ecology.recipes import Recipe
from antenna_orchestration.ecology.steps import fixtures as steps_fixtures
from antenna_orchestration.ecology.tables import Tables
from antenna_orchestration.lake import derived, paths
from antenna_orchestration.lake.derived import Source
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing.services import Services

if TYPE_CHECKING:
    import pyarrow as pa

Labels = Mapping[AlgorithmRef, Iterable[str]]

Registered = Callable[[Labels], Mapping[AlgorithmRef, Classes]]
"""The classes of classifiers, given the labels that occur of each."""


_TRIES: Final = 3
"""How often the results are read, if retries end meanwhile."""


class Changed(errors.Conflict):
    """A job got other tables while they were read: what was read may be half of the one and half of the other."""


class Where(NamedTuple):
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
    # A hash of all that it was made of: the same where the files are the same.
    version: str
    # What people should know of it, a line each.
    warnings: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """In one line, for people."""
        rows = ", ".join(counted(self.rows[table], table[:-1]) for table in paths.DERIVED_TABLES)
        return f"{self.scope.name}: {rows}; recipe {self.recipe}"


async def derive(
    services: Services, *, job: JobId | None = None, project: str | None = None, recipe: Recipe | None = None
) -> Derived:
    """Derive the tables of one job, or of all finished jobs of a project; with `recipe` in place of its own.

    Of a job that is not over, or was canceled, they have the results so far.

    Raises `NotFound` for a job or project that does not exist, `Conflict` if the job has no results yet or the project
    no finished job or another process is at the same for long, `InvalidInput` if the species lists keep no class of
    any pipeline, and `Unavailable`. Whatever it raises, the tables that were there stay.
    """
    if (job is None) == (project is None):
        raise errors.InvalidInput("name either one job or one project")
    scope = Scope(job=job, project=project)
    # The one that ends last must be the one that began last: it knows the most, and all tables are of one.
    async with services.catalog.jobs.derivation_lock(scope.name):
        for _ in range(_TRIES - 1):
            try:
                return await _derived(services, scope, recipe)
            except Changed:
                continue
        return await _derived(services, scope, recipe)


async def _derived(services: Services, scope: Scope, recipe: Recipe | None) -> Derived:
    async with results_of(services, scope) as results:
        known = await knowledge.load(services, results.project, jobs=results.job_ids, recipe=recipe)
        rows, warnings = await write(services, scope, results, known)
        return Derived(
            scope=scope,
            project=results.project,
            jobs=results.job_ids,
            recipe=known.recipe.hash,
            rows=rows,
            uris={table: f"{services.lake.uri}/{scope.path(table)}" for table in paths.DERIVED_TABLES},
            version=_version(results, known),
            warnings=[*results.warnings, *warnings],
        )


def _version(results: Results, known: Knowledge) -> str:
    made_of = [sorted((one.job_id, one.generation) for one in results.sources), results.pending, known.fingerprint]
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


async def write(
    services: Services,
    scope: Scope,
    results: Results,
    known: Knowledge,
    *,
    into: Lake | None = None,
    only: pa.Table | None = None,
) -> tuple[dict[str, int], Sequence[str]]:
    """Derive the tables of results and write them into the lake, or into another one; as `write_tables`."""
    classes = registered(services, results, known)
    into = into or services.lake
    try:
        return await asyncio.to_thread(
            write_tables,
            results.lake,
            scope,
            results.sources,
            known,
            classes,
            into=into,
            pending=results.pending,
            only=only,
        )
    except errors.LakeUnavailable:
        # The files of a job that is deleted meanwhile go one by one.
        await _check_same(services, results)
        raise


def registered(services: Services, results: Results, known: Knowledge) -> Registered:
    """Asks for the classes on the thread that derives, which waits for the answer; raises `Changed`."""
    loop = asyncio.get_running_loop()

    def ask(seen: Labels) -> Mapping[AlgorithmRef, Classes]:
        return asyncio.run_coroutine_threadsafe(_classes_of_same(services, results, known, seen), loop).result()

    return ask


async def _classes_of_same(
    services: Services, results: Results, known: Knowledge, seen: Labels
) -> Mapping[AlgorithmRef, Classes]:
    """The classes, once all rows are read and before any is written. Raises `Changed`, and `NotFound`."""
    await _check_same(services, results)
    return await knowledge.classes(services, known.taxa, seen)


async def _check_same(services: Services, results: Results) -> None:
    newest = {one.job_id: one.generation for one in await services.catalog.jobs.final(project=results.project)}
    for one in results.sources:
        if one.job_id not in newest and await services.catalog.deletions.find(one.job_id):
            raise Changed(f"job {one.job_id} was deleted while its results were read: derive again")
        if newest.get(one.job_id, one.generation) != one.generation:
            raise Changed(f"a retry of job {one.job_id} ended while its results were read: derive again")


def write_tables(
    lake: Lake,
    scope: Scope,
    sources: Sequence[Source],
    known: Knowledge,
    registered: Registered,
    *,
    into: Lake | None = None,
    pending: int = 0,
    only: pa.Table | None = None,
) -> tuple[dict[str, int], Sequence[str]]:
    """Derive and write the tables, one night in memory; returns the rows of each, and warnings.

    They are written into the lake that the results are in, or `into` another one; `pending` images have none yet. With
    a column `image_id` in `only`, they are derived as if there were no other photographs.
    Blocks; raises as `derive` does.
    """
    into = into or lake
    made_with = derived.MadeWith(recipe=known.recipe.hash, knowledge=known.fingerprint, jobs=sources, pending=pending)
    with_images = [one for one in sources if one.images]
    if not with_images:
        return derived.write(into, scope, [], made_with), ()
    with derived.sorted_results(lake, with_images, known.places, known.renamed, only) as results:
        classes = registered(results.labels)
        masked_not = unmasked(results, known, classes)
        found = {where: one.found for where, one in fixtures(results.boxes(), known.recipe).items()}
        nights = _Counted(nights_of(results, with_images, known, classes, unmasked=masked_not, fixtures=found))
        rows = derived.write(into, scope, nights, made_with, further=results.further)
        there = {group.deployment for group in results.groups}
    zones = places.about_unknown_zones((place for name, place in known.places.items() if name in there), known.project)
    replaced = len({(one.job_id, one.detection_id) for one in known.reviews}) - nights.reviewed
    return rows, [*filter(None, [zones]), *_warnings(masked_not), *_about_replaced(replaced)]


class _Counted:
    """Nights as they are, counting the observations that people reviewed."""

    def __init__(self, nights: Iterable[Tables]) -> None:
        self._nights = nights
        self.reviewed = 0

    def __iter__(self) -> Iterator[Tables]:
        for night in self._nights:
            at = night["observations"]["reviewed_at"]
            self.reviewed += len(at) - at.null_count
            yield night


def nights_of(
    results: derived.SortedResults,
    jobs: Sequence[Source],
    known: Knowledge,
    classes: Mapping[AlgorithmRef, Classes],
    *,
    unmasked: Collection[Where],
    fixtures: Mapping[Where, frozenset[tuple[int, str]]],
) -> Iterator[Tables]:
    """The tables of each night that there is.

    Given what all nights decide: where the species list is not taken, and the fixtures among the detections.
    """
    taxon_ids = _taxon_ids(known, classes)
    pipelines = {job.job_id: job.pipeline for job in jobs}
    decisions = knowledge.decisions(known, lambda job: _of_pipeline(results, classes, pipelines[job]))
    for rows in results.nights():
        group = rows.group
        where = Where(group.pipeline, group.deployment)
        listed = known.species_list(group.deployment) if where not in unmasked else None
        night = rows.night(
            place=known.places.get(group.deployment) if group.deployment is not None else None,
            classes=classes,
            species=listed.species if listed else None,
            fixtures=fixtures.get(where, frozenset()),
        )
        scope = tables.Scope(
            project=known.project,
            pipeline=group.pipeline,
            recipe=known.recipe.hash,
            count_without=known.recipe.count_without,
            decisions=decisions,
            taxon_ids=taxon_ids,
            best_picture=known.recipe.parameters("best_picture"),
        )
        yield tables.of_night(known.recipe.apply(night), scope)


class Fixtures(NamedTuple):
    """The detections (job and id) of a pipeline and deployment whose boxes stay over nights."""

    found: frozenset[tuple[int, str]]
    # Those of each night, sorted.
    of_nights: Mapping[date, Sequence[tuple[int, str]]]


def fixtures(boxes: Iterable[derived.Boxes], recipe: Recipe) -> dict[Where, Fixtures]:
    """The fixtures of each pipeline and deployment, if the recipe asks for them, given the boxes of all nights."""
    parameters = recipe.parameters("fixtures")
    if parameters is None:
        return {}
    by_deployment = {}
    for one in boxes:
        found = steps_fixtures.find(one.frame, one.photographs, parameters)
        of_nights: dict[date, list[tuple[int, str]]] = {}
        for job, detection, night in zip(
            one.frame["job_id"], one.frame["detection_id"], one.frame["night"], strict=True
        ):
            if found and (job, detection) in found:
                of_nights.setdefault(night, []).append((job, detection))
        by_deployment[Where(one.pipeline, one.deployment)] = Fixtures(
            found, {night: sorted(these) for night, these in of_nights.items()}
        )
    return by_deployment


def _taxon_ids(known: Knowledge, classes: Mapping[AlgorithmRef, Classes]) -> dict[str, str | None]:
    """Ids by names; people's names come before those of workers."""
    of_workers: list[Taxon] = [taxon for one in classes.values() for taxon in one.taxa if taxon is not None]
    return {taxon.name: taxon.taxon_id for taxon in (*of_workers, *known.taxa.values()) if taxon.taxon_id}


def unmasked(
    results: derived.SortedResults | derived.Overview, known: Knowledge, classes: Mapping[AlgorithmRef, Classes]
) -> dict[Where, str]:
    """Where a species list keeps no class of the pipeline that ran, with what is to be said of it; as `refused`."""
    if known.recipe.parameters("masking") is None:
        return {}
    judged: dict[Where, Judged] = {}
    for where in sorted(
        {Where(group.pipeline, group.deployment) for group in results.groups},
        key=lambda one: (one.pipeline, one.deployment or ""),
    ):
        if listed := known.species_list(where.deployment):
            of_pipeline = _of_pipeline(results, classes, where.pipeline)
            judged[where] = Judged(listed.name, listed.species, where.pipeline, of_pipeline)
    return {where: str(error) for where, error in refused(judged).items()}


def _of_pipeline(
    results: derived.SortedResults | derived.Overview, classes: Mapping[AlgorithmRef, Classes], pipeline: str
) -> list[Classes]:
    """The classes of a pipeline's classifiers."""
    found = results.classifiers.get(pipeline, ())
    return [classes[one] for one in sorted(found, key=lambda one: (one.key, one.version))]


def _warnings(unmasked: Mapping[Where, str]) -> list[str]:
    """What is to be said of the pipelines that are left as they are, a line for each and its list."""
    return [f"not masked: {said}" for said in dict.fromkeys(unmasked.values())]


def _about_replaced(detections: int) -> list[str]:
    """What is to be said if people reviewed so many detections whose results a later job replaced."""
    if not detections:
        return []
    return [
        f"{counted(detections, 'reviewed detection')} not in the tables: a later job replaced its results, and the "
        "review is not one of the newer detections"
    ]


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
