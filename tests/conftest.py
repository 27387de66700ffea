"""Real servers for the tests: one set a session for tests that only use them, one a test for tests that break them."""

import asyncio
import gc
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from antenna_orchestration.catalog.migrate import migrate
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores
from antenna_orchestration.processing.services import Services, opened, prepare
from tests.homes import temporary_folder
from tests.recoveries import pytest_terminal_summary, recoveries

__all__ = ["pytest_terminal_summary", "recoveries"]

# Child processes import definitions and pipelines from `tests`, which no installation brings.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Time is never asserted: a busy machine would fail an example for its length.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")

LONGEST_FIRST = (
    "soak", "whole", "stack", "docker", "gateway", "push", "worker", "embedded", "cli", "definitions", "processing",
    "answers", "upkeep", "pipelines", "docs", "training",
)  # fmt: skip
"""Folders of tests whose files take longest. Processes share the files in order: one of these at the end runs alone."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is collected, which stays to the end, out of Python's cycle collector."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front."""

    def place(item: pytest.Item) -> int:
        folder = "soak" if item.path.stem == "test_soak" else item.path.parent.name
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A home with a finished cluster that holds the catalog's tables, to copy: initdb and migrations are paid once."""
    with temporary_folder() as folder:
        with embedded_stores(folder / ".antenna") as stores:
            migrate(stores.settings.database_url)
        yield folder / ".antenna"


@pytest.fixture(scope="session")
def shared_stores(template: Path) -> Iterator[EmbeddedStores]:
    """Stores with their tables and streams, for tests that leave them running and whole."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        asyncio.run(prepare(stores.settings))
        yield stores


@pytest.fixture
def own_stores(template: Path) -> Iterator[EmbeddedStores]:
    """Stores of one test's own, to be stopped, killed or wiped."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        yield stores


@pytest.fixture
def task_ack_wait() -> float:
    """Seconds of a lease: none ends by itself, however slow the machine is. Folders that wait for an end have fewer."""
    return 60.0


@pytest.fixture
async def services(shared_stores: EmbeddedStores, task_ack_wait: float) -> AsyncIterator[Services]:
    """Services on the shared stores."""
    async with opened(shared_stores.settings.model_copy(update={"task_ack_wait": task_ack_wait})) as services:
        yield services


@pytest.fixture
async def own_services(own_stores: EmbeddedStores, task_ack_wait: float) -> AsyncIterator[Services]:
    """Services on stores of the test's own."""
    wanted = own_stores.settings.model_copy(update={"task_ack_wait": task_ack_wait})
    await prepare(wanted)
    async with opened(wanted) as services:
        yield services


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project name of the test's own, also when it is cut to its first fifty characters."""
    own = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]
    return f"{own}-{request.node.name}".lower().replace("[", "-").replace("]", "")[:60]
