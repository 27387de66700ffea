"""On the CPU whole images are processed side by side, and each fails alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration.pipelines import registry
from antenna_orchestration.settings import Settings, load
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import Shipment
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.policy.batch_groups import BatchGroup

FILES = (Path(__file__).parent / "side_by_side.py",)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return load(home=tmp_path, device="cpu", worker_threads=3, pipeline_paths=FILES)


async def outcomes(settings: Settings, images: int, **config: Any) -> tuple[list[str], list[Any]]:
    """What became of images 0, 1, …, and what happened, in order: the batch began, it was over."""
    spec = registry.get("side_by_side", FILES)
    group = BatchGroup(1, spec, spec.merged_config(config))
    sent = [
        Shipment(item=protocol.Item(number, 1, number, f"file:///{number}", None, None), data=b"x")
        for number in range(images)
    ]
    happened: list[str] = []
    async with DevicePool(settings=settings, device="cpu") as pool:
        await pool.load(group)
        report = await pool.run(group, sent, lambda: happened.append("begun"))
    happened.append("over")
    return happened, sorted(report.outcomes, key=lambda outcome: outcome.number)


async def test_as_many_are_inferred_at_once_as_there_are_threads(here: Settings) -> None:
    """Three wait for each other in `infer`: on fewer threads they would fail."""
    happened, done = await outcomes(here, 5, meet=3)
    assert happened == ["begun", "over"]
    assert [type(outcome) for outcome in done] == [protocol.Done] * 5
    assert len({outcome.attributes["thread"] for outcome in done[:3]}) == 3


async def test_one_bad_image_fails_alone(here: Settings) -> None:
    _, done = await outcomes(here, 5, raises=2)
    assert [type(outcome) for outcome in done] == [protocol.Done] * 2 + [protocol.Failed] + [protocol.Done] * 2
    assert "this one is bad" in done[2].reason
    assert done[2].retryable


async def test_an_image_short_of_memory_is_inferred_again_when_no_other_is(here: Settings) -> None:
    _, done = await outcomes(here, 5, short=2)
    assert [type(outcome) for outcome in done] == [protocol.Done] * 5
    assert done[2].attributes["thread"] == "infer"
