"""The season of a project: its nights and counts over all finished jobs, kept up to date, and what is wrong with them.

`refresh` makes those nights anew that changed: it reads which photographs and labels there are, which is little,
compares of each deployment's night what it would be made of with what it was made of, and derives those that differ, as
`derive` does. So it may be called at any time, by anybody, and whatever was missed is made up for.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antenna_orchestration import __version__, errors
from antenna_orchestration.ecology import season as rules
from antenna_orchestration.ecology.season import Finding, NightSeen
from antenna_orchestration.processing.services import Records, Services

if TYPE_CHECKING:
    from antenna_orchestration.answers.derive import Fixtures, Registered, Where
    from antenna_orchestration.answers.knowledge import Knowledge
    from antenna_orchestration.answers.results_of import Results
    from antenna_orchestration.lake.derived import Group, Overview
    from antenna_orchestration.lake.season import Key, Season

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
    meanwhile or another process is at it for long, `InvalidInput` if the species lists keep no class of any pipeline,
    and `Unavailable`; the season then stays as it was.
    """
    from antenna_orchestration.lake import season as files

    async with services.catalog.jobs.derivation_lock(f"season of {project}"):
        # Before all that it stands for is read: what changes meanwhile is another mark.
        of_catalog = await services.catalog.seasons.mark(project)
        mark = f"{__version__} {of_catalog.mark if of_catalog else ''}"
        before = await asyncio.to_thread(files.read, services.lake, project) or files.Season()
        if (before.mark == mark and not nights) or (of_catalog and of_catalog.retrying and before.nights.num_rows):
            return Refreshed(project=project, nights=[], season=before)
        if of_catalog and not of_catalog.finished:
            # Its jobs were deleted, and with them its nights.
            season = files.Season(mark=mark)
            await asyncio.to_thread(files.write, services.lake, project, season)
            return Refreshed(project=project, nights=_nights(before.made_of), season=season)
        return await _refreshed(services, project, before, mark, nights)


async def _refreshed(
    services: Services, project: str, before: Season, mark: str, nights: Collection[date]
) -> Refreshed:
    from antenna_orchestration.answers import derive, knowledge
    from antenna_orchestration.answers.results_of import results_of
    from antenna_orchestration.lake import season as files
    from antenna_orchestration.lake.paths import Scope

    async with results_of(services, Scope(project=project)) as results:
        known = await knowledge.load(services, project, jobs=results.job_ids)
        classes = derive.registered(services, results, known)
        made = await asyncio.to_thread(made_from, results, known, before=before, nights=nights, registered=classes)
        season = replace(made.season, mark=mark)
        await asyncio.to_thread(files.write, services.lake, project, season)
        return Refreshed(project=project, nights=_nights(made.changed), season=season)


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


class NotMade(errors.Conflict):
    """The season of a project was not made yet, or by a version that made it otherwise: nobody knows what is wrong."""


async def findings_of_all(services: Records, *, now: datetime) -> list[Finding]:
    """What is wrong in the seasons of all projects that were made, as `findings`."""
    found: list[Finding] = []
    for one in await services.catalog.seasons.marks():
        with suppress(NotMade):
            found += await findings(services, one.project, now=now)
    return found


async def findings(services: Records, project: str, *, now: datetime | None = None) -> list[Finding]:
    """What is wrong in the season of a project as it was made last; the newest nights first.

    Raises `NotMade`, and `Unavailable`.
    """
    from antenna_orchestration.lake import season as files

    now = now or datetime.now(UTC)
    season = await asyncio.to_thread(files.read, services.lake, project)
    if season is None:
        raise NotMade(f"the season of {project} was not made yet")
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


class Made(NamedTuple):
    """A season as it is now, and which of its rows are others than before."""

    season: Season
    changed: Collection[Key]


