"""A new classifier on the boxes of a finished job: from submission to the tables."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from antenna_orchestration import errors
from antenna_orchestration.answers import derive
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain.capture_sets import Rule
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.domain.messages import Classification, Detection, GivenBox
from antenna_orchestration.exports import megadetector_of_tables
from antenna_orchestration.lake import derived
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing import cancel, capture_sets, collect, finish, publish, retry
from antenna_orchestration.processing.given_detections import with_news
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Submission, pipeline_row, submit
from antenna_orchestration.worker.options import WorkerOptions
from tests.processing.boxes_by_hand import FINDER, begun, ended, job_with_boxes
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job
from tests.worker.worker_thread import running


@pytest.mark.long
async def test_boxes_of_a_job_are_classified_by_another_pipeline(
    services: Services, project: str, tmp_path: Path
) -> None:
    source = await job_with_boxes(services, project, tmp_path)
    wanted = Submission(detections_of=source.job_id, pipeline="null", project=project)
    job = await begun(services, await submit(services, wanted))
    assert (job.total, job.detections_of, job.config["detections"]) == (3, source.job_id, 1)
    settings = services.settings.model_copy(update={"device": "cpu", "worker_threads": 1})
    with running(settings, WorkerOptions(pipelines=("null",))):
        await ended(services, job)

    columns = ["image_id", "detection_id", "x1", "y1", "x2", "y2", "score", "algorithm", "algorithm_version"]
    old = services.lake.read_table("detections", source.job_id, columns).to_pylist()
    new = services.lake.read_table("detections", job.job_id, columns).to_pylist()
    by_id = {row["detection_id"]: row for row in old}
    assert len(old) == 4 and {row["detection_id"]: row for row in new} == by_id
    assert sorted(row["score"] or 0 for row in new) == [0, 0.75, 0.75, 0.75]
    named = services.lake.read_table("classifications", job.job_id).to_pylist()
    assert {row["detection_id"] for row in named} == set(by_id)
    assert {row["algorithm"] for row in named} == {"null_classifier"}
    captures = services.lake.read_table("captures", job.job_id).to_pylist()
    assert sorted(row["detections"] for row in captures) == [0, 1, 3]
    # This pipeline tells no size; it is known from the other job.
    assert [(row["width"], row["height"]) for row in captures] == [(64, 48)] * 3
    made = json.loads(b"".join(megadetector_of_tables.pieces(services.lake, job)))
    assert (made["info"]["detector"], made["info"]["classifier"]) == ("finder 7", "null_classifier 2")
    assert made["info"]["antenna"]["detections_without_score"] == 1
    found = [one for image in made["images"] for one in image["detections"]]
    assert sorted(one["conf"] for one in found) == [0.75, 0.75, 0.75, 1.0]
    assert all(one["classifications"] for one in found)

    # The derived tables name both; the score that is missing stays so there, and in what everybody queries.
    await derive.derive(services, job=job.job_id)
    observations = derived.read(services.lake, Scope(job=job.job_id), "observations").to_pylist()
    assert {(row["detector"], row["detector_version"]) for row in observations} == {(FINDER.key, FINDER.version)}
    assert {row["classifier"] for row in observations} == {"null_classifier"}
    assert {row["detection_id"]: row["detector_score"] for row in observations} == {
        key: row["score"] for key, row in by_id.items()
    }
    seen = await asyncio.to_thread(scores_of_all, services.lake, job.job_id, tmp_path / "lake")
    assert sorted(seen, key=str) == sorted((row["score"] for row in new), key=str)

    again = await submit(services, wanted)
    assert (again.total, again.skipped, again.status) == (0, 3, JobStatus.SUCCESS)
    with pytest.raises(errors.InvalidSource, match="has no boxes, as it has no images: all 3 images were processed"):
        await submit(services, replace(wanted, detections_of=again.job_id))
    # Its pipeline's detector saw none of them.
    ordinary = await submit(services, replace(wanted, detections_of=None, sources=[str(tmp_path)], exif="never"))
    assert (ordinary.total, ordinary.skipped) == (3, 0)


def scores_of_all(lake: Lake, job: JobId, folder: Path) -> list[float | None]:
    """What `current.sql` has of a job, in a lake of its own: other tests damage files of the one that they share."""
    for table in finish.TABLES:
        of_job = f"{table}/job_id={job}"
        shutil.copytree(f"{lake.uri}/{of_job}", folder / of_job)
    connection = duckdb.connect()
    connection.execute(Lake(str(folder)).current())
    return [row[0] for row in connection.sql(f"SELECT score FROM all_detections WHERE job_id = {job}").fetchall()]


async def test_what_cannot_be_classified_anew_is_refused(services: Services, project: str, tmp_path: Path) -> None:
    source = await job_with_boxes(services, project, tmp_path)
    running_job = await make_job(services, project, 1)
    canceled = await make_job(services, project, 1)
    await cancel.cancel(services, canceled.job_id, reason="test")
    other = tmp_path / "other" / "a.jpg"
    other.parent.mkdir()
    other.write_bytes(b"\xff\xd8\xff")
    wanted = Submission(detections_of=source.job_id, pipeline="null", project=project)
    before = len(await services.catalog.jobs.list(project=project))
    for changes, error, message in (
        ({"pipeline": "light_trap_insects"}, errors.InvalidInput, "cannot classify the boxes"),
        ({"project": "elsewhere"}, errors.InvalidInput, "is of project"),
        ({"detections_of": running_job.job_id}, errors.Conflict, "is QUEUED: .* once it is finished"),
        (
            {"detections_of": canceled.job_id},
            errors.Conflict,
            f"is CANCELED, .*`antenna jobs retry {canceled.job_id}`",
        ),
        ({"detections_of": 10**9}, errors.NotFound, "there is no job"),
        ({"sources": [str(other.parent)], "exif": "never"}, errors.InvalidSource, "has done no image of these"),
        ({"limit": 0}, errors.InvalidInput, "limit 0 leaves no image"),
        ({"config": {"colour": 1}}, errors.InvalidInput, "has no setting 'colour'"),
    ):
        with pytest.raises(error, match=message) as caught:
            await submit(services, replace(wanted, **changes))  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    for path in (Path(services.lake.uri) / "detections" / f"job_id={source.job_id}").iterdir():
        path.unlink()
    with pytest.raises(errors.Conflict, match=f"the lake has no detections of job {source.job_id}: is this"):
        await submit(services, wanted)
    assert len(await services.catalog.jobs.list(project=project)) == before


async def test_a_job_without_any_box_ends_without_a_worker(services: Services, project: str, tmp_path: Path) -> None:
    source = await job_with_boxes(services, project, tmp_path, boxes=(0, 0))
    submitted = await submit(services, Submission(detections_of=source.job_id, pipeline="null"))
    assert (submitted.status, submitted.total, submitted.project) == (JobStatus.QUEUED, 2, project)
    assert (
        "none of the 2 images has a box: there is nothing to classify, and the job ends without a worker"
        in submitted.warnings
    )
    job = await services.catalog.jobs.get(submitted.job_id)
    counts = await services.catalog.images.count(job.job_id)
    assert (counts.done, counts.pending) == (2, 0)
    job = await claimed(services, job)
    assert (await publish.publish(services, job.job_id)).complete
    await ended(services, job)
    for name, rows in (("captures", 2), ("detections", 0), ("classifications", 0), ("failed_images", 0)):
        assert services.lake.has_table(name, job.job_id) and services.lake.count_rows(name, job.job_id) == rows
    over = await services.catalog.jobs.get(job.job_id)
    assert over.status_reason == "no image has a box, so there was nothing to classify"
    nothing = await retry.retry(services, job.job_id)
    assert (nothing.images, nothing.warnings) == (0, (f"nothing to retry: all 2 images of job {job.job_id} are done",))
    # And anew, of the job that was made of boxes itself.
    of_that = await submit(services, Submission(detections_of=job.job_id, pipeline="null", limit=1))
    assert (of_that.total, of_that.warnings) == (
        1,
        ("the one image has no box: there is nothing to classify, and the job ends without a worker",),
    )


def relabelled(given: Sequence[GivenBox]) -> list[Detection]:
    """The boxes with a name each, under the finder that found them."""
    said = Classification(algorithm=ALGORITHM, label="moth", score=0.5, top_labels=["moth"], top_scores=[0.5])
    return [Detection(box=one.box, score=one.score, algorithm=one.algorithm, classifications=[said]) for one in given]


async def test_a_retry_gives_the_same_boxes_again(services: Services, project: str, tmp_path: Path) -> None:
    source = await job_with_boxes(services, project, tmp_path)
    job = await begun(services, await submit(services, Submission(detections_of=source.job_id, pipeline="null")))
    async with hands(services) as worker:
        # Fewest boxes first: that image is done, the other fails.
        one, three = sorted(await worker.lease(job, 2), key=lambda lease: len(lease.task.detections))
        assert [len(lease.task.detections) for lease in (one, three)] == [1, 3]
        await worker.report([one], detections=relabelled(one.task.detections))
        await worker.report([three], outcome="failed", reason="no such file", detections=[])
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed) == (2, 1)
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)
    # What becomes of the other job meanwhile changes nothing here.
    for path in (Path(services.lake.uri) / "detections" / f"job_id={source.job_id}").iterdir():
        path.unlink()

    again = await retry.retry(services, job.job_id)
    assert (again.generation, again.images, again.warnings) == (2, 1, ())
    job = await claimed(services, await services.catalog.jobs.get(job.job_id))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        [lease] = await worker.lease(job, 1)
        assert [(given.box, given.score, given.algorithm) for given in lease.task.detections] == [
            ((8.5 * number, 1.0, 8.5 * number + 5, 9.0), None if number == 1 else 0.75, FINDER) for number in range(3)
        ]
        await worker.report([lease], detections=relabelled(lease.task.detections))
    await ended(services, job)
    assert services.lake.count_rows("detections", job.job_id) == 4
    assert services.lake.count_rows("captures", job.job_id) == 3


async def test_a_retry_is_refused_when_the_pipeline_takes_no_boxes_now(
    services: Services, project: str, tmp_path: Path
) -> None:
    source = await job_with_boxes(services, project, tmp_path, boxes=(1,))
    slug = f"r-{project}"[:50]
    row = replace(pipeline_row(registry.get("null")), slug=slug, is_public=True)
    await services.catalog.pipelines.register(row)
    submitted = await submit(services, Submission(detections_of=source.job_id, pipeline=slug))
    await cancel.cancel(services, submitted.job_id, reason="test")
    await services.catalog.pipelines.register(replace(row, takes_detections=False))
    with pytest.raises(errors.Conflict, match=f"given the boxes of job {source.job_id}, and {slug} takes none"):
        await retry.retry(services, submitted.job_id)
    assert (await services.catalog.jobs.get(submitted.job_id)).status is JobStatus.CANCELED
    await services.catalog.pipelines.register(row)
    assert (await retry.retry(services, submitted.job_id)).images == 1


async def test_corrections_since_the_first_job_hold_and_news_count(
    services: Services, project: str, tmp_path: Path
) -> None:
    source = await job_with_boxes(services, project, tmp_path, boxes=(1, 1))
    wrong, right = datetime(2001, 1, 1, tzinfo=UTC), datetime(2026, 6, 12, 22, tzinfo=UTC)
    images = await services.catalog.images.done(source.job_id)
    corrected = [
        one._replace(captured_at=right, stamp=right.replace(tzinfo=None), deployment="pond") for one in images.values()
    ]
    await make_corrections(services, project, corrected)
    again = Submission(detections_of=source.job_id, pipeline="null", reprocess=True)
    job = await services.catalog.jobs.get((await submit(services, again)).job_id)
    assert await manifest(services, job.job_id) == {(right, "pond")}
    # What is said of images by name counts; the version stays the one that the boxes are of.
    told = [SubmittedImage(next(iter(images.values())).uri, wrong, "meadow")]
    job = await services.catalog.jobs.get((await submit(services, replace(again, images=told))).job_id)
    assert await manifest(services, job.job_id) == {(wrong, "meadow")}
    job = await services.catalog.jobs.get((await submit(services, replace(again, deployment="hill"))).job_id)
    assert await manifest(services, job.job_id) == {(wrong, "hill"), (right, "hill")}


async def make_corrections(services: Services, project: str, images: Sequence[SubmittedImage]) -> None:
    """A later submission that says other things of the same images."""
    await submit(services, Submission(images=images, pipeline="null", project=project, reprocess=True))


async def manifest(services: Services, job: JobId) -> set[tuple[datetime | None, str | None]]:
    """Times and deployments of a job's images."""
    return {
        (row["captured_at"], row["deployment"]) async for rows in services.catalog.images.manifest(job) for row in rows
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, {}),
        ({"link": "https://x.org/a.jpg?sig=new"}, {"link": "https://x.org/a.jpg?sig=new"}),
        ({"version": "another"}, {}),
        ({"deployment": "meadow"}, {"deployment": "meadow"}),
        # A time without a zone takes the place of one with it: they belong together.
        (
            {"captured_at": datetime(2026, 1, 1, tzinfo=UTC), "stamp": datetime(2026, 1, 1)},
            {"captured_at": datetime(2026, 1, 1, tzinfo=UTC), "stamp": datetime(2026, 1, 1), "stamp_offset": None},
        ),
    ],
)
def test_what_is_not_said_anew_stays(said: dict[str, object], expected: dict[str, object]) -> None:
    moment = datetime(2025, 6, 12, 22, tzinfo=UTC)
    known = SubmittedImage(
        "https://x.org/a.jpg", moment, "pond", "v1", link="https://x.org/a.jpg?sig=old",
        stamp=moment.replace(tzinfo=None), stamp_offset=0,
    )  # fmt: skip
    news = SubmittedImage(known.uri, None, None)._replace(**said)  # type: ignore[arg-type]
    assert with_news(known, news) == known._replace(**expected)  # type: ignore[arg-type]


async def test_boxes_of_chosen_photographs_alone_are_classified(
    services: Services, project: str, tmp_path: Path
) -> None:
    source = await job_with_boxes(services, project, tmp_path)
    await capture_sets.create(services, project, "one", Rule(random=1, seed=1))
    wanted = Submission(detections_of=source.job_id, pipeline="null", project=project)
    assert (await submit(services, replace(wanted, capture_set="one"))).total == 1
    for sources in ([], [str(tmp_path)]):
        with pytest.raises(errors.InvalidInput, match="no photograph is left of 3: 3 without a time"):
            await submit(services, replace(wanted, sources=sources, nights="2026-06-12"))
