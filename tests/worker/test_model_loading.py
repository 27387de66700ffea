"""Pipelines whose process ends with each image rest, longer each time, and say why."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from antenna_orchestration.pipelines import registry
from antenna_orchestration.settings import load
from antenna_orchestration.worker.device.model_loading import BACKOFF, CRASHES, ModelLoader
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from antenna_orchestration.worker.timing import Timing
from tests import waiting

FILES = (Path(__file__).parents[1] / "pipelines" / "faulty.py",)


class World:
    """A loader with a clock of the test's own; no process runs before something is loaded."""

    def __init__(self, home: Path) -> None:
        self.now = 1_000.0
        settings = load(home=home, device="cpu", worker_threads=1, pipeline_paths=FILES, top_k=5)
        self.pool = DevicePool(settings=settings, device="cpu")
        timing = Timing(clock=lambda: self.now)
        self.loader = ModelLoader(device=self.pool, nudge=Nudge(), timing=timing)
        spec = registry.get("faulty", FILES)
        self.group = BatchGroup(0, spec, spec.merged_config({}))

    def crash(self) -> bool:
        return self.loader.crashed(self.group, "killed by SIGSEGV")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_pipeline_is_the_cause_from_the_third_crash_in_a_row(world: World) -> None:
    assert [world.crash() for _ in range(CRASHES - 1)] == [False] * (CRASHES - 1)
    assert world.loader.failing == {}
    assert world.crash()
    assert world.loader.failing == {
        "faulty": "its process ended with each of 3 images in a row, the last time: killed by SIGSEGV"
    }


def test_an_image_that_was_processed_ends_the_row(world: World) -> None:
    for _ in range(CRASHES - 1):
        world.crash()
    world.loader.worked(world.group)
    assert not world.crash()
    for _ in range(CRASHES - 1):
        world.crash()
    assert "faulty" in world.loader.failing
    world.loader.worked(world.group)
    assert world.loader.failing == {}


def test_each_further_crash_is_followed_by_a_longer_rest(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(CRASHES + 2):
        world.crash()
    rests = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    assert rests == [BACKOFF.pause(number) for number in (1, 2, 3)]


async def test_a_resting_pipeline_is_not_loaded_before_its_time(world: World) -> None:
    for _ in range(CRASHES):
        world.crash()
    loading = asyncio.create_task(world.loader.run())
    try:
        assert not world.loader.loaded_or_requested(world.group)
        # One turn for the loader, in which it would begin; there is no event of what does not happen.
        await asyncio.sleep(0)
        assert not world.loader.busy
        world.now += BACKOFF.first

        async def is_loaded() -> bool:
            return world.loader.loaded_or_requested(world.group)

        await waiting.eventually(is_loaded, description="the pipeline is loaded")
        assert "faulty" in world.loader.failing, "it still has to show that it works"
    finally:
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loading
        await world.pool.__aexit__()
