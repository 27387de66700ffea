"""A new classifier on the boxes of a finished job: from submission to the tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.messages import AlgorithmRef, Detection
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Submission, Submitted, submit
from antenna_orchestration.worker.options import WorkerOptions
from tests.processing.jobs_by_hand import claimed, hands, make_job
from tests.worker.worker_thread import running

FINDER = AlgorithmRef("finder", "7")


async def ended(services: Services, job: Job) -> None:
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed) == (job.total, 0)
    assert not (await finish.write_final_tables(services, job)).lost_parts
    assert await finish.finish_job(services, job) is JobStatus.SUCCESS


async def begun(services: Services, submitted: Submitted) -> Job:
    job = await claimed(services, await services.catalog.jobs.get(submitted.job_id))
    await publish.publish(services, job.job_id)
    return await services.catalog.jobs.get(job.job_id)


async def job_with_boxes(services: Services, project: str, folder: Path) -> Job:
    """Three photographs with three boxes, none and one; the second box of the first has no score."""
    files = [folder / f"{number}.jpg" for number in range(3)]
    for file in files:
        file.write_bytes(b"\xff\xd8\xff not really a photograph")
    job = await make_job(services, project, 3, urls=[file.as_uri() for file in files])
    job = await claimed(services, job)
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        leases = sorted(await worker.lease(job, 3), key=lambda lease: lease.task.image)
        for lease, count in zip(leases, (3, 0, 1), strict=True):
            found = [
                Detection(
                    box=(8.5 * number, 1.0, 8.5 * number + 5, 9.0),
                    score=None if number == 1 else 0.75,
                    algorithm=FINDER,
                )
                for number in range(count)
            ]
            # It says so also where it found nothing.
            await worker.report([lease], detections=found, algorithms=[FINDER])
    await ended(services, job)
    return await services.catalog.jobs.get(job.job_id)


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
    # Where there was nothing to classify, the size is known from the other job.
    assert [row["width"] for row in captures if not row["detections"]] == [10]

    again = await submit(services, wanted)
    assert (again.total, again.skipped, again.status) == (0, 3, JobStatus.SUCCESS)
    # Its pipeline's detector saw none of them.
    ordinary = await submit(services, replace(wanted, detections_of=None, sources=[str(tmp_path)], exif="never"))
    assert (ordinary.total, ordinary.skipped) == (3, 0)


async def test_what_cannot_be_classified_anew_is_refused(services: Services, project: str, tmp_path: Path) -> None:
    source = await job_with_boxes(services, project, tmp_path)
    running_job = await make_job(services, project, 1)
    other = tmp_path / "other" / "a.jpg"
    other.parent.mkdir()
    other.write_bytes(b"\xff\xd8\xff")
    wanted = Submission(detections_of=source.job_id, pipeline="null", project=project)
    for changes, error, message in (
        ({"pipeline": "light_trap_insects"}, errors.InvalidInput, "cannot classify the boxes"),
        ({"project": "elsewhere"}, errors.InvalidInput, "is of project"),
        ({"detections_of": running_job.job_id}, errors.Conflict, "once it is finished"),
        ({"detections_of": 10**9}, errors.NotFound, "there is no job"),
        ({"sources": [str(other.parent)], "exif": "never"}, errors.InvalidSource, "has done no image of these"),
    ):
        with pytest.raises(error, match=message):
            await submit(services, replace(wanted, **changes))  # type: ignore[arg-type]
