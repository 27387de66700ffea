"""Names: import what labels stand for, and species lists; say where a list holds, and which labels match nothing.

No result changes: the derived tables use what is known when they are made again (`derive`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.answers import known_labels, known_projects
from antenna_orchestration.catalog.names import SpeciesList
from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.domain.texts import counted, storable
from antenna_orchestration.ecology import name_files
from antenna_orchestration.ecology.model import Classes, Taxon
from antenna_orchestration.ecology.names import Judged, Names, classes_of, kept, refused, unmatched
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import pipeline_row

MOST_BYTES: Final = name_files.MOST_BYTES
"""Bytes of a file of names."""

MOST_NAME: Final = 100
"""Characters of a species list's name."""

_MOST_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """How the labels of one classifier match the names of a project."""

    pipeline: str
    algorithm: AlgorithmRef
    # 0: none are registered, because the worker or the description of the pipeline names none.
    labels: int
    unmatched: Sequence[str]
    # How many of the labels a species list keeps; None if it was not asked about one.
    kept: int | None = None

    @property
    def line(self) -> str:
        """In one line, for people."""
        who = f"{self.pipeline}, {self.algorithm.key} {self.algorithm.version}"
        if not self.labels:
            return f"{who}: its labels are not known here"
        found = f"{who}: {self.labels - len(self.unmatched):,} of {counted(self.labels, 'label')} match"
        if self.kept is not None:
            return f"{found}, {self.kept:,} {'is' if self.kept == 1 else 'are'} kept"
        return f"{found}; not {listed(self.unmatched)}" if self.unmatched else found


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import wrote."""

    project: str
    # Labels, or names of the list.
    count: int
    # Labels that were not known before; of a list: 1 if it is new.
    new: int
    # The list; None for an import of taxa.
    species_list: str | None = None
    # Rows of a GBIF list or a category map that name no taxon.
    left_out: int = 0
    matches: Sequence[Match] = ()
    # Where the list holds.
    holds_for: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """In one line, for people."""
        if self.species_list is not None:
            verb = "imported" if self.new else "replaced"
            return f"species list {self.species_list!r} of project {self.project} {verb}: {counted(self.count, 'name')}"
        new = f", {self.new:,} of them new" if self.new else ", all known before"
        left_out = f"; {counted(self.left_out, 'row')} without a rank left out" if self.left_out else ""
        return f"{counted(self.count, 'label')} of project {self.project} named{new}{left_out}"

    @property
    def hints(self) -> list[str]:
        """What people may want to do next, a line each."""
        lines = []
        if not self.matches:
            lines.append(
                "the project has used no pipeline with a classifier yet; `antenna taxa unmatched --pipeline SLUG` "
                "shows what will not match"
            )
        if self.species_list is not None and not self.holds_for:
            lines.append("it holds nowhere yet; `antenna taxa use` lets it hold for a project or a deployment")
        if self.species_list is None and any(match.unmatched for match in self.matches):
            lines.append("`antenna taxa unmatched` lists all labels without a match")
        return lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """The names of a project, or a page of them."""

    taxa: Mapping[str, Taxon]
    # How many there are in all.
    count: int
    species_lists: Sequence[SpeciesList]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What is known of a label."""

    label: str
    taxon: Taxon
    # The classifiers that have the label, as `pipeline, key version`.
    classifiers: Sequence[str]
    # The species lists by name, and whether they keep it.
    keeps: Mapping[str, bool] = field(default_factory=dict)


async def import_taxa(services: Services, project: str, data: bytes, file: str, *, by: str = "") -> Imported:
    """Name labels as a file says; again, it replaces what it says of the same labels. All of it or nothing.

    Makes the project if there is none. Raises `InvalidInput`, which names file, row and column.
    """
    ids.slug(project, "project")
    read = await asyncio.to_thread(name_files.read_taxa, data, storable(file))
    new = await services.catalog.names.put_taxa(project, read.taxa, by=storable(by))
    return Imported(
        project=project,
        count=len(read.taxa),
        new=new,
        left_out=read.left_out,
        matches=await matches(services, project),
    )


