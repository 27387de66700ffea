"""What a submission writes to the catalog, and that a refused one writes nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration import errors
from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain.ids import ImageId, JobId
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing import publish
from antenna_orchestration.processing import submit as submit_module
from antenna_orchestration.processing.retry import retry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Submission, Submitted, submit
from antenna_orchestration.submission.locations import local_path
from tests.submission.pictures import empty, taken_at


def url(number: int) -> str:
    return f"https://example.org/trap/{number}.jpg"


def listed(folder: Path, count: int) -> str:
    """Write a list of `count` URLs; returns its path."""
    (folder / "list.txt").write_text("".join(f"{url(number)}\n" for number in range(count)))
    return str(folder / "list.txt")


async def send(services: Services, *sources: str | Path, **changes: Any) -> Submitted:
    values = {"pipeline": "null", "exif": "never", **changes}
    return await submit(services, Submission(sources=[str(source) for source in sources], **values))


async def images_of(services: Services, job: JobId) -> list[dict[str, Any]]:
    return [row async for rows in services.catalog.images.manifest(job) for row in rows]


async def urls_of(services: Services, job: JobId) -> list[str]:
    return [row["url"] for row in await images_of(services, job)]


async def finish(services: Services, job: JobId, *, failed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Process all images of a job but the given ones."""
    current = await services.catalog.jobs.get(job)
    await services.catalog.jobs.claim(1, job_id=job)
    await services.catalog.jobs.start(current.job_run, "run")
    outcomes = [
        ImageOutcome(
            ImageId(row["image_id"]), "failed" if row["url"] in failed else "done", None, 1, "x", False, 1, 1, 0, 0, "w"
        )
        for row in await images_of(services, job)
    ]  # fmt: skip
    await services.catalog.images.commit(current.job_run, outcomes)
    await services.catalog.images.add_processed(job)
    await services.catalog.jobs.finish(current.job_run, JobStatus.SUCCESS, None)


async def test_a_folder_becomes_a_job(services: Services, project: str, tmp_path: Path) -> None:
    folder = empty(tmp_path / "night 1", "20240601231500.jpg", "deep/b.jpg")
    taken_at(folder / "a.jpg", "2024:06:02 01:00:00", offset="+01:00")
    submitted = await send(
        services, folder, project=project, priority=7, deployment="Hilltop", config={"detections": 3}, exif="auto"
    )
    assert (submitted.total, submitted.skipped, submitted.duplicates) == (3, 0, 0)
    [warning] = submitted.warnings
    assert warning.startswith("no time zone is known for 1 deployment (Hilltop)")
    job = await services.catalog.jobs.get(submitted.job_id)
    assert (job.name, job.project, job.pipeline, job.priority, job.interactive) == (
        "night 1",
        project,
        "null",
        7,
        False,
    )
    assert job.status is JobStatus.QUEUED
    assert job.config == {**registry.get("null").default_config, "detections": 3}
    assert job.source_kinds == (f"file:{services.settings.host_id}",)
    rows = await images_of(services, job.job_id)
    assert [local_path(row["url"]) for row in rows] == [
        str(folder.resolve() / name) for name in ("20240601231500.jpg", "a.jpg", "deep/b.jpg")
    ]
    assert [row["captured_at"] and row["captured_at"].isoformat() for row in rows] == [
        "2024-06-01T23:15:00+00:00", "2024-06-02T00:00:00+00:00", None,
    ]  # fmt: skip
    assert {row["deployment"] for row in rows} == {"Hilltop"}
    log = [line for _, line in await services.catalog.job_log.read(job.job_id)]
    assert [line.message for line in log] == ["Submitted 3 images to null 2", warning]
    # Of one transaction, so that whoever claims the job at once does not write before.
    assert log[0].at == job.created_at < log[1].at


async def test_the_first_tasks_are_leasable_at_once(services: Services, project: str, tmp_path: Path) -> None:
    submitted = await send(services, listed(tmp_path, 450), project=project)
    job = await services.catalog.jobs.get(submitted.job_id)
    assert job.published_upto == publish.AT_SUBMIT
    assert (job.job_id, job.generation) in await services.announcements.read()


async def test_processed_images_are_skipped_until_asked_for(services: Services, project: str, tmp_path: Path) -> None:
    first = await send(services, listed(tmp_path, 5), project=project)
    await finish(services, first.job_id, failed={url(3)})
    again = await send(services, listed(tmp_path, 6), project=project)
    assert await urls_of(services, again.job_id) == [url(3), url(5)]
    assert (again.total, again.skipped) == (2, 4)
    assert again.warnings[0] == "4 images skipped, processed by version 2 of null before (--reprocess takes them too)"
    elsewhere = await send(services, listed(tmp_path, 5), project=f"{project}-2")
    assert elsewhere.total == 5
    everything = await send(services, listed(tmp_path, 5), project=project, reprocess=True)
    assert (everything.total, everything.skipped) == (5, 0)


