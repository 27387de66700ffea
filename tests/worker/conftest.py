from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from antenna_orchestration.embedded import stores
from antenna_orchestration.settings import Settings
from tests.worker.bench import Bench, open_bench, queue_server

PIPELINES = (
    Path(__file__).parents[1] / "pipelines" / "faulty.py",
    Path(__file__).parent / "recording.py",
    Path(__file__).parent / "lying.py",
)


@pytest.fixture(name="queue_server")
def own_queue_server() -> Iterator[stores.EmbeddedStores]:
    """A NATS server of the test's own, to be stopped and killed."""
    with queue_server() as running:
        yield running


@pytest.fixture
def task_ack_wait() -> float:
    """Most of these tests wait for the end of leases; `bench.LONG_LEASES` is for those that need them to last."""
    return 2.0


@pytest.fixture
def settings(queue_server: stores.EmbeddedStores, task_ack_wait: float) -> Settings:
    """Settings of a worker and its orchestrator."""
    return queue_server.settings.model_copy(
        update={
            "task_ack_wait": task_ack_wait,
            "task_timeout": 20.0,
            "device": "cpu",
            "worker_threads": 1,
            "pipeline_paths": PIPELINES,
            "allow_private_hosts": True,
        }
    )


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with open_bench(settings) as opened:
        yield opened


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[list[str]]:
    """URIs of forty small files; only pipelines that open them would find that they are not images."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    paths = [folder / f"{number:03}.jpg" for number in range(40)]
    for path in paths:
        path.write_bytes(b"not really an image " * 50)
    yield [path.as_uri() for path in paths]
