"""A finished job with boxes, for jobs that classify them anew."""

from pathlib import Path

from PIL import Image

from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.messages import AlgorithmRef, Detection
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Submitted
from tests.processing.jobs_by_hand import claimed, hands, make_job

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


async def job_with_boxes(
    services: Services, project: str, folder: Path, *, boxes: tuple[int, ...] = (3, 0, 1), **changes: object
) -> Job:
    """As many photographs, with so many boxes each; the second box of a photograph has no score."""
    files = [folder / f"{number}.jpg" for number in range(len(boxes))]
    for file in files:
        # The gateway looks at a photograph of which a worker reports an error.
        Image.new("RGB", (64, 48), "grey").save(file)
    # Not of the null pipeline, which has no such detector.
    of = {"pipeline": PipelineSlug("finds-by-hand"), **changes}
    job = await make_job(services, project, len(files), urls=[file.as_uri() for file in files], **of)
    job = await claimed(services, job)
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        leases = sorted(await worker.lease(job, len(files)), key=lambda lease: lease.task.image)
        for lease, count in zip(leases, boxes, strict=True):
            found = [
                Detection(
                    box=(8.5 * number, 1.0, 8.5 * number + 5, 9.0),
                    score=None if number == 1 else 0.75,
                    algorithm=FINDER,
                )
                for number in range(count)
            ]
            # It says so also where it found nothing.
            await worker.report([lease], detections=found, algorithms=[FINDER], width=64, height=48)
    await ended(services, job)
    return await services.catalog.jobs.get(job.job_id)
