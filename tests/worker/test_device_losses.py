"""A device that is lost, or short of memory: no innocent image fails, and a worker whose device is gone says so.

There is no GPU in these tests: a pipeline raises what torch raises, in a real worker's real device process.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.pipelines import registry
from antenna_orchestration.pipelines.at_once import PATIENCE, AtOnce
from antenna_orchestration.settings import Settings, load
from antenna_orchestration.worker.device.client import Device, DeviceLost
from antenna_orchestration.worker.device.models import shared_bytes, tensor_bytes
from antenna_orchestration.worker.options import WorkerOptions
from antenna_orchestration.worker.policy.batch_groups import SHARED
from antenna_orchestration.worker.policy.device_health import LOSSES, STARTS, DeviceHealth
from tests import waiting
from tests.pipelines import faulty
from tests.worker.bench import Bench, once_each
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long

BATCHES = WorkerOptions(batch_size=4)

LOST = "CUDA error: an illegal memory access was encountered"
SHORT = "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"


def saying(text: str, **config: Any) -> dict[str, Any]:
    return {"pipeline": "faulty", "config": {"fault": "raise", "text": text, **config}}


@pytest.mark.parametrize(
    "stage",
    [pytest.param("load", marks=pytest.mark.slow), "prepare", "infer", pytest.param("finish", marks=pytest.mark.slow)],
)
async def test_a_device_lost_once_costs_its_process_and_no_image(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path, stage: str
) -> None:
    """H1, H2: whichever step meets the dead context."""
    once = tmp_path / "lost"
    job = await bench.submit(pictures[:12], **saying(LOST, stage=stage, once_file=str(once)))
    with running(settings, BATCHES) as worker:
        results = once_each(await bench.results(job))
    assert once.exists()
    assert {result.outcome for result in results.values()} == {"done"}
    assert f"the device is lost: RuntimeError: {LOST}" in worker.log
    assert all(result.delivery == 1 for result in results.values())


@pytest.fixture
def shared(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """`faulty` is a pipeline of this project here: it runs in the device process that these share."""
    monkeypatch.setattr(registry, "_BUILT_IN", (*registry._BUILT_IN, faulty.__name__))
    # Under a path that no other test has read it from; the device process has it from there.
    file = Path(shutil.copy(faulty.__file__, tmp_path))
    return settings.model_copy(update={"pipeline_paths": (file,), "max_attempts": 1})


async def test_a_worker_whose_device_stays_lost_leaves_and_fails_nothing(
    bench: Bench, shared: Settings, pictures: list[str], tmp_path: Path
) -> None:
    """M5: three losses in a row without a finished batch; other workers do the images."""
    gone = tmp_path / "gone"
    gone.touch()
    job = await bench.submit(pictures[:10], **saying(LOST, on_image=-1, while_file=str(gone)))
    with running(shared, BATCHES) as worker:
        with pytest.raises(errors.DeviceGone, match=r"was lost 3 times without a finished batch: .*illegal memory"):
            await worker.leaves()
        [said] = await bench.heartbeats.workers()
    assert (said.state, said.pipelines) == ("lost", ())
    assert "lost 3 times" in said.failing["faulty"]
    assert await bench.unread(job) == 0
    gone.unlink()
    with running(shared, BATCHES):
        results = once_each(await bench.results(job))
    assert {result.outcome for result in results.values()} == {"done"}


async def test_an_own_pipeline_that_loses_its_device_stops_no_worker(
    bench: Bench, settings: Settings, pictures: list[str]
) -> None:
    """Its every image raised a text like a lost device's, and the worker of everybody left."""
    settings = settings.model_copy(update={"max_attempts": 1})
    bad = await bench.submit(pictures[:6], **saying(LOST, on_image=-1))
    with running(settings, BATCHES) as worker:
        await waiting.eventually(
            lambda: _true("pipeline faulty rests" in worker.log), description="the pipeline to be left alone"
        )
        good = await bench.submit(pictures[6:12])
        assert len(once_each(await bench.results(good))) == 6
        assert await bench.unread(bad) == 0, "what is broken may be the device"


