"""The season of a project: its nights and counts over all finished jobs, kept up to date, and what is wrong with them.

`refresh` makes those nights anew that changed: it reads which photographs there are and which boxes, which is little,
compares of each night what it would be made of with what it was made of, and derives the nights that differ, as
`derive` does. So it may be called at any time, by anybody, and whatever was missed is made up for.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antenna_orchestration import __version__
from antenna_orchestration.ecology import season as rules
from antenna_orchestration.ecology.season import Finding, NightSeen
from antenna_orchestration.processing.services import Records, Services

if TYPE_CHECKING:
    from antenna_orchestration.lake.derived import Group
    from antenna_orchestration.lake.season import Season
    from antenna_orchestration.lake.store import Lake
    from antenna_orchestration.processing.derive import Fixtures, Registered, Where
    from antenna_orchestration.processing.knowledge import Knowledge
    from antenna_orchestration.processing.results_of import Results

RATES_OF: Final = timedelta(days=45)
"""How long ago jobs ended whose workers are looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refreshed:
    """What became of a season."""

    project: str
    # The nights that were made anew, those that are gone among them; None: time unknown.
    nights: Sequence[date | None]
    season: Season


async def refresh(services: Services, project: str, *, nights: Collection[date] = ()) -> Refreshed:
    """Make the nights of a project anew that changed, and these in any case.

    While a finished job is tried again, for a day at most, the season stays as it is: without that job's results its
    nights would seem to lack.

    Raises `NotFound` for a project that does not exist, `Conflict` if it never had a finished job, if a retry ends
    meanwhile or another process is at it for long, and `Unavailable`; the season then stays as it was.
    """
    from antenna_orchestration.lake import season as files

    async with services.catalog.jobs.derivation_lock(f"season of {project}"):
        # Before all that it stands for is read: what changes meanwhile is another mark.
        of_catalog = await services.catalog.seasons.mark(project)
        mark = f"{__version__} {of_catalog.mark if of_catalog else ''}"
        before = await asyncio.to_thread(files.read, services.lake, project)
        if (before.mark == mark and not nights) or (of_catalog and of_catalog.retrying and before.made_of):
            return Refreshed(project=project, nights=[], season=before)
        if of_catalog and not of_catalog.finished:
            # Its jobs were deleted, and with them its nights.
            season = files.Season(mark=mark)
            await asyncio.to_thread(files.write, services.lake, project, season)
            return Refreshed(project=project, nights=sorted(before.made_of, key=_order), season=season)
        return await _refreshed(services, project, before, mark, nights)


async def _refreshed(
    services: Services, project: str, before: Season, mark: str, nights: Collection[date]
) -> Refreshed:
    from antenna_orchestration.lake import season as files
    from antenna_orchestration.lake.paths import Scope
    from antenna_orchestration.processing import derive, knowledge
    from antenna_orchestration.processing.results_of import results_of

    async with results_of(services, Scope(project=project)) as results:
        known = await knowledge.load(services, project, jobs=results.job_ids)
        classes = derive.registered(services, results, known)
        made = await asyncio.to_thread(
            _made, results.lake, results, known, before=before, nights=nights, registered=classes
        )
        season = replace(made.season, mark=mark)
        await asyncio.to_thread(files.write, services.lake, project, season)
        return Refreshed(project=project, nights=sorted(made.changed, key=_order), season=season)


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """A season that was brought up to date, and what is wrong with it."""

    project: str
    # None: of photographs whose time is not known.
    made_anew: Sequence[date | None]
    nights: Sequence[NightOfSeason]
    findings: Sequence[Finding]


async def look(services: Services, project: str) -> Looked:
    """Bring the season of a project up to date, and look at it. Raises as `refresh`."""
    made = await refresh(services, project)
    return Looked(
        project=project,
        made_anew=made.nights,
        nights=nights_of(made.season),
        findings=await findings(services, project),
    )


async def findings(services: Records, project: str | None = None, *, now: datetime | None = None) -> list[Finding]:
    """What is wrong in the season of a project, or of all projects, as it was made last; the newest nights first.

    Raises `Unavailable`.
    """
    projects = [project] if project is not None else [one.project for one in await services.catalog.seasons.marks()]
    found: list[Finding] = []
    for one in projects:
        found += await _findings(services, one, now or datetime.now(UTC))
    return found


