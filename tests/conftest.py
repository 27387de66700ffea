"""Real servers for the tests: one set a session for tests that only use them, one a test for tests that break them."""

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from antenna_orchestration import settings
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores, make_template
from antenna_orchestration.processing.services import Services, opened, prepare
from tests.homes import temporary_folder

# Child processes import definitions and pipelines from `tests`, which no installation brings.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST_FIRST = ("soak", "stack", "docker", "gateway", "push", "embedded", "cli")
"""Folders of tests whose files take longest. Processes share the files in order: one of these at the end runs alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front."""

    def place(item: pytest.Item) -> int:
        folder = "soak" if item.path.stem == "test_soak" else item.path.parent.name
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A home with a finished cluster, to copy: initdb is paid once."""
    with temporary_folder() as folder:
        make_template(folder / ".antenna")
        yield folder / ".antenna"


@pytest.fixture(scope="session")
def shared_stores(template: Path) -> Iterator[EmbeddedStores]:
    """Stores for tests that leave them running."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        yield stores


@pytest.fixture
def own_stores(template: Path) -> Iterator[EmbeddedStores]:
    """Stores of one test's own, to be stopped, killed or wiped."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        yield stores


def short_leases(stores: EmbeddedStores) -> settings.Settings:
    """The stores' settings with leases of two seconds."""
    return stores.settings.model_copy(update={"task_ack_wait": 2.0, "task_timeout": 20.0})


@pytest.fixture
async def services(shared_stores: EmbeddedStores) -> AsyncIterator[Services]:
    """Services on the shared stores."""
    wanted = short_leases(shared_stores)
    await prepare(wanted)
    async with opened(wanted) as services:
        yield services


@pytest.fixture
async def own_services(own_stores: EmbeddedStores) -> AsyncIterator[Services]:
    """Services on stores of the test's own."""
    wanted = short_leases(own_stores)
    await prepare(wanted)
    async with opened(wanted) as services:
        yield services


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project name of the test's own."""
    return f"{socket.gethostname()}-{request.node.name}".lower().replace("[", "-").replace("]", "")[:60]
