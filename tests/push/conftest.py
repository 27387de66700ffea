from collections.abc import AsyncIterator, Iterator

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from tests.gateway.gateway_process import ACK_WAIT, RunningGateway, running_gateway
from tests.push.processing_service import ProcessingService, serving
from tests.push.push_worker import HTTP_LEASE, PushWorker


@pytest.fixture
def task_ack_wait() -> float:
    """The push worker's: these tests wait for the end of leases."""
    return ACK_WAIT


@pytest.fixture(scope="package")
def gateway(shared_stores: EmbeddedStores) -> Iterator[RunningGateway]:
    """A gateway that keeps the same leases as the push workers."""
    with running_gateway(shared_stores, ANTENNA_HTTP_LEASE=str(HTTP_LEASE)) as started:
        yield started


@pytest.fixture
async def service() -> AsyncIterator[ProcessingService]:
    """A processing service whose pipeline is the test's own, on a port of its own."""
    async with serving() as started:
        yield started


@pytest.fixture
def pushing(shared_stores: EmbeddedStores, service: ProcessingService, project: str) -> Iterator[PushWorker]:
    """A push worker for the project and the service, not started yet."""
    worker = PushWorker(shared_stores, service.url, project)
    yield worker
    worker.kill()
    # Shown when the test failed.
    print(worker.log.read_text() if worker.log.exists() else "")