async def _findings(services: Records, project: str, now: datetime) -> list[Finding]:
    from antenna_orchestration.lake import season as files

    season = await asyncio.to_thread(files.read, services.lake, project)
    if not season.made_of:
        return []
    return rules.findings(
        project,
        [NightSeen(**row) for row in season.rows([field.name for field in dataclasses.fields(NightSeen)])],
        places=await services.catalog.deployments.places(project),
        now=now,
        workers=await services.catalog.seasons.worker_nights(project, since=now - RATES_OF),
        failed_share=services.settings.failure_threshold,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NightOfSeason:
    """What there is to say of a night of a project."""

    night: date
    # By name; what is not known is not there. Of several pipelines, those of one: their results do not add up.
    numbers: Mapping[str, float]
    pipeline: str
    # One for each deployment and pipeline, as the columns of the season's nights.
    rows: Sequence[Mapping[str, Any]]


def nights_of(season: Season) -> list[NightOfSeason]:
    """The nights of a season, the first one first; photographs without a time are in none."""
    by_night: dict[date, list[dict[str, Any]]] = defaultdict(list)
    done: dict[str, int] = defaultdict(int)
    for row in season.rows():
        by_night[row["night"]].append(row)
        done[row["pipeline"]] += row["done"]
    taxa: dict[tuple[date, str], set[str]] = defaultdict(set)
    for row in season.counts.select(["night", "pipeline", "taxon"]).to_pylist():
        if row["taxon"] is not None:
            taxa[row["night"], row["pipeline"]].add(row["taxon"])
    found = []
    for night, rows in sorted(by_night.items()):
        pipeline = max({row["pipeline"] for row in rows}, key=lambda one: (done[one], one))
        own = [row for row in rows if row["pipeline"] == pipeline]
        numbers = _numbers(own, len(taxa[night, pipeline]))
        found.append(NightOfSeason(night=night, numbers=numbers, pipeline=pipeline, rows=rows))
    return found


def _numbers(rows: Sequence[Mapping[str, Any]], taxa: int) -> dict[str, float]:
    """The numbers of a night, of one pipeline over its deployments."""

    def total(name: str) -> float:
        return sum(row[name] or 0 for row in rows)

    found, done = total("found"), total("done")
    numbers = {
        "deployments": len({row["deployment"] for row in rows}),
        # Where too few are there to know the interval, those that are there.
        "photographs_expected": sum(row["expected"] or row["found"] for row in rows),
        "photographs_found": found,
        "share_failed": round(total("failed") / found, 4) if found else 0.0,
        "detections": total("detections"),
        "taxa": taxa,
    }
    if done:
        numbers["share_empty"] = round(total("empty") / done, 4)
    if seconds := total("result_seconds"):
        numbers["images_per_second"] = round(found / seconds, 3)
    if measured := total("measured"):
        numbers["work_seconds_per_1000_images"] = round(1000 * total("work_seconds") / measured, 1)
    return numbers


class _Made(NamedTuple):
    """The season as it is now, and which nights are others than before."""

    season: Season
    changed: Collection[date | None]


def _made(
    lake: Lake, results: Results, known: Knowledge, *, before: Season, nights: Collection[date], registered: Registered
) -> _Made:
    """Blocks."""
    from antenna_orchestration.lake import derived
    from antenna_orchestration.lake import season as files
    from antenna_orchestration.processing import derive

    sources = [one for one in results.sources if one.images]
    if not sources:
        return _Made(files.Season(), set(before.made_of))
    made_of: dict[date | None, str] = {}
    fixtures: dict[Where, Fixtures] = {}

    def choose(found: derived.SortedResults) -> Collection[date | None]:
        fixtures.update(derive.fixtures(found, known.recipe))
        made_of.update(_digests(found.groups, results, known, fixtures))
        return {night for night, digest in made_of.items() if before.made_of.get(night) != digest or night in nights}

    with derived.sorted_results(lake, sources, known.places, known.renamed, choose=choose) as wanted:
        changed = {group.night for group in wanted.groups} | (set(before.made_of) - set(made_of))
        made: Iterable[files.Night] = ()
        if wanted.groups:
            of_detections = {where: one.found for where, one in fixtures.items()}
            tables = derive.nights_of(wanted, sources, known, registered(wanted.labels), of_detections)
            made = map(files.Night, wanted.groups, tables)
        return _Made(files.replaced(before, made, changed, made_of), changed)


def _digests(
    groups: Sequence[Group], results: Results, known: Knowledge, fixtures: Mapping[Where, Fixtures]
) -> dict[date | None, str]:
    """Of each night, a digest of all that its rows depend on."""
    from antenna_orchestration.processing.derive import Where

    generations = {one.job_id: one.generation for one in results.sources}
    said: dict[int, list[str]] = defaultdict(list)
    for review in known.reviews:
        said[review.job_id].append(repr(review))
    of_all = replace(known, reviews=()).fingerprint
    parts: dict[date | None, list[str]] = defaultdict(lambda: [of_all])
    for group in groups:
        jobs = [(job, generations[job], *said.get(job, ())) for job in group.jobs]
        where = fixtures.get(Where(group.pipeline, group.deployment))
        staying = where.of_nights.get(group.night, ()) if where and group.night is not None else ()
        parts[group.night].append(repr((group.pipeline, group.deployment, group.photographs, jobs, staying)))
    return {night: hashlib.sha256("\n".join(these).encode()).hexdigest()[:16] for night, these in parts.items()}


def _order(night: date | None) -> tuple[bool, date]:
    return night is None, night or date.max