async def import_list(services: Services, project: str, name: str, data: bytes, file: str, *, by: str = "") -> Imported:
    """Make a species list of a file; again, it replaces the list. All of it or nothing; it holds nowhere yet.

    Makes the project if there is none. Raises `InvalidInput`, which names file, row and column; also if the list holds
    somewhere and keeps no class any more.
    """
    ids.slug(project, "project")
    name = _list_name(name)
    species = await asyncio.to_thread(name_files.read_species, data, storable(file))
    before = {one.name: one for one in await services.catalog.names.species_lists(project)}.get(name)
    places = holds_for(before) if before else ()
    found = await matches(services, project, species=species)
    if places:
        await _check_list(services, project, name, species)
    is_new = await services.catalog.names.put_list(project, name, species, by=storable(by))
    return Imported(
        project=project,
        count=len(species),
        new=int(is_new),
        species_list=name,
        matches=found,
        holds_for=places,
    )


async def use_list(
    services: Services, project: str, name: str | None, *, deployment: str | None = None
) -> Sequence[Match]:
    """Let a species list hold for a project, or for one deployment instead of the project's; None: no list any more.

    Returns what it keeps. Raises `NotFound`, and `InvalidInput` for a list that keeps no class of any pipeline.
    """
    species = None if name is None else await services.catalog.names.species(project, name)
    if name is not None and species is not None:
        await _check_list(services, project, name, sorted(species))
    await services.catalog.names.use_list(project, name, deployment=deployment)
    return [] if species is None else await matches(services, project, species=sorted(species))


async def known(services: Services, project: str, *, limit: int | None = None, offset: int = 0) -> Known:
    """The taxa and the species lists of a project. Raises `NotFound`."""
    await known_projects.require(services, project)
    return Known(
        taxa=await services.catalog.names.taxa(project, limit=limit, offset=offset),
        count=await services.catalog.names.count(project),
        species_lists=await services.catalog.names.species_lists(project),
    )


async def show(services: Services, project: str, label: str) -> Shown:
    """What a label stands for, in which classifiers it is, and which lists keep it.

    Raises `NotFound` with the nearest labels.
    """
    await known_projects.require(services, project)
    taxa = await services.catalog.names.taxa(project)
    names = await asyncio.to_thread(Names, taxa)
    having: list[str] = []
    taxon: Taxon | None = None
    labels: set[str] = set()
    # A list that keeps one class may keep those above it, so each is judged with the others of its classifier.
    judged: list[tuple[Classes, int]] = []
    for pipeline, algorithm in await _classifiers(services, project):
        here = _labels(algorithm)
        labels |= set(here)
        if label in here:
            having.append(f"{pipeline.slug}, {algorithm.key} {algorithm.version}")
            classes = classes_of(_ref(algorithm), here, algorithm.categories, names)
            judged.append((classes, here.index(label)))
            taxon = taxon or classes.taxa[here.index(label)]
    taxon = taxon or names.match(label)
    if taxon is None:
        near = get_close_matches(label, {*labels, *taxa}, n=3)
        hint = f"; there are {', '.join(map(repr, near))}" if near else ""
        raise errors.NotFound(f"label {label!r} matches no name in project {project}{hint}")
    judged = judged or [(Classes(algorithm=AlgorithmRef("", ""), labels=(label,), taxa=(taxon,)), 0)]
    keeps: dict[str, bool] = {}
    for one in await services.catalog.names.species_lists(project):
        species = await services.catalog.names.species(project, one.name)
        keeps[one.name] = any(bool(kept(classes, species or ())[at]) for classes, at in judged)
    return Shown(label=label, taxon=taxon, classifiers=having, keeps=keeps)


async def matches(
    services: Services, project: str, *, pipeline: str | None = None, species: Sequence[str] | None = None
) -> list[Match]:
    """How the labels of a project's pipelines, or of one pipeline, match; with `species` also what that list keeps.

    Raises `UnknownPipeline` for a pipeline that the project may not run.
    """
    taxa = await services.catalog.names.taxa(project)
    classifiers = await _classifiers(services, project, pipeline)
    return await asyncio.to_thread(_matches, classifiers, taxa, species)


async def unmatched_labels(services: Services, project: str, *, pipeline: str | None = None) -> list[Match]:
    """The same as `matches`, for people who ask. Raises `NotFound` for a project that does not exist, too."""
    await known_projects.require(services, project)
    return await matches(services, project, pipeline=pipeline)