async def test_an_image_short_of_memory_is_tried_again_later(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    """H4: a neighbour took the memory; when it gives it back, the image is done."""
    taken = tmp_path / "taken"
    taken.touch()
    job = await bench.submit(pictures[:6], **saying(SHORT, on_image=3, while_file=str(taken)))
    with running(settings, BATCHES) as worker:
        waiting.wait_until(lambda: "image 3 of job" in worker.log, description="image 3 to be handed back")
        taken.unlink()
        results = once_each(await bench.results(job))
    assert {result.outcome for result in results.values()} == {"done"}
    assert results[3].delivery == 2


def test_less_at_once_after_lack_of_memory_and_more_again_later() -> None:
    """M1."""
    at_once = AtOnce()
    at_once.fitted(8)
    assert at_once.limit is None
    assert at_once.ran_out(8) == 4
    assert at_once.ran_out(4) == 2
    for _ in range(2 * PATIENCE - 1):
        at_once.fitted(2)
    at_once.fitted(1)
    assert at_once.limit == 2
    at_once.fitted(2)
    assert at_once.limit == 4
    assert at_once.ran_out(1) == 1


@pytest.mark.parametrize("whose", [SHARED, STARTS])
def test_a_device_is_gone_after_losses_without_a_finished_batch(whose: str) -> None:
    health = DeviceHealth()
    for _ in range(LOSSES - 1):
        health.lost(whose, "cuda:0", "an error")
    assert not health.gone
    assert not health.is_proven(whose)
    health.worked(whose)
    for _ in range(LOSSES):
        assert not health.gone
        health.lost(whose, "cuda:0", "an error")
        # What else works does not show that the device does: it may not use it at all.
        health.worked("own")
    assert health.gone == "cuda:0 was lost 3 times without a finished batch: an error"


def test_losses_of_an_own_pipeline_say_nothing_of_the_device() -> None:
    health = DeviceHealth()
    for _ in range(10 * LOSSES):
        health.lost("own", "cuda:0", "an error")
    assert not health.gone
    assert not health.is_proven("own")
    assert health.is_proven(SHARED)


async def test_a_device_that_no_fresh_process_can_use_is_gone(tmp_path: Path) -> None:
    """Nobody's code has run in it; there is no such card here."""
    health = DeviceHealth()
    for _ in range(LOSSES - 1):
        health.lost(STARTS, "cuda:0", "an error")
    device = Device(settings=load(home=tmp_path), device="cuda:0", process="own", load_timeout=60.0, health=health)
    with pytest.raises(DeviceLost, match="sees no GPU here") as lost:
        await device.start()
    assert lost.value.may_be_ours
    assert "sees no GPU here" in health.gone


def test_a_pipelines_memory_is_that_of_its_tensors() -> None:
    """M6: whatever others infer while it is loaded, and each tensor once."""

    class Judge:
        def __init__(self, network: nn.Module) -> None:
            self.network = network
            self.mean = torch.zeros(3)

    class Own:
        def __init__(self) -> None:
            network = nn.Sequential(nn.Linear(10, 10, bias=False), nn.BatchNorm1d(10, affine=False))
            self.judges = [Judge(network), {"again": network}]
            self.back = self
            self.elsewhere = torch.zeros(1000, device="meta")

    # The layer's weights, mean and variance of the norm and its count, and the judge's mean.
    assert tensor_bytes(Own(), "cpu") == 4 * (100 + 20 + 3) + 8


def test_a_network_that_pipelines_share_takes_its_memory_once() -> None:
    detector = nn.Linear(10, 10, bias=False)
    owners = [[detector, torch.zeros(5)], {"network": detector}, torch.zeros(7)]
    assert shared_bytes(owners, "cpu") == 4 * 100
    assert shared_bytes(owners[1:], "cpu") == 0


async def _true(value: bool) -> bool:
    return value