async def test_a_job_of_which_all_is_skipped_is_over(services: Services, project: str, tmp_path: Path) -> None:
    """B15: it waited for a run, which wrote empty tables."""
    first = await send(services, listed(tmp_path, 2), project=project)
    await finish(services, first.job_id)
    again = await send(services, listed(tmp_path, 2), project=project)
    assert (again.total, again.skipped) == (0, 2)
    assert "all 2 images skipped" in again.warnings[0]
    levels = [line.level for _, line in await services.catalog.job_log.read(again.job_id)]
    # Its beginning and its end; then of versions, which the store of these URLs does not tell, and of skipped images.
    assert levels == ["INFO", "INFO", "WARNING", "WARNING"]
    job = await services.catalog.jobs.get(again.job_id)
    assert (again.status, job.status, job.compacted) == (JobStatus.SUCCESS, JobStatus.SUCCESS, True)
    assert job.status_reason == "all 2 images were processed before"
    assert job.finished_at == job.created_at
    assert await services.catalog.jobs.claim(1, job_id=job.job_id) == []
    assert (job.job_id, job.generation) not in await services.announcements.read()
    retried = await retry(services, job.job_id)
    assert (retried.images, retried.warnings) == (0, ("nothing to retry: all 2 images were processed before",))
    one = await send(services, url(0), project=project)
    assert "1 image skipped, processed by version 2 of null before (--reprocess takes it too)" in one.warnings
    assert (await services.catalog.jobs.get(one.job_id)).status_reason == "the one image was processed before"


async def test_limit_and_shuffle(services: Services, project: str, tmp_path: Path) -> None:
    source = listed(tmp_path, 50)

    async def chosen(**options: Any) -> list[str]:
        submitted = await send(services, source, project=project, **options)
        return await urls_of(services, submitted.job_id)

    everything = [url(number) for number in range(50)]
    assert await chosen(limit=3) == everything[:3]
    assert await chosen(limit=99) == everything
    mixed = await chosen(shuffle=True, seed=1)
    assert mixed != everything
    assert sorted(mixed) == sorted(everything)
    assert await chosen(shuffle=True, seed=1, limit=3) == mixed[:3]
    assert await chosen(shuffle=True, seed=2) != mixed


async def test_interactive_jobs_are_small(services: Services, project: str, tmp_path: Path) -> None:
    source = listed(tmp_path, 21)
    with pytest.raises(errors.InvalidInput, match="at most 20 images, these are 21: use --limit 20"):
        await send(services, source, project=project, interactive=True)
    submitted = await send(services, source, project=project, interactive=True, limit=20)
    assert (await services.catalog.jobs.get(submitted.job_id)).interactive


async def test_duplicates_are_merged_and_told(services: Services, project: str, tmp_path: Path) -> None:
    submitted = await send(services, listed(tmp_path, 3), url(1), project=project, name="two")
    assert (submitted.total, submitted.duplicates, submitted.name) == (3, 1, "two")
    assert submitted.warnings[0] == "1 image named more than once: merged"
    assert (await services.catalog.jobs.get(submitted.job_id)).duplicates == 1


async def test_names_that_jobs_give_themselves(services: Services, project: str, tmp_path: Path) -> None:
    folder = empty(tmp_path / "Käfer 蛾", "a.jpg")
    assert (await send(services, folder, f"{folder}/*.jpg", project=project)).name == "Käfer 蛾 and 1 more"
    assert (await send(services, url(1), project=project)).name == "1.jpg"
    named = await submit(
        services, Submission(images=[SubmittedImage(f"{folder}/a.jpg", None, None)], pipeline="null", project=project)
    )
    assert named.name == "a.jpg"


