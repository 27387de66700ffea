"""Unmodified HTTP workers divide their time among jobs: time is counted in images, all of which take equally long."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from antenna_orchestration.domain.ids import ImageId, PipelineSlug
from antenna_orchestration.domain.job import Job
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, job_for_http, running_gateway, token
from tests.gateway.http_worker import SLUG, JobItem, session, working
from tests.gateway.logged_worker import LoggedWorker, begun
from tests.processing.jobs_by_hand import claimed, make_job
from tests.waiting import wait_until

pytestmark = pytest.mark.long

SECONDS = 0.03
"""Per image: a batch takes longer than a call on a busy machine."""

BATCH = 8
SMALL = 10
SHARE = 2 * SMALL
"""Images after which a small job has ended, when its share is half."""

FEW = 8
"""Times its share that a small job may take. On a busy machine a call takes longer than a batch, and a worker gets some
batches before the gateway hears of a job; without turns it would be all of the large job, ten times as much. The shares
themselves are tested without a clock, in tests/domain/test_turns.py."""

MIX = (10, 10, 100, 100, 500, 500)


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
        LoggedWorker(
            base=one.base, token=await token(services, project), log=log, batch_size=BATCH,
            **{"seconds_per_image": SECONDS, **options},  # type: ignore[arg-type]
        )
        for one in gateways
    ]  # fmt: skip


async def is_under_way(log: list[ImageId], images: int) -> None:
    """So many images more are begun."""
    wanted = len(log) + images
    await asyncio.to_thread(wait_until, lambda: len(log) >= wanted, description=f"{images} images begun", timeout=120)


async def images_until_done(services: Services, project: str, log: list[ImageId], *, known: bool = True) -> int:
    """How many images are begun until the last one of a small job is, from when it is published.

    From its first one, if it is not `known` at once to all gateways.
    """
    wanted, before = await images_of(services, await job_of_its_own(services, project, SMALL)), len(log)
    await asyncio.to_thread(
        wait_until, lambda: begun(log, wanted) == SMALL, description="the small job begun", timeout=180
    )
    places = [log.index(image) for image in wanted]
    return max(places) + 1 - (before if known else min(places))


@pytest.mark.parametrize("loaders", [1, 3])
async def test_a_small_job_gets_its_share_beside_a_large_one(
    services: Services, gateway: RunningGateway, project: str, loaders: int
) -> None:
    large = await job_of_its_own(services, project, 600)
    log: list[ImageId] = []
    workers = await logged(services, project, [gateway] * 2, log, loaders=loaders)
    with working(*workers):
        await is_under_way(log, 50)
        between = await images_until_done(services, project, log)
    # Batches that were leased before, and cannot be taken back: of the loaders, between them and the device, and there.
    in_hands = 0 if loaders == 1 else 2 * BATCH * (2 * loaders + 1)
    assert between <= FEW * SHARE + in_hands
    assert 50 < begun(log, await images_of(services, large)) < 600
    assert [worker.errors for worker in workers] == [[], []]


async def test_processes_with_one_token_and_address_take_turns(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    """The gateway cannot tell them apart, and all the same none of their jobs keeps a third one waiting."""
    for _ in range(2):
        await job_of_its_own(services, project, 600)
    log: list[ImageId] = []
    workers = await logged(services, project, [gateway] * 2, log)
    workers[1].token = workers[0].token
    with working(*workers):
        await is_under_way(log, 100)
        assert await images_until_done(services, project, log) <= FEW * 3 * SMALL


async def test_no_turn_is_cut_while_nobody_else_waits(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    await job_of_its_own(services, project, 80)
    log: list[ImageId] = []
    workers = await logged(services, project, [gateway] * 2, log, seconds_per_image=0.005)
    with working(*workers):
        await asyncio.to_thread(wait_until, lambda: len(log) == 80, description="all images begun")
    # Only when all tasks were leased, and the other worker has its last batch in hand.
    assert all(at >= 80 - BATCH for worker in workers for at in worker.empty)


async def test_a_worker_that_asks_for_no_job_drains_its_own(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_of_its_own(services, project, 60)
    await job_of_its_own(services, project, SMALL)
    log: list[ImageId] = []
    [worker] = await logged(services, project, [gateway], log, seconds_per_image=0.0)
    await asyncio.to_thread(worker.process, JobItem(id=job.job_id, pipeline_slug=SLUG))
    assert len(log) == 60 == begun(log, await images_of(services, job))


@pytest.mark.parametrize("images", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_an_interactive_image_waits_for_few_batches(
    services: Services, gateway: RunningGateway, project: str, images: int
) -> None:
    job = await claimed(services, await make_job(services, project, images, pipeline=PipelineSlug(SLUG)))
    await publish.publish(services, job.job_id, limit=1_000)
    log: list[ImageId] = []
    workers = await logged(services, project, [gateway] * 4, log)
    with working(*workers):
        for _ in range(3):
            await is_under_way(log, 40)
            urgent = await job_of_its_own(services, project, 1, interactive=True)
            [image], before = await images_of(services, urgent), len(log)
            await asyncio.to_thread(wait_until, lambda: image in log, description="the image begun", timeout=120)  # noqa: B023  # awaited here
            # The batch in each worker's hands, one more, and one until the gateway of a busy machine hears of the job.
            assert log.index(image) - before <= 4 * 3 * BATCH
        # Each image ended the turn of one worker, which then found no second image; seldom of another one, too.
        assert sum(len(worker.empty) for worker in workers) <= 3 * 3


@pytest.mark.slow
async def test_six_jobs_end_as_they_should(services: Services, gateway: RunningGateway, project: str) -> None:
    jobs = [await job_of_its_own(services, project, size) for size in MIX]
    images = [await images_of(services, job) for job in jobs]
    log: list[ImageId] = []
    workers = await logged(services, project, [gateway] * 4, log, seconds_per_image=0.05)
    with working(*workers):
        await asyncio.to_thread(
            wait_until, lambda: len(set(log)) == sum(MIX), description="all images begun", timeout=300
        )
    assert len(log) == sum(MIX)
    for size, mine in zip(MIX, images, strict=True):
        # As long as a job lasts, each of the others has had as much as it, or all that it needed.
        fair = sum(min(size, other) for other in MIX)
        assert max(log.index(image) for image in mine) + 1 <= 2.5 * fair
    assert [worker.errors for worker in workers] == [[]] * 4


@pytest.mark.slow
async def test_two_gateways_share_the_clocks_with_and_without_redis(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    with running_gateway(own_stores) as one, running_gateway(own_stores) as other:
        await job_of_its_own(own_services, project, 1_500)
        log: list[ImageId] = []
        with working(*await logged(own_services, project, [one, other], log)):
            await is_under_way(log, 50)
            assert await images_until_done(own_services, project, log) <= FEW * SHARE
            own_stores.kill("redis")
            await is_under_way(log, 50)
            assert await images_until_done(own_services, project, log) <= FEW * SHARE
            await asyncio.to_thread(own_stores.start, "redis")
            await is_under_way(log, 50)
            assert await images_until_done(own_services, project, log) <= FEW * SHARE
        # Nobody did an image that another had done.
        assert len(log) == len(set(log))


@pytest.mark.slow
async def test_shares_outlive_restarts_of_gateways_and_nats(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    with running_gateway(own_stores) as one, running_gateway(own_stores) as other:
        await job_of_its_own(own_services, project, 2_500)
        log: list[ImageId] = []
        with working(*await logged(own_services, project, [one, other], log)):
            await is_under_way(log, 50)
            for number in (signal.SIGTERM, signal.SIGKILL):
                await asyncio.to_thread(one.stop, number)
                await asyncio.to_thread(one.start)
                await is_under_way(log, 50)
                assert await images_until_done(own_services, project, log) <= FEW * SHARE
            await asyncio.to_thread(own_stores.stop, "nats")
            await asyncio.to_thread(own_stores.start, "nats")
            await is_under_way(log, 50)
            # They watch the announcements again after a while.
            assert await images_until_done(own_services, project, log, known=False) <= FEW * SHARE


async def test_workers_that_ask_at_the_same_moment_get_different_jobs(
    shared_stores: EmbeddedStores, services: Services, project: str
) -> None:
    # A gateway of its own knows nobody's pace, so that an offer counts for more than any clock.
    with running_gateway(shared_stores) as gateway:
        observer, *workers = await logged(services, project, [gateway] * 7, [])
        jobs = {(await job_of_its_own(services, project, SMALL)).job_id for _ in range(8)}

        def are_known() -> bool:
            with session(observer.token) as http:
                listed = http.get(f"{gateway.base}/jobs", params={"incomplete_only": 1}, timeout=60).json()
            return jobs <= {job["id"] for job in listed["results"]}

        await asyncio.to_thread(wait_until, are_known, description="all jobs announced")
        with ThreadPoolExecutor(len(workers)) as pool:
            offered = [job.id for found in pool.map(LoggedWorker.jobs, workers) for job in found]
        assert len(set(offered)) == len(workers), offered
