"""What people said that derived tables are made with: places, names, species lists, the recipe, reviews."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from antenna_orchestration import __version__
from antenna_orchestration.answers import known_labels
from antenna_orchestration.answers.recipes import of_project
from antenna_orchestration.catalog.deployments import Renamed
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import recipes, reviews
from antenna_orchestration.ecology.model import Classes, Place, Taxon
from antenna_orchestration.ecology.names import Names, classes_of
from antenna_orchestration.ecology.recipes import Recipe
from antenna_orchestration.ecology.reviews import Review
from antenna_orchestration.ecology.tables import Decision
from antenna_orchestration.processing.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeciesList:
    """A species list by its name."""

    name: str
    species: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Knowledge:
    """What is known of a project, besides its results."""

    project: str
    recipe: Recipe = field(default_factory=recipes.default)
    # By the names of the deployments.
    places: Mapping[str, Place] = field(default_factory=dict)
    # Images of deployments that had another name when their job's tables were written.
    renamed: Sequence[Renamed] = ()
    # By label.
    taxa: Mapping[str, Taxon] = field(default_factory=dict)
    # By name, and the name of the one that holds where a deployment has none of its own.
    lists: Mapping[str, SpeciesList] = field(default_factory=dict)
    project_list: str | None = None
    # What people said of detections, in the order in which it was imported.
    reviews: Sequence[Review] = ()

    @property
    def fingerprint(self) -> str:
        """A hash of all of it, and of the version that reads it: what else could change derived tables."""
        known = [self.recipe.hash, self.project_list, self.places, self.taxa, self.lists, self.reviews]
        return hashlib.sha256(f"{__version__}{_sorted(known)!r}".encode()).hexdigest()

    def species_list(self, deployment: str | None) -> SpeciesList | None:
        """The species list that holds at a deployment, or for photographs without one; None: every class counts."""
        place = self.places.get(deployment) if deployment is not None else None
        name = place.species_list if place is not None and place.species_list else self.project_list
        return self.lists.get(name) if name else None


async def load(services: Services, project: str, *, jobs: Iterable[JobId], recipe: Recipe | None = None) -> Knowledge:
    """What is known of a project now, and of these jobs' detections; `recipe` in place of the project's.

    Raises `Unavailable`.
    """
    catalog = services.catalog
    taxa = await catalog.names.taxa(project)
    places = await catalog.deployments.places(project)
    project_list = await catalog.names.species_list_of(project)
    wanted = {project_list, *(place.species_list for place in places.values())}
    lists = {}
    for name in sorted(filter(None, wanted)):
        if (species := await catalog.names.species(project, name)) is not None:
            lists[name] = SpeciesList(name=name, species=species)
    jobs = list(jobs)
    return Knowledge(
        project=project,
        renamed=await catalog.deployments.renamed(project, jobs),
        recipe=recipe or await of_project(services, project),
        places=places,
        taxa=taxa,
        lists=lists,
        project_list=project_list,
        reviews=await catalog.reviews.of(project, jobs=jobs),
    )


async def classes(
    services: Services, taxa: Mapping[str, Taxon], seen: Mapping[AlgorithmRef, Iterable[str]]
) -> dict[AlgorithmRef, Classes]:
    """The classes of classifiers in the order of their outputs.

    Of one that registered none they are those in its file, if that is on this machine; else the labels seen of it,
    whose order is not known: of its vectors the best few classes count, which are stored by their labels.
    """
    registered = await services.catalog.pipelines.labels_of(seen)
    names = Names(taxa)
    found = {}
    for algorithm, labels in seen.items():
        known = registered.get(algorithm)
        ordered = known.labels if known else await asyncio.to_thread(known_labels.in_file, algorithm)
        made = classes_of(algorithm, ordered or list(labels), known.categories if known else (), names)
        found[algorithm] = made if ordered else replace(made, is_in_order=False)
    return found


def decisions(known: Knowledge, classes: Callable[[JobId], Iterable[Classes]]) -> dict[tuple[int, str], Decision]:
    """What the newest review of each detection says, by job and detection; `classes` are those of a job's classifiers.

    A word that is one of these classes, or the name of one, means what it means to the classifier; another one is
    looked up among the names of the project.
    """
    names = Names(known.taxa)
    of_job: dict[JobId, Mapping[str, _Class]] = {}
    found = {}
    for row in reviews.newest(known.reviews).to_dict("records"):
        job, label = JobId(row["job_id"]), row["label"]
        if job not in of_job:
            of_job[job] = _by_label(classes(job))
        meant = of_job[job].get(label) or of_job[job].get(label.casefold()) or _Class(label, names.match(label))
        taxon = None if reviews.rejects(label) else meant.taxon
        found[int(job), str(row["detection_id"])] = Decision(
            taxon=None if reviews.rejects(label) else taxon.name if taxon else meant.label,
            rank=taxon.rank if taxon else None,
            taxon_id=taxon.taxon_id if taxon else None,
            reviewer=row["reviewer"] or None,
            reviewed_at=row["reviewed_at"].to_pydatetime(),
        )
    return found


class _Class(NamedTuple):
    """A class and its taxon, if it has one."""

    label: str
    taxon: Taxon | None


def _by_label(classes: Iterable[Classes]) -> Mapping[str, _Class]:
    """The classes by their labels, by these without regard to case, and by the names of their taxa."""
    every = [_Class(*one) for of_one in classes for one in zip(of_one.labels, of_one.taxa, strict=True)]
    # Two classes may differ in case only. Of equal ones, the last counts: one with a taxon.
    every.sort(key=lambda one: one.taxon is not None)
    named = {one.taxon.name.casefold(): one for one in every if one.taxon}
    return named | {one.label.casefold(): one for one in every} | {one.label: one for one in every}


def _sorted(value: Any) -> Any:
    """The value with an order that depends on nothing else; equal values are written alike."""
    if isinstance(value, Mapping):
        return sorted(((key, _sorted(one)) for key, one in value.items()), key=lambda pair: repr(pair[0]))
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_sorted(one) for one in value]
    return _sorted(asdict(value)) if isinstance(value, Place | Taxon | SpeciesList) else str(value)
