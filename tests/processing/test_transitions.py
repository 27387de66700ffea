"""The real catalog holds to the tables of `domain/job.py`: every act is tried on a job in every state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import IMAGE_TRANSITIONS, JOB_TRANSITIONS, ImageStatus, Job, JobStatus
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import make_job

Act = Callable[[Services, Job], Awaitable[object]]


def finish(status: JobStatus) -> Act:
    return lambda services, job: services.catalog.jobs.finish(job.job_run, status, None)


ACTS: dict[JobStatus, Act] = {
    JobStatus.QUEUED: lambda services, job: services.catalog.jobs.retry(job.job_id),
    JobStatus.CLAIMED: lambda services, job: services.catalog.jobs.claim(1, job_id=job.job_id),
    JobStatus.RUNNING: lambda services, job: services.catalog.jobs.start(job.job_run, "run"),
    JobStatus.CANCELING: lambda services, job: services.catalog.jobs.cancel(job.job_id, "a test"),
    **{status: finish(status) for status in (JobStatus.SUCCESS, JobStatus.FAILURE, JobStatus.CANCELED)},
}
"""What brings a job into each state, were it allowed."""

WAYS: dict[JobStatus, tuple[JobStatus, ...]] = {
    JobStatus.QUEUED: (),
    JobStatus.CLAIMED: (JobStatus.CLAIMED,),
    JobStatus.RUNNING: (JobStatus.CLAIMED, JobStatus.RUNNING),
    JobStatus.CANCELING: (JobStatus.CANCELING,),
    JobStatus.SUCCESS: (JobStatus.CLAIMED, JobStatus.RUNNING, JobStatus.SUCCESS),
    JobStatus.FAILURE: (JobStatus.CLAIMED, JobStatus.FAILURE),
    JobStatus.CANCELED: (JobStatus.CANCELING, JobStatus.CANCELED),
}
"""How a job comes there from its beginning."""


@pytest.mark.parametrize("before", JobStatus)
async def test_every_act_on_a_job_in_every_state(services: Services, project: str, before: JobStatus) -> None:
    for after, act in ACTS.items():
        job = await make_job(services, f"{project[:40]}-{after.lower()}", 1)
        for step in WAYS[before]:
            assert await ACTS[step](services, job)
        assert (await services.catalog.jobs.get(job.job_id)).status is before
        allowed = bool(await act(services, job))
        now = await services.catalog.jobs.get(job.job_id)
        if before is after is JobStatus.RUNNING:
            # A run that takes over from a dead one: no transition.
            assert allowed
            continue
        assert allowed is (after in JOB_TRANSITIONS[before])
        assert now.status is (after if allowed else before)
        assert now.generation == job.generation + (after is JobStatus.QUEUED and allowed)


def outcome(image: ImageId, status: ImageStatus) -> ImageOutcome:
    part = "a-part" if status is ImageStatus.DONE else None
    return ImageOutcome(image, status, part, 1, None, False, None, None, 0, 0, "test")


@pytest.mark.parametrize("before", ImageStatus)
@pytest.mark.parametrize("after", ImageStatus)
async def test_every_move_of_an_image(
    services: Services, project: str, before: ImageStatus, after: ImageStatus
) -> None:
    job = await make_job(services, project, 1)
    for step in WAYS[JobStatus.RUNNING]:
        await ACTS[step](services, job)
    (image,) = await services.catalog.images.pending(job.job_run, upto=1)

    async def status() -> ImageStatus:
        (row,) = [row async for rows in services.catalog.images.manifest(job.job_id) for row in rows]
        return ImageStatus(row["status"])

    async def move(to: ImageStatus) -> None:
        if to is not ImageStatus.PENDING:
            await services.catalog.images.commit(job.job_run, [outcome(image, to)])
        elif await status() is ImageStatus.DONE:
            await services.catalog.images.reset_part(job.job_run, "a-part")
        else:
            await finish(JobStatus.FAILURE)(services, job)
            await services.catalog.jobs.retry(job.job_id)

    if before is not ImageStatus.PENDING:
        await move(before)
    assert await status() is before
    await move(after)
    allowed = after in IMAGE_TRANSITIONS[before]
    assert await status() is (after if allowed else before)
