"""On the CPU whole images are processed side by side, and each fails alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration.pipelines import registry
from antenna_orchestration.settings import Settings, load
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import Shipment
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from tests import waiting

pytestmark = pytest.mark.long

FILES = (Path(__file__).parent / "side_by_side.py",)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return load(home=tmp_path, device="cpu", worker_threads=3, pipeline_paths=FILES)


async def outcomes(settings: Settings, *batches: range, **config: Any) -> tuple[list[str], list[Any]]:
    """What became of the images, and what happened, in order: each batch began, all were over."""
    spec = registry.get("side_by_side", FILES)
    group = BatchGroup(1, spec, spec.merged_config(config))
    happened: list[str] = []
    async with DevicePool(settings=settings, device="cpu") as pool:
        await pool.load(group)
        reports = await asyncio.gather(
            *(pool.run(group, [image(one) for one in batch], lambda: happened.append("begun")) for batch in batches)
        )
    happened.append("over")
    return happened, sorted((one for report in reports for one in report.outcomes), key=lambda outcome: outcome.number)


def image(number: int) -> Shipment:
    return Shipment(item=protocol.Item(number, 1, number, f"file:///{number}", None, None), data=b"x")


async def test_as_many_are_inferred_at_once_as_there_are_threads(here: Settings) -> None:
    """Three wait for each other in `infer`: on fewer threads they would fail."""
    happened, done = await outcomes(here, range(5), meet=3)
    assert happened == ["begun", "over"]
    assert [type(outcome) for outcome in done] == [protocol.Done] * 5
    assert len({outcome.attributes["thread"] for outcome in done[:3]}) == 3


async def test_what_runs_a_pipeline_is_known_while_it_is_loaded(here: Settings) -> None:
    spec = registry.get("side_by_side", FILES)
    async with DevicePool(settings=here, device="cpu") as pool:
        assert pool.engines == {}
        await pool.load(BatchGroup(1, spec, spec.merged_config({})))
        null = registry.get("null")
        await pool.load(BatchGroup(2, null, null.merged_config({})))
        assert pool.engines == {"side_by_side": "abacus 1.2"}
        await pool.replace("side_by_side")
        await waiting.eventually(lambda: _true(not pool.engines), description="the end of its process")


async def _true(what: bool) -> bool:
    return what


async def test_one_bad_image_fails_alone(here: Settings) -> None:
    _, done = await outcomes(here, range(5), raises=2)
    assert [type(outcome) for outcome in done] == [protocol.Done] * 2 + [protocol.Failed] + [protocol.Done] * 2
    assert "this one is bad" in done[2].reason
    assert done[2].retryable


async def test_an_image_short_of_memory_is_inferred_again_when_no_other_is(here: Settings) -> None:
    _, done = await outcomes(here, range(5), short=2)
    assert [type(outcome) for outcome in done] == [protocol.Done] * 5
    assert done[2].attributes["thread"] == "infer"


@pytest.mark.parametrize("step", ["infer", "finish"])
async def test_an_image_short_of_memory_waits_for_those_of_the_next_batch(here: Settings, step: str) -> None:
    """They took the memory again, and it was said not to fit."""
    _, done = await outcomes(here, range(2), range(2, 8), short=0, short_at=step, slow=300)
    assert [type(outcome) for outcome in done] == [protocol.Done] * 8