def _matches(
    classifiers: Sequence[tuple[PipelineRow, AlgorithmRow]],
    taxa: Mapping[str, Taxon],
    species: Sequence[str] | None,
) -> list[Match]:
    names = Names(taxa)
    found: list[Match] = []
    for pipeline, algorithm in classifiers:
        classes = classes_of(_ref(algorithm), _labels(algorithm), algorithm.categories, names)
        found.append(
            Match(
                pipeline=pipeline.slug,
                algorithm=classes.algorithm,
                labels=len(classes.labels),
                unmatched=unmatched(classes),
                kept=None if species is None else int(kept(classes, species).sum()),
            )
        )
    return found


async def _check_list(services: Services, project: str, name: str, species: Sequence[str]) -> None:
    """Raise `InvalidInput` if the project has pipelines with labels, and the list keeps no class of any."""
    taxa = await services.catalog.names.taxa(project)
    classifiers = await _classifiers(services, project)

    def check() -> None:
        names = Names(taxa)
        by_pipeline: dict[str, list[Classes]] = {}
        for pipeline, algorithm in classifiers:
            classes = classes_of(_ref(algorithm), _labels(algorithm), algorithm.categories, names)
            if classes.labels:
                by_pipeline.setdefault(pipeline.slug, []).append(classes)
        refused({slug: Judged(name, species, slug, classes) for slug, classes in by_pipeline.items()})

    await asyncio.to_thread(check)


async def _classifiers(
    services: Services, project: str, slug: str | None = None
) -> list[tuple[PipelineRow, AlgorithmRow]]:
    """The classifiers of the project's pipelines, or of one pipeline."""
    if slug is None:
        pipelines = await services.catalog.pipelines.used_by(project)
    else:
        ids.slug(slug, "pipeline")
        row = await services.catalog.pipelines.find(slug, project=project)
        pipelines = [row or pipeline_row(registry.get(slug))]
    return [
        (pipeline, algorithm)
        for pipeline in pipelines
        for algorithm in pipeline.algorithms
        if algorithm.task == "classification" or algorithm.labels
    ]


def _labels(algorithm: AlgorithmRow) -> Sequence[str]:
    return algorithm.labels or known_labels.in_file(_ref(algorithm))


def _ref(algorithm: AlgorithmRow) -> AlgorithmRef:
    return AlgorithmRef(algorithm.key, algorithm.version)


def holds_for(one: SpeciesList) -> list[str]:
    """Where a species list holds, for people."""
    return [*(["the project"] if one.is_project_s else []), *(f"deployment {name}" for name in one.deployments)]


def _list_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise errors.InvalidInput(f"the name of a species list is 1 to {MOST_NAME} printable characters")
    return name


def listed(names: Sequence[str]) -> str:
    """Names for a message: the first few, and how many more there are."""
    shown = ", ".join(map(repr, names[:_MOST_SHOWN]))
    return shown if len(names) <= _MOST_SHOWN else f"{shown} and {len(names) - _MOST_SHOWN:,} more"


def match_as_dict(match: Match) -> dict[str, Any]:
    """How a classifier's labels match, as JSON."""
    return {
        "pipeline": match.pipeline,
        "algorithm": match.algorithm.key,
        "version": match.algorithm.version,
        "labels": match.labels,
        "unmatched": list(match.unmatched),
        **({} if match.kept is None else {"kept": match.kept}),
    }


def imported_as_dict(done: Imported) -> dict[str, Any]:
    """What an import wrote, as JSON."""
    return {
        "project": done.project,
        "species_list": done.species_list,
        "count": done.count,
        "new": done.new,
        "left_out": done.left_out,
        "holds_for": list(done.holds_for),
        "matches": [match_as_dict(one) for one in done.matches],
    }


def list_as_dict(one: SpeciesList) -> dict[str, Any]:
    """A species list without its names, as JSON."""
    return {
        "name": one.name,
        "count": one.count,
        "imported_by": one.imported_by,
        "imported_at": one.imported_at,
        "holds_for_project": one.is_project_s,
        "deployments": list(one.deployments),
    }
