"""Unmodified HTTP workers divide their time among jobs: time is counted in images, all of which take equally long."""

import asyncio
from uuid import uuid4

import pytest

from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, job_for_http, token
from tests.gateway.http_worker import working
from tests.gateway.logged_worker import LoggedWorker, begun
from tests.waiting import wait_until

SECONDS = 0.02
"""Per image: a batch of eight takes longer than a call on a busy machine."""


async def job_of_its_own(services: Services, project: str, images: int, **changes: object) -> Job:
    """A published job of images that no other job has."""
    urls = [f"http://192.0.2.1/{project}/{uuid4()}.jpg" for _ in range(images)]
    return await job_for_http(services, project, images, urls=urls, **changes)  # type: ignore[arg-type]


async def images_of(services: Services, job: Job) -> set[ImageId]:
    return await services.catalog.images.pending(job.job_run, upto=job.total)


async def logged(
    services: Services, project: str, gateways: list[RunningGateway], log: list[ImageId], **options: object
) -> list[LoggedWorker]:
    """A worker with a token of its own at each of the gateways."""
    return [
        LoggedWorker(base=one.base, token=await token(services, project), log=log, seconds_per_image=SECONDS, **options)  # type: ignore[arg-type]
        for one in gateways
    ]


@pytest.mark.parametrize("loaders", [1, 3])
async def test_a_small_job_gets_its_share_beside_a_large_one(
    services: Services, gateway: RunningGateway, project: str, loaders: int
) -> None:
    """Its fair share ends after twenty images; and a worker finishes what it has in its hands."""
    large = await job_of_its_own(services, project, 600)
    log: list[ImageId] = []
    workers = await logged(services, project, [gateway] * 2, log, loaders=loaders)
    with working(*workers):
        await asyncio.to_thread(wait_until, lambda: len(log) >= 100, description="the large job under way")
        small = await job_of_its_own(services, project, 10)
        wanted, before = await images_of(services, small), len(log)
        await asyncio.to_thread(
            wait_until, lambda: begun(log, wanted) == 10, description="the small job begun", timeout=120
        )
        between = max(log.index(image) for image in wanted) + 1 - before
    print(
        "BETWEEN", between, "before", before, "total", len(log), [w.empty for w in workers], [w.errors for w in workers]
    )
    # Batches that were leased before, and cannot be taken back: of the loaders, between them and the device, and there.
    in_hands = 0 if loaders == 1 else 2 * 8 * (2 * loaders + 1)
    assert between <= 3 * 20 + in_hands
    assert begun(log, await images_of(services, large)) > 100