async def test_signatures_and_passwords_are_in_no_name_and_log(
    services: Services, project: str, tmp_path: Path
) -> None:
    """Low, names: a job of a presigned URL was named `a.jpg?X-Amz-Signature=…`; so were images in its log."""
    signed = "https://user:hunter2@example.org/trap/a%20b.jpg?X-Amz-Credential=me&X-Amz-Signature=abcdef#x"
    image = SubmittedImage(signed, None, None)
    other = SubmittedImage(signed, None, "site-1"), SubmittedImage(signed, None, "site-2")
    for given in (Submission(sources=[signed]), Submission(images=[image]), Submission(images=other)):
        job = await submit(services, replace(given, pipeline="null", project=project, exif="never", reprocess=True))
        assert job.name.removesuffix(" and 1 more") in ("a%20b.jpg", "a b.jpg")
        said = [line.message for _, line in await services.catalog.job_log.read(job.job_id)]
        assert not any(secret in text for text in said for secret in ("hunter2", "abcdef", "X-Amz"))
    assert any("site-1" in text for text in said)
    alone = await send(services, "https://user:hunter2@example.org", project=project)
    assert alone.name == "user:***@example.org"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pipeline": "nope"}, errors.UnknownPipeline, "there is no pipeline 'nope'; there are: .*null"),
        ({"pipeline": "No Slug"}, errors.InvalidInput, "pipeline 'No Slug' is not a slug"),
        ({"project": "Ümlaut"}, errors.InvalidInput, "project 'Ümlaut' is not a slug"),
        ({"config": {"treshold": 1}}, errors.InvalidInput, "has no setting 'treshold'; it knows: classes"),
        ({"config": {"detections": "many"}}, errors.InvalidInput, "takes int, not 'many'"),
        ({"config": {"fail_share": float("nan")}}, errors.InvalidInput, "cannot be written as JSON"),
        ({"priority": 0}, errors.InvalidInput, "priority 0 is not between 1 and 100"),
        ({"limit": 0}, errors.InvalidInput, "limit 0 leaves no image"),
        ({"name": "a\nb"}, errors.InvalidInput, "cannot be printed"),
        ({"name": "a" * 201}, errors.InvalidInput, "longer than 200"),
        ({"deployment": "a\x00"}, errors.InvalidInput, "cannot be printed"),
        ({"sources": ["/nowhere/at/all"]}, errors.InvalidSource, "there is no file or folder /nowhere/at/all"),
        ({"sources": []}, errors.InvalidSource, "no images"),
    ],
)
async def test_a_refused_submission_writes_nothing(
    services: Services, project: str, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = {job.job_id for job in await services.catalog.jobs.list(limit=1)}
    values = {"sources": [listed(tmp_path, 3)], "pipeline": "null", "project": project, **changes}
    with pytest.raises(error, match=message):
        await submit(services, Submission(**values))
    assert {job.job_id for job in await services.catalog.jobs.list(limit=1)} == before


async def test_a_bad_deployment_in_a_list_is_refused(services: Services, project: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"url,deployment\n{url(1)},no\x01rth\n")
    with pytest.raises(errors.InvalidInput, match="deployment"):
        await send(services, tmp_path / "l.csv", project=project)


@pytest.mark.slow
async def test_a_hundred_thousand_images(services: Services, project: str, tmp_path: Path) -> None:
    submitted = await send(services, listed(tmp_path, 100_000), project=project)
    assert submitted.total == 100_000
    counts = await services.catalog.images.count(submitted.job_id)
    assert (counts.total, counts.pending) == (100_000, 100_000)
    assert (await services.catalog.jobs.get(submitted.job_id)).published_upto == publish.AT_SUBMIT


@pytest.mark.long
async def test_without_a_queue_the_job_is_written_all_the_same(
    own_stores: EmbeddedStores, own_services: Services, project: str, tmp_path: Path
) -> None:
    own_stores.kill("nats")
    submitted = await send(own_services, listed(tmp_path, 3), project=project)
    assert submitted.total == 3
    assert "the queue cannot be reached, the tasks are published later" in submitted.warnings[0]
    own_stores.start("nats")


def test_the_configuration_has_one_name() -> None:
    spec = registry.get("null")
    config = spec.merged_config({"detections": 2})
    reordered = dict(reversed(list(config.items())))
    assert submit_module.config_hash(spec, config) == submit_module.config_hash(spec, json.loads(json.dumps(reordered)))
    assert submit_module.config_hash(spec, config) != submit_module.config_hash(
        spec, spec.merged_config({"detections": 3})
    )
    assert len(submit_module.config_hash(spec, config)) == 64


@pytest.mark.parametrize(
    ("asked", "stored"),
    [({}, None), ({"scores": "auto"}, None), ({"scores": "top"}, "top"), ({"scores": "full"}, "full")],
)
@pytest.mark.parametrize("slug", ["light_trap_insects", "global_moths_2024"])
def test_a_job_names_scores_only_where_it_asks(slug: str, asked: dict[str, str], stored: str | None) -> None:
    submission = submit_module.Submission(sources=["/a"], pipeline=slug, config=asked)
    assert submit_module.check(submission, registry.get(slug, ())).get("scores") == stored


def test_the_function_for_python(shared_stores: EmbeddedStores, project: str, tmp_path: Path) -> None:
    submitted = submit_module.submit_images(
        listed(tmp_path, 3), settings=shared_stores.settings, pipeline="null", project=project, limit=2
    )
    assert (submitted.total, submitted.project) == (2, project)


async def test_a_job_keeps_its_zone_and_its_pipeline_s_version(
    services: Services, project: str, tmp_path: Path
) -> None:
    """B3, B4: as they were when it was submitted; the option wins over the setting."""
    source = listed(tmp_path, 1)
    there = replace(services, settings=services.settings.model_copy(update={"time_zone": "America/Panama"}))
    jobs = [
        await send(services, source, project=project),
        await send(there, source, project=project),
        await send(there, source, project=project, time_zone="Europe/Berlin"),
    ]
    kept = [await services.catalog.jobs.get(job.job_id) for job in jobs]
    assert [job.time_zone for job in kept] == ["UTC", "America/Panama", "Europe/Berlin"]
    assert {job.pipeline_version for job in kept} == {registry.get("null").version}
    with pytest.raises(errors.InvalidInput, match="there is no time zone 'Panama City'"):
        await send(services, source, project=f"{project}-2", time_zone="Panama City")
    assert await services.catalog.jobs.list(project=f"{project}-2") == []
