"""Each own pipeline has a device process of its own; what it does there costs no other pipeline anything."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration.pipelines import registry
from antenna_orchestration.settings import Settings, load
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import AGAIN_LONGEST, DeviceLost, PipelineUnavailable, Shipment
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from tests import waiting

pytestmark = pytest.mark.long

FILES = (Path(__file__).parents[1] / "pipelines" / "faulty.py", Path(__file__).parent / "recording.py")


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return load(home=tmp_path, device="cpu", worker_threads=1, pipeline_paths=FILES, top_k=5)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[DevicePool]:
    async with DevicePool(settings=settings, device="cpu") as pool:
        watch = asyncio.create_task(pool.watch())
        try:
            yield pool
        finally:
            watch.cancel()


def group(number: int, slug: str, *, paths: tuple[Path, ...] = FILES, **config: Any) -> BatchGroup:
    spec = registry.get(slug, paths)
    return BatchGroup(number, spec, spec.merged_config(config))


def image(number: int) -> Shipment:
    return Shipment(item=protocol.Item(number, 1, number, f"file:///{number}", None, None), data=b"x")


async def run(
    pool: DevicePool, batch_group: BatchGroup, *numbers: int, on_begin: Callable[[], None] = lambda: None
) -> list[Any]:
    await pool.load(batch_group)
    report = await pool.run(batch_group, [image(number) for number in numbers], on_begin)
    return report.outcomes


async def test_each_own_pipeline_has_a_process_and_ours_share_one(here: Settings) -> None:
    async with opened(here) as pool:
        for number, slug in enumerate(("null", "faulty", "faulty", "recording")):
            await pool.load(group(number, slug))
        await waiting.eventually(lambda: _true(len(pool.memory) == 3), description="figures of memory")
        assert set(pool.memory) == {"", "faulty", "recording"}


async def test_a_pipeline_that_crashes_costs_no_other_its_batch(here: Settings) -> None:
    slow, crashing = group(0, "null", delay_ms=1500), group(1, "faulty", fault="exit")
    async with opened(here) as pool:
        await pool.load(crashing)
        running = asyncio.create_task(run(pool, slow, 1))
        with pytest.raises(DeviceLost, match="status 3") as lost:
            await run(pool, crashing, 2)
        assert lost.value.alone
        assert isinstance((await running)[0], protocol.Done)
        assert pool.has_loaded(slow)
        assert not pool.has_loaded(crashing)


async def test_a_lost_process_starts_again_after_others_had_their_time(here: Settings) -> None:
    """A pipeline that crashed with each image imported torch again and again while others worked."""
    later = 0.0
    endless, crashing = group(0, "null", delay_ms=600_000), group(1, "faulty", fault="exit")
    async with DevicePool(settings=here, device="cpu", clock=lambda: time.monotonic() + later) as pool:
        for number in (1, 2):
            # While nobody else has anything to do, it is started again at once.
            with pytest.raises(DeviceLost):
                await run(pool, crashing, number)
        begun = asyncio.Event()
        other = asyncio.create_task(run(pool, endless, 3, on_begin=begun.set))
        await begun.wait()
        again = asyncio.create_task(pool.load(crashing))
        await waiting.eventually(lambda: _true("faulty" in pool.yielding), description="it waits")
        assert re.fullmatch(
            r"its process ended: it ended with status 3; it is started again in \d+ s, or when other pipelines have "
            "nothing to do on this worker",
            pool.yielding["faulty"],
        )
        assert pool.changes, "its leases are kept"
        assert not again.done()
        later = AGAIN_LONGEST
        await again
        assert (pool.yielding, other.done()) == ({}, False)
        other.cancel()


async def test_a_process_that_left_another_one_behind_is_lost(here: Settings) -> None:
    """The other one kept the socket open, and nobody noticed the end of the first."""
    leaving = group(0, "faulty", fault="orphan", seconds=45.0)
    async with opened(here) as pool, asyncio.timeout(30):
        with pytest.raises(DeviceLost, match="status 3"):
            await run(pool, leaving, 1)


@pytest.mark.parametrize("stage", ["prepare", "infer", "finish"])
async def test_a_pipeline_that_quits_fails_the_image_alone(here: Settings, stage: str) -> None:
    """P2: `sys.exit` ended the thread that it ran on, and its image cost two task time-outs."""
    quitting = group(0, "faulty", fault="quit", on_image=2, stage=stage)
    async with opened(here) as pool:
        first, second = sorted(await run(pool, quitting, 1, 2), key=lambda outcome: outcome.number)
    assert isinstance(first, protocol.Done)
    assert isinstance(second, protocol.Failed)
    assert "SystemExit: 3" in second.reason


async def test_an_image_short_of_memory_is_finished_again_alone(here: Settings, tmp_path: Path) -> None:
    """What others held at that moment counted against it."""
    once = str(tmp_path / "short")
    async with opened(here) as pool:
        short = group(0, "faulty", fault="memory", on_image=2, stage="finish", once_file=once)
        assert [type(one) for one in await run(pool, short, 1, 2, 3)] == [protocol.Done] * 3
        always = group(1, "faulty", fault="memory", on_image=2, stage="finish")
        [failed] = [one for one in await run(pool, always, 1, 2, 3) if isinstance(one, protocol.Failed)]
    assert (failed.number, failed.out_of_memory) == (2, True)


async def test_a_pipeline_that_quits_while_loading_says_so(here: Settings) -> None:
    """P2: no answer ever came, and no other pipeline was loaded any more."""
    async with opened(here) as pool:
        for number in range(2):
            with pytest.raises(PipelineUnavailable, match="SystemExit: 3"):
                await pool.load(group(number, "faulty", fault="quit", stage="load"))
        await pool.load(group(2, "faulty"))


async def test_a_pipeline_that_loads_for_ever_is_ended_alone(here: Settings) -> None:
    """P2: it held the lock that all loading needs, for half an hour."""
    settings = here.model_copy(update={"pipeline_load_timeout": 2.0})
    hanging = group(0, "faulty", fault="hang", stage="load")
    async with opened(settings) as pool:
        loading = asyncio.create_task(pool.load(hanging))
        assert isinstance((await run(pool, group(1, "null"), 1))[0], protocol.Done)
        with pytest.raises(DeviceLost, match="ANTENNA_PIPELINE_LOAD_TIMEOUT"):
            await loading


async def test_the_import_of_a_library_does_not_count_as_loading(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk the import of PyTorch alone took the time that a pipeline had."""
    # One that is not installed stands for them; whoever imports it finds this file. It sleeps: that time passes is what
    # is tested, and the import has to outlast the limit.
    (tmp_path / "tensorflow.py").write_text("import time\ntime.sleep(12)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = here.model_copy(update={"pipeline_load_timeout": 8.0})
    async with opened(settings) as pool:
        assert await pool.load(group(0, "faulty", fault="import", stage="load")) >= 12


async def test_the_reason_of_a_failed_load_is_the_line_that_helps(here: Settings) -> None:
    """P7: only the heading was kept, and no trace."""
    async with opened(here) as pool:
        with pytest.raises(PipelineUnavailable, match=r"size mismatch for fc\.weight") as failed:
            await pool.load(group(0, "faulty", fault="raise", stage="load"))
    assert "Traceback" in failed.value.trace
    assert "faulty.py" in failed.value.trace


async def test_a_crash_beside_a_loading_blames_neither(here: Settings) -> None:
    """P11: it was booked on the pipeline that was being loaded."""
    crashing, loading = group(0, "faulty", fault="exit"), group(1, "faulty", fault="wait", stage="load", seconds=60.0)
    async with opened(here) as pool:
        await pool.load(crashing)
        slow = asyncio.create_task(pool.load(loading))
        await waiting.eventually(lambda: _true(pool.is_loading("faulty")), description="a loading")
        with pytest.raises(DeviceLost) as batch:
            await run(pool, crashing, 1)
        with pytest.raises(DeviceLost) as other:
            await slow
        assert (batch.value.alone, other.value.alone) == (False, False)


async def test_the_process_used_least_recently_makes_room(here: Settings) -> None:
    first, second = group(0, "faulty"), group(1, "recording")
    async with opened(here.model_copy(update={"worker_processes": 1})) as pool:
        await pool.load(first)
        assert pool.displaces(second)
        await pool.load(second)
        assert (pool.has_loaded(first), pool.has_loaded(second)) == (False, True)


async def test_a_process_that_grows_is_replaced_between_batches(
    here: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """P16: it grew until the machine had no memory left."""
    leaking = group(0, "faulty", fault="leak")
    with caplog.at_level("INFO"):
        async with opened(here.model_copy(update={"worker_process_mb": 100})) as pool:
            number = 0

            async def replaced() -> bool:
                nonlocal number
                number += 1
                assert isinstance((await run(pool, leaking, number))[0], protocol.Done)
                return "it grew to" in caplog.text

            await waiting.eventually(replaced, description="another process", poll=0.2)
            assert pool.losses == 0
    assert "more than 100 MB (ANTENNA_WORKER_PROCESS_MB)" in caplog.text


async def test_a_pipeline_that_changed_gets_a_fresh_process(here: Settings) -> None:
    own = group(0, "faulty", delay_ms=500)
    async with opened(here) as pool:
        begun = asyncio.Event()
        batch = asyncio.create_task(run(pool, own, 1, on_begin=begun.set))
        await begun.wait()
        await pool.replace("faulty")
        assert isinstance((await batch)[0], protocol.Done)
        assert not pool.has_loaded(own)
        await pool.replace("null")


async def _true(value: bool) -> bool:
    return value
