from collections.abc import Iterator

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from tests.gateway.gateway_process import ACK_WAIT, RunningGateway, running_gateway


@pytest.fixture
def task_ack_wait() -> float:
    """The gateway's: these tests wait for the end of leases."""
    return ACK_WAIT


@pytest.fixture(scope="package")
def gateway(shared_stores: EmbeddedStores) -> Iterator[RunningGateway]:
    """A gateway for tests that leave it running."""
    with running_gateway(shared_stores, forks=False) as started:
        yield started


@pytest.fixture
def patient(own_stores: EmbeddedStores) -> Iterator[RunningGateway]:
    """A gateway of the test's own, whose leases do not end while the test lasts, however slow the machine is.

    Of all gateways of one Redis, the shortest lease counts.
    """
    with running_gateway(own_stores, ANTENNA_HTTP_LEASE="300") as started:
        yield started
