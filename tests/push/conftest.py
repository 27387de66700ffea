import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import services
from tests.gateway.running import RunningGateway, running
from tests.push.running import HTTP_LEASE, Pushing
from tests.push.service import Service, serving


@pytest.fixture(scope="package")
def gateway(shared_stores: EmbeddedStores) -> Iterator[RunningGateway]:
    """A gateway that keeps the same leases as the push workers."""
    asyncio.run(services.prepare(shared_stores.settings))
    with running(shared_stores, ANTENNA_HTTP_LEASE=str(HTTP_LEASE)) as started:
        yield started


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A processing service whose pipeline is the test's own, on a port of its own."""
    async with serving() as started:
        yield started


@pytest.fixture
def pushing(shared_stores: EmbeddedStores, service: Service, project: str) -> Iterator[Pushing]:
    """A push worker for the project and the service, not started yet."""
    worker = Pushing(shared_stores, service.url, project)
    yield worker
    worker.kill()
    # Shown when the test failed.
    print(worker.log.read_text() if worker.log.exists() else "")
