"""Pictures for the UI, of images wherever they lie."""

from collections.abc import AsyncIterator

import pytest

from antenna_orchestration import settings
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import collect, finish, publish, samples
from antenna_orchestration.processing.services import Services, opened, prepare
from tests.loading.image_server import ImageServer, serving
from tests.processing.jobs_by_hand import claimed, hands, make_job


@pytest.fixture
async def server() -> AsyncIterator[ImageServer]:
    async with serving() as running:
        yield running


async def finished_job(services: Services, project: str, server: ImageServer) -> list[tuple[str, bytes]]:
    """Pictures of a job with one detection in each of two images behind a web server."""
    urls = [server.uri("good/1.jpg?signature=secret"), server.uri("status/404")]
    job = await claimed(services, await make_job(services, project, 2, urls=urls))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 2))
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    return await samples.sample_pictures(services, job, count=2, width=32)


@pytest.fixture
def wanted(shared_stores: EmbeddedStores) -> settings.Settings:
    return shared_stores.settings


async def test_an_image_behind_http_is_drawn(wanted: settings.Settings, project: str, server: ImageServer) -> None:
    await prepare(wanted)
    async with opened(wanted.model_copy(update={"allow_private_hosts": True})) as services:
        [(caption, picture)] = await finished_job(services, project, server)
    assert caption == "no deployment, time unknown, 1.jpg: 1 detection"
    assert picture.startswith(b"\xff\xd8")


async def test_a_private_address_is_not_followed(wanted: settings.Settings, project: str, server: ImageServer) -> None:
    await prepare(wanted)
    async with opened(wanted) as services:
        assert await finished_job(services, project, server) == []
    assert not server.requests
