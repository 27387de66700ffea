from collections.abc import AsyncIterator, Iterator

import pytest

from antenna_orchestration.embedded.stores import Stores
from tests.gateway.conftest import gateway
from tests.push.running import Pushing
from tests.push.service import Service, serving

__all__ = ["gateway"]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A processing service whose pipeline is the test's own, on a port of its own."""
    async with serving() as started:
        yield started


@pytest.fixture
def pushing(shared_stores: Stores, service: Service, project: str) -> Iterator[Pushing]:
    """A push worker for the project and the service, not started yet."""
    worker = Pushing(shared_stores, service.url, project)
    yield worker
    worker.kill()
