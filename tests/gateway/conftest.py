from collections.abc import Iterator

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import services
from tests.gateway.running import RunningGateway, running


@pytest.fixture(scope="package")
def gateway(shared_stores: EmbeddedStores) -> Iterator[RunningGateway]:
    """A gateway for tests that leave it running."""
    import asyncio

    asyncio.run(services.prepare(shared_stores.settings))
    with running(shared_stores) as started:
        yield started
