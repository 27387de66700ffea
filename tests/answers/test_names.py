"""Names on real stores: imported as a whole, replaced by the next import, and matched with what workers registered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from antenna_orchestration import errors
from antenna_orchestration.answers import names
from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.contract import models
from antenna_orchestration.dispatch.register import MOST_FIELDS, pipeline_row_of
from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.ids import ProjectId
from antenna_orchestration.domain.messages import MAX_LABEL
from antenna_orchestration.processing.services import Services
from antenna_orchestration.upkeep.tokens import create

TAXA = b"""\
label,scientificName,taxonRank,order,family,genus,taxonID,finest_rank
Noctua pronuba,Noctua pronuba,species,Lepidoptera,Noctuidae,Noctua,1784810,
moth,Lepidoptera,order,Lepidoptera,,,797,order
"""
LABELS = ["Noctua pronuba", "Noctua fimbriata", "Vanessa atalanta", "other"]
CATEGORIES: list[dict[str, Any]] = [{}, {}, {"taxon_rank": "SPECIES", "gbif_key": 1898286}, {}]


async def a_project_with(
    services: Services,
    project: str,
    labels: Sequence[str] = LABELS,
    categories: Sequence[dict[str, Any]] = CATEGORIES,
    slug: str = "",
) -> str:
    """The slug of a pipeline with one classifier, which a worker registered for the project."""
    made = await create(services, role=Role.WORKER, projects=[project])
    [token] = [one for one in await services.catalog.tokens.list() if one.fingerprint == made.fingerprint]
    [found] = [one for one in await services.catalog.projects.list() if one.slug == project]
    slug = slug or f"p-{project}"[:60]
    worker = await services.catalog.pipelines.note_worker(slug, token=token.token_id, host="h", details={})
    row = pipeline_with(slug, labels, categories, owner=found.project_id)
    before = await services.catalog.pipelines.find(slug)
    await services.catalog.pipelines.register_for(found.project_id, row, worker=worker, before=before)
    return slug


def pipeline_with(
    slug: str, labels: Sequence[str], categories: Sequence[dict[str, Any]], *, owner: ProjectId | None, key: str = ""
) -> PipelineRow:
    return PipelineRow(
        slug=slug,
        name=slug,
        version="1",
        description="",
        default_config={},
        is_public=False,
        owner_id=owner,
        algorithms=[
            AlgorithmRow(
                key=key or f"{slug}-classifier",
                version="1",
                name="c",
                task="classification",
                description="",
                uri=None,
                labels=labels,
                categories=categories,
            )
        ],
    )


async def test_labels_match_what_people_and_workers_say(services: Services, project: str) -> None:
    slug = await a_project_with(services, project)
    done = await names.import_taxa(services, project, TAXA, "taxa.csv", by="kim")
    assert (done.count, done.new) == (2, 2)
    [match] = done.matches
    assert (match.pipeline, match.labels, match.unmatched) == (slug, 4, ["other"])
    assert match.line == f"{slug}, {slug}-classifier 1: 3 of 4 labels match; not 'other'"
    shown = await names.show(services, project, "Vanessa atalanta")
    assert (shown.taxon.rank, shown.taxon.taxon_id) == ("species", "1898286")
    assert shown.classifiers == [f"{slug}, {slug}-classifier 1"]
    with pytest.raises(errors.NotFound, match="there are 'other'"):
        await names.show(services, project, "othher")
    with pytest.raises(errors.NotFound, match="no project nobody"):
        await names.unmatched_labels(services, "nobody")


async def test_the_next_import_replaces_the_same_labels(services: Services, project: str) -> None:
    await names.import_taxa(services, project, TAXA, "taxa.csv")
    before = (await names.known(services, project)).taxa
    again = await names.import_taxa(services, project, TAXA, "taxa.csv")
    assert (again.count, again.new) == (2, 0)
    assert (await names.known(services, project)).taxa == before
    assert list(before["Noctua pronuba"].lineage) == ["order", "family", "genus", "species"]
    changed = await names.import_taxa(services, project, b"label,taxonRank\nmoth,order\nbee,order\n", "x")
    taxa = (await names.known(services, project)).taxa
    assert changed.new == 1 and taxa["moth"].name == "moth" and taxa["moth"].finest_rank is None
    with pytest.raises(errors.InvalidInput, match="x, row 3, column taxonRank"):
        await names.import_taxa(services, project, b"label,taxonRank\nwasp,order\nfly,odrer\n", "x")
    assert (await names.known(services, project)).taxa == taxa


async def test_a_species_list_holds_where_it_is_put(services: Services, project: str) -> None:
    slug = await a_project_with(services, project)
    await names.import_taxa(services, project, TAXA, "taxa.csv")
    done = await names.import_list(services, project, " Denmark ", b"Noctua pronuba L.\n", "list.txt", by="kim")
    assert (done.species_list, done.count, done.new, list(done.holds_for)) == ("Denmark", 1, 1, [])
    assert [match.kept for match in done.matches] == [1]
    assert await services.catalog.names.species_list_of(project) is None
    assert [match.kept for match in await names.use_list(services, project, "Denmark")] == [1]
    assert await services.catalog.names.species_list_of(project) == "Denmark"
    assert await services.catalog.names.species(project, "Denmark") == {"Noctua pronuba"}
    with pytest.raises(errors.NotFound, match="no deployment 'site 1'"):
        await names.use_list(services, project, "Denmark", deployment="site 1")
    with pytest.raises(errors.NotFound, match="no species list 'Norway'"):
        await names.use_list(services, project, "Norway")
    # Where it holds, it must keep something.
    with pytest.raises(errors.InvalidInput, match=rf"Denmark keeps none of the 4 classes of pipeline {slug}"):
        await names.import_list(services, project, "Denmark", b"Erebia ligea\n", "list.txt")
    assert await services.catalog.names.species(project, "Denmark") == {"Noctua pronuba"}
    await names.import_list(services, project, "elsewhere", b"Noctua fimbriatta\n", "list.txt")
    with pytest.raises(errors.InvalidInput, match="'Noctua fimbriatta' in the list and 'Noctua fimbriata'"):
        await names.use_list(services, project, "elsewhere")
    assert (await names.show(services, project, "Noctua pronuba")).keeps == {"Denmark": True, "elsewhere": False}
    # What stands above a class that is kept is kept, too.
    await a_project_with(services, project, ["moth", "Noctua pronuba"], (), f"g-{project}"[:60])
    assert (await names.show(services, project, "moth")).keeps == {"Denmark": True, "elsewhere": False}
    await names.use_list(services, project, None)
    assert await services.catalog.names.species_list_of(project) is None


async def test_categories_are_updated_by_their_owner_alone(services: Services, project: str) -> None:
    slug = await a_project_with(services, project)
    [owner] = [one.project_id for one in await services.catalog.projects.list() if one.slug == project]
    stranger = f"{slug[:50]}-other"

    async def known() -> Sequence[Any]:
        found = await services.catalog.pipelines.find(slug)
        assert found is not None
        return found.algorithms[0].categories

    assert await known() == CATEGORIES
    # A worker of an earlier version sends none.
    await services.catalog.pipelines.register(pipeline_with(slug, LABELS, (), owner=owner))
    assert await known() == CATEGORIES
    changed = [{"taxon_rank": "SPECIES"}, *CATEGORIES[1:]]
    await services.catalog.pipelines.register(pipeline_with(slug, LABELS, changed, owner=owner))
    assert await known() == changed
    theirs = pipeline_with(stranger, LABELS, [{"taxon_rank": "CLASS"}] * 4, owner=None, key=f"{slug}-classifier")
    await services.catalog.pipelines.register(theirs)
    assert await known() == changed


def test_what_a_worker_says_of_a_class_is_kept_within_bounds() -> None:
    odd = {"list": [1], "long": "x" * (MAX_LABEL + 1), "\0": 1, "zero": "\0", "none": None, "huge": 2**60, "nan": 1e400}
    many = {f"f{number:02}": number for number in range(MOST_FIELDS + 5)}
    wire = {
        "name": "m",
        "slug": "m",
        "algorithms": [
            {
                "name": "c",
                "key": "c",
                "category_map": {
                    "labels": ["b", "a", "c", "d"],
                    "data": [
                        {"index": 1, "label": "a", "taxon_rank": "SPECIES", "gbif_key": 7, "is_pest": True},
                        {"index": 0, "label": "b", **odd},
                        {"index": 3, "label": "d", **many},
                    ],
                },
            },
            {"name": "d", "key": "d", "category_map": {"data": [], "labels": []}},
            {"name": "e", "key": "e", "category_map": {"data": {}, "labels": ["x"]}},
            {"name": "f", "key": "f", "category_map": {"data": [{"index": 0, "label": "x"}]}},
        ],
    }
    row = pipeline_row_of(models.WirePipeline.model_validate_json(json.dumps(wire)))
    c, d, e, f = row.algorithms
    assert c.categories[:3] == ({}, {"taxon_rank": "SPECIES", "gbif_key": 7, "is_pest": True}, {})
    assert len(c.categories[3]) == MOST_FIELDS
    assert (d.categories, e.categories, f.categories) == ((), (), ())
    assert list(f.labels) == ["x"]
