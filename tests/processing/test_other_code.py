"""Results of other code than the job is bound to are refused, and old workers are treated as they deserve (P1)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from antenna_orchestration.domain import algorithms, messages
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing import collect, publish
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import Hands, claimed, hands, make_job

OURS, OTHER = "1" * 64, "2" * 64


@pytest.fixture
async def worker(services: Services) -> AsyncIterator[Hands]:
    async with hands(services) as opened:
        yield opened


async def announced(services: Services, job: Job) -> tuple[Job, messages.Announcement]:
    await publish.publish(services, job.job_id)
    found = await services.announcements.find(job.job_run)
    assert found is not None
    return await services.catalog.jobs.get(job.job_id), found


async def test_results_of_another_digest_fail_their_images(services: Services, worker: Hands, project: str) -> None:
    job, announcement = await announced(
        services, await claimed(services, await make_job(services, project, 3, digest=OURS))
    )
    assert announcement.digest == OURS
    leases = await worker.lease(job, 3)
    await worker.report(leases[:1], digest=OTHER)
    await worker.report(leases[1:2], digest=OURS)
    # As workers from before there were digests and those behind the gateway report.
    await worker.report(leases[2:])
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed, counts.detections) == (2, 1, 2)
    refused = await services.catalog.images.find(job.job_id, leases[0].task.image)
    assert refused is not None and refused.reason == (
        "its result was refused: test made it with other code, weights or labels (digest 222222222222) than the job "
        "was submitted for (digest 111111111111)"
    )


@pytest.mark.parametrize(
    ("pipeline", "digest", "version"),
    [("null", OURS, messages.VERSION), ("null", None, messages.VERSION), ("of-a-lab", OURS, messages.BOUND),
     ("of-a-lab", None, messages.VERSION)],
)  # fmt: skip
async def test_older_workers_serve_only_what_is_certainly_the_same(
    services: Services, project: str, pipeline: str, digest: str | None, version: int
) -> None:
    """They know no digests: they refuse the version of an announcement that they would misunderstand."""
    job = await make_job(services, project, 1, pipeline=pipeline, digest=digest)
    _, announcement = await announced(services, job)
    assert (announcement.v, announcement.digest) == (version, digest or msgspec.UNSET)


def test_a_worker_says_why_a_digest_is_not_its_own() -> None:
    def why(asked: str | None, here: str) -> str | None:
        return algorithms.why_other_digest("g", "1", asked=asked, here=here)

    assert why(None, OURS) is why("", "") is why(OURS, OURS) is None
    assert why(OURS, OTHER) == (
        "it was submitted for g 1, digest 111111111111, here is 222222222222: its code, weights or labels are others; "
        "cancel and retry it to change that"
    )
    assert "digest 111111111111, files of it are missing here" in str(why(OURS, ""))