def made_from(
    results: Results, known: Knowledge, *, before: Season, nights: Collection[date], registered: Registered
) -> Made:
    """The season of these results, given how it was before, with these nights made anew in any case.

    Blocks; raises as `refresh`.
    """
    from antenna_orchestration.answers import derive
    from antenna_orchestration.lake import derived
    from antenna_orchestration.lake import season as files

    sources = [one for one in results.sources if one.images]
    if not sources:
        return Made(files.Season(), before.made_of.keys())
    choice = _Choice(results, known, before.made_of, nights, registered)
    with derived.sorted_results(results.lake, sources, known.places, known.renamed, choose=choice.of) as wanted:
        changed = {files.key_of(group) for group in wanted.groups} | (before.made_of.keys() - choice.made_of.keys())
        made: Iterable[files.Night] = ()
        if wanted.groups:
            of_detections = {where: one.found for where, one in choice.fixtures.items()}
            # Asked once more, after all was read: are they the results of the same jobs still?
            classes = registered(wanted.labels)
            tables = derive.nights_of(wanted, sources, known, classes, unmasked=choice.unmasked, fixtures=of_detections)
            made = map(files.Night, wanted.groups, tables)
        return Made(files.replaced(before, made, choice.made_of), changed)


class _Choice:
    """Chooses the rows of nights that are to be made anew, and says what all are made of.

    That is given, which costs little to know: jobs, photographs, classifiers, what people said; and which boxes stay in
    one spot, for which all boxes of a deployment are read. They are only where anything else changed.
    """

    def __init__(
        self,
        results: Results,
        known: Knowledge,
        before: Mapping[Key, str],
        nights: Collection[date],
        registered: Registered,
    ) -> None:
        self._known = known
        self._registered = registered
        self._before = before
        self._nights = nights
        self._generations = {one.job_id: one.generation for one in results.sources}
        self._of_all = replace(known, reviews=()).fingerprint
        self._said: dict[int, list[str]] = defaultdict(list)
        for review in known.reviews:
            self._said[review.job_id].append(repr(review))
        # Known once it has chosen; the fixtures of places where a row is made anew.
        self.made_of: dict[Key, str] = {}
        self.fixtures: dict[Where, Fixtures] = {}
        self.unmasked: Collection[Where] = ()

    def of(self, overview: Overview) -> Collection[int]:
        """The numbers of the groups that are made anew."""
        from antenna_orchestration.answers import derive
        from antenna_orchestration.lake.season import key_of

        self.unmasked = derive.unmasked(overview, self._known, self._registered(overview.labels))
        given = {key_of(group): self._given(group, overview) for group in overview.groups}
        had = {key: digests.partition(" ")[0] for key, digests in self._before.items()}
        touched = {derive.Where(key.pipeline, key.deployment) for key, _ in given.items() ^ had.items()}
        touched |= {derive.Where(key.pipeline, key.deployment) for key in given if key.night in self._nights}
        look = [one for one in overview.groups if derive.Where(one.pipeline, one.deployment) in touched]
        self.fixtures = derive.fixtures(overview.boxes(look), self._known.recipe)
        self.made_of = {key: digests for key, digests in self._before.items() if key in given}
        for group in look:
            self.made_of[key_of(group)] = f"{given[key_of(group)]} {self._staying(group)}"
        return {
            group.number
            for group in look
            if self._before.get(key_of(group)) != self.made_of[key_of(group)] or group.night in self._nights
        }

    def _given(self, group: Group, overview: Overview) -> str:
        from antenna_orchestration.answers.derive import Where
        from antenna_orchestration.lake.season import key_of

        jobs = [(job, self._generations[job], *self._said.get(job, ())) for job in group.jobs]
        classifiers = sorted(overview.classifiers.get(group.pipeline, ()), key=lambda one: (one.key, one.version))
        is_masked = Where(group.pipeline, group.deployment) not in self.unmasked
        return _digest(self._of_all, key_of(group), group.photographs, group.fingerprint, jobs, classifiers, is_masked)

    def _staying(self, group: Group) -> str:
        from antenna_orchestration.answers.derive import Where

        where = self.fixtures.get(Where(group.pipeline, group.deployment))
        return _digest(where.of_nights.get(group.night, ()) if where and group.night is not None else ())


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _nights(keys: Iterable[Key]) -> list[date | None]:
    return sorted({key.night for key in keys}, key=lambda night: (night is None, night or date.max))
