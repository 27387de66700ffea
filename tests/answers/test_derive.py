"""Deriving tables of finished jobs from the catalog and the lake: what holds for the project goes in."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.answers import derive, knowledge, results_of
from antenna_orchestration.answers import recipes as recipe_verbs
from antenna_orchestration.answers.local_tables import local_tables
from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection
from antenna_orchestration.ecology import recipes, written_out
from antenna_orchestration.ecology.model import Taxon
from antenna_orchestration.ecology.reviews import Review
from antenna_orchestration.lake import derived
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.pipelines.published import specs
from antenna_orchestration.processing import cancel, collect, finish, publish, retry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.upkeep import health
from tests.processing.classified_jobs import LABELS, LINEAGE, MOTHS, finished_job, found, processed, registered
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job
from tests.waiting import eventually

pytestmark = pytest.mark.long


def rows(services: Services, scope: Scope, table: str) -> list[dict[str, Any]]:
    return derived.read(services.lake, scope, table).to_pylist()


async def test_the_recipe_of_a_project_goes_in_until_it_is_taken_back(services: Services, project: str) -> None:
    job = await finished_job(services, project, LABELS)
    scope = Scope(job=job.job_id)
    own = recipes.parsed("steps: [{flags: {at_edge: null, label_score: 0.9}}]", "recipe.yaml")

    async def derived_with() -> tuple[set[str], set[bool]]:
        made = await derive.derive(services, job=job.job_id)
        found = rows(services, scope, "observations")
        assert {row["recipe"] for row in found} == {made.recipe}
        return {made.recipe}, {row["counted"] for row in found}

    assert await derived_with() == ({recipes.default().hash}, {True})
    assert await recipe_verbs.use(services, project, own, by="test") == own.hash
    assert await derived_with() == ({own.hash}, {False})
    await recipe_verbs.use_built_in(services, project)
    assert await derived_with() == ({recipes.default().hash}, {True})
    assert await recipe_verbs.use_earlier(services, project, own.hash, by="test") == own.hash
    [kept] = await recipe_verbs.versions(services, project)
    assert (kept.hash, kept.text, kept.created_by, kept.holds) == (own.hash, written_out.text_of(own), "test", True)
    with pytest.raises(errors.NotFound, match=f"no recipe {'0' * 12}"):
        await recipe_verbs.use_earlier(services, project, "0" * 12, by="test")


async def test_what_people_said_of_a_project_goes_in(services: Services, project: str) -> None:
    job = await finished_job(services, project, [*LABELS, LABELS[0]])
    names = {
        label: Taxon(name=label, rank="species", lineage={**LINEAGE, "species": label}, taxon_id=f"gbif:{number}")
        for number, label in enumerate(LABELS[1:])
    }
    await services.catalog.names.put_taxa(project, names, by="test")
    [first, *_] = services.lake.read_table("detections", job.job_id).column("detection_id").to_pylist()
    await services.catalog.reviews.add(
        [Review(job.job_id, first, LABELS[1], "Ada", datetime(2026, 7, 1, tzinfo=UTC))], imported_by="test"
    )
    made = await derive.derive(services, job=job.job_id)

    assert (made.rows["observations"], made.rows["nights"]) == (4, 1)
    assert made.uris["counts"] == f"{services.lake.uri}/derived/jobs/counts/job_id={job.job_id}/counts.parquet"
    observations = rows(services, Scope(job=job.job_id), "observations")
    of_first = next(row for row in observations if row["detection_id"] == first)
    assert (of_first["taxon"], of_first["source"], of_first["reviewer"]) == (LABELS[1], "human", "Ada")
    assert {row["taxon_id"] for row in observations if row["taxon"] == LABELS[2]} == {"gbif:1"}
    assert {row["project"] for row in observations} == {project}


async def test_a_job_that_runs_or_was_canceled_shows_its_rows_so_far(services: Services, project: str) -> None:
    job = await claimed(services, await make_job(services, project, 3, pipeline=await registered(services, project)))
    with pytest.raises(errors.Conflict, match=f"job {job.job_id} is RUNNING and has no results yet"):
        await derive.derive(services, job=job.job_id)
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        one, other = await worker.lease(job, 2)
        await worker.report([one], detections=[found(LABELS[0])], algorithms=[ALGORITHM, MOTHS])
        await worker.report([other], outcome="failed", reason="no such file", detections=[])
    collecting = asyncio.create_task(collect.collect(services, job, observer=collect.Observer()))
    try:
        await eventually(lambda: two_accounted(services, job.job_id), description="both collected")
        made = await derive.derive(services, job=job.job_id)
        await cancel.cancel(services, job.job_id, reason="test")
        with suppress(collect.JobLeft):
            await collecting
    finally:
        collecting.cancel()
    scope = Scope(job=job.job_id)
    assert made.warnings == [f"job {job.job_id} is not complete: 1 image of it has no result yet"]
    assert [row["status"] for row in rows(services, scope, "photographs")] == ["done", "failed"]
    assert [row["label"] for row in rows(services, scope, "observations")] == [LABELS[0]]
    assert derived.pending(services.lake, scope) == 1
    again = await derive.derive(services, job=job.job_id)
    assert (again.rows, again.warnings) == (made.rows, made.warnings)


async def two_accounted(services: Services, job: JobId) -> bool:
    counts = await services.catalog.images.count(job)
    return counts.done + counts.failed == 2


async def test_tables_are_derived_again_only_if_something_changed(services: Services, project: str) -> None:
    job = await finished_job(services, project, LABELS)
    other = await finished_job(services, project, LABELS[:1], reprocess=True)
    scope = Scope(job=job.job_id)

    async def taxa_and_when_written(jobs: list[JobId]) -> tuple[list[str], float]:
        async with local_tables(services, jobs=jobs) as tables:
            taxa = derived.read(tables.lake, tables.scope, "observations")["taxon"].to_pylist()
        file = Path(services.lake.uri) / scope.path("observations")
        return sorted(taxa), file.stat().st_mtime_ns

    first = await taxa_and_when_written([job.job_id])
    assert first == (sorted(LABELS), (await taxa_and_when_written([job.job_id]))[1])
    name = Taxon(name="Noctua comes", rank="species", lineage={**LINEAGE, "species": "Noctua comes"})
    await services.catalog.names.put_taxa(project, {LABELS[1]: name}, by="test")
    taxa, written = await taxa_and_when_written([job.job_id])
    assert taxa == sorted([LABELS[0], LABELS[2], "Noctua comes"]) and written > first[1]
    both, untouched = await taxa_and_when_written([job.job_id, other.job_id])
    assert len(both) == 3 and untouched == written, "of several jobs nothing is written into the lake"


async def test_a_retry_and_another_job_change_the_project_s_tables(services: Services, project: str) -> None:
    job = await finished_job(services, project, LABELS, failing=1)
    await derive.derive(services, project=project)
    [before] = rows(services, Scope(project=project), "nights")
    await retry.retry(services, job.job_id)
    so_far = await derive.derive(services, job=job.job_id)
    assert (so_far.rows["photographs"], so_far.warnings) == (
        2,
        [f"job {job.job_id} is not complete: 1 image of it has no result yet"],
    )
    with pytest.raises(errors.Conflict, match="no finished job"):
        await derive.derive(services, project=project)
    assert rows(services, Scope(project=project), "nights") == [before], "what was there stays"

    await processed(services, await claimed(services, await services.catalog.jobs.get(job.job_id)), LABELS)
    made = await derive.derive(services, project=project)
    [after] = rows(services, Scope(project=project), "nights")
    assert (before["done"], before["failed"], after["done"], after["failed"]) == (2, 1, 3, 0)
    assert made.jobs == [job.job_id]
    metadata = services.lake.metadata_of_file(Scope(project=project).path("counts")) or {}
    assert metadata[derived.JOBS] == f'{{"{job.job_id}": 2}}'.encode()


async def test_rows_so_far_replace_those_of_an_earlier_try(services: Services, project: str, tmp_path: Path) -> None:
    job = await finished_job(services, project, LABELS, failing=1)
    so_far = Lake(str(tmp_path))
    so_far.write_table("detections", job.job_id, job.generation, [services.lake.read_table("detections", job.job_id)])
    await retry.retry(services, job.job_id)
    pending = await finish.write_rows_so_far(services, await services.catalog.jobs.get(job.job_id), so_far)
    assert (pending, so_far.count_rows("detections", job.job_id)) == (1, 2)


async def test_there_is_one_line_for_what_cannot_be_derived(services: Services, project: str) -> None:
    waiting = await make_job(services, project, 1)
    with pytest.raises(errors.NotFound, match="no job 999999999"):
        await derive.derive(services, job=JobId(999999999))
    with pytest.raises(errors.NotFound, match=f"no project {project}-x"):
        await derive.derive(services, project=f"{project}-x")
    with pytest.raises(errors.Conflict, match=f"project {project} has no finished job"):
        await derive.derive(services, project=project)
    await cancel.cancel(services, waiting.job_id, reason="a test")
    with pytest.raises(errors.Conflict, match=f"antenna jobs retry {waiting.job_id}"):
        await derive.derive(services, job=waiting.job_id)
    with pytest.raises(errors.InvalidInput, match="either one job or one project"):
        await derive.derive(services)


async def test_derived_tables_are_no_leftovers(services: Services, project: str) -> None:
    job = await finished_job(services, project, LABELS[:1])
    made = await derive.derive(services, job=job.job_id)
    await health.check(services)

    assert rows(services, made.scope, "observations")


async def listed_job(services: Services, project: str, slug: str, algorithm: AlgorithmRef, label: str) -> Job:
    """A finished job of one photograph, of a pipeline whose only classifier registered no labels."""
    classifier = AlgorithmRow(
        key=algorithm.key, version=algorithm.version, name=slug, task="classification", description="", uri=None,
        labels=[],
    )  # fmt: skip
    await services.catalog.pipelines.register(
        PipelineRow(slug=slug, name=slug, version="1", description="", default_config={}, algorithms=[classifier])
    )
    job = await claimed(
        services, await make_job(services, project, 1, urls=[f"http://192.0.2.1/{slug}/1.jpg"], pipeline=slug)
    )
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    said = Classification(algorithm=algorithm, label=label, score=0.875, top_labels=[label], top_scores=[0.875])
    box = Detection(box=(1.0, 2.0, 6.0, 4.0), score=0.5, algorithm=algorithm, classifications=[said])
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 1), detections=[box], algorithms=[algorithm])
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)
    return job


async def test_a_pipeline_that_no_list_knows_stays_as_it_is(services: Services, project: str) -> None:
    moths, others = AlgorithmRef(f"names-{project}", "1"), AlgorithmRef(f"binary-{project}", "1")
    of_moths = await listed_job(services, project, f"a-{project}"[:60], moths, LABELS[1])
    of_others = await listed_job(services, project, f"b-{project}"[:60], others, "nonmoth")
    taxon = Taxon(name=LABELS[1], rank="species", lineage={**LINEAGE, "species": LABELS[1]})
    await services.catalog.names.put_taxa(project, {LABELS[1]: taxon}, by="test")
    await services.catalog.names.put_list(project, "pond", [LABELS[1]], by="test")
    await services.catalog.names.use_list(project, "pond")

    made = await derive.derive(services, project=project)
    [warning] = made.warnings
    assert warning.startswith("not masked: species list pond keeps none of the 1 classes") and "b-" in warning
    sources = {row["taxon"]: row["source"] for row in rows(services, made.scope, "observations")}
    assert sources == {LABELS[1]: "classifier+mask", "nonmoth": "classifier"}
    assert not (await derive.derive(services, job=of_moths.job_id)).warnings
    with pytest.raises(errors.InvalidInput, match="pond keeps none of the 1 classes of pipeline b-"):
        await derive.derive(services, job=of_others.job_id)


async def test_labels_in_a_file_are_the_classes_in_their_order(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = specs.MOTH_FILTER.algorithm
    (tmp_path / str(published.labels_uri).rpartition("/")[2]).write_text('{"nonmoth": 1, "moth": 0}', encoding="utf-8")
    monkeypatch.setenv("ANTENNA_WEIGHTS_MIRROR", str(tmp_path))
    settings.get.cache_clear()
    try:
        algorithm = AlgorithmRef(published.key, published.version)
        found = await knowledge.classes(services, {}, {algorithm: ["nonmoth"], AlgorithmRef("other", "1"): ["a"]})
    finally:
        monkeypatch.undo()
        settings.get.cache_clear()
    assert [(one.labels, one.is_in_order) for one in found.values()] == [(("moth", "nonmoth"), True), (("a",), False)]


async def test_two_derivations_of_one_project_take_turns(
    services: Services, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = await finished_job(services, project, LABELS[:1])

    async def is_waiting() -> bool:
        return f"project {project}: waiting for another process" in caplog.text

    async with services.catalog.jobs.derivation_lock(f"project {project}"):
        second = asyncio.create_task(derive.derive(services, project=project))
        await eventually(is_waiting, description="the second waits")
        # The tables of a job are others.
        await derive.derive(services, job=job.job_id)
        assert not second.done()
    assert (await second).rows["observations"] == 1


async def test_a_retry_that_ends_meanwhile_is_not_mixed_in(services: Services, project: str) -> None:
    job = await finished_job(services, project, LABELS, failing=1)
    async with results_of.results_of(services, Scope(project=project)) as before:
        known = await knowledge.load(services, project, jobs=before.job_ids)
        await retry.retry(services, job.job_id)
        await processed(services, await claimed(services, await services.catalog.jobs.get(job.job_id)), LABELS)
        with pytest.raises(errors.Conflict, match=f"a retry of job {job.job_id} ended while"):
            await derive.write(services, Scope(project=project), before, known)
    await derive.derive(services, project=project)
    assert [row["status"] for row in rows(services, Scope(project=project), "photographs")] == ["done"] * 3
