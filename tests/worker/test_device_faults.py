"""Pipelines that raise, crash, hang and hold the GIL: the guilty image alone fails, by name, and no lease is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration.domain import messages
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.device.client import START_TIMEOUT
from antenna_orchestration.worker.options import WorkerOptions
from tests import waiting
from tests.worker.bench import LONG_LEASES, Bench, once_each
from tests.worker.worker_process import started
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long

GUILTY = 7
BATCHES = WorkerOptions(batch_size=4)


def faulty(**config: Any) -> dict[str, Any]:
    return {"pipeline": "faulty", "config": {"on_image": GUILTY, **config}}


def check_only_the_guilty_failed(results: dict[int, messages.Result], images: int) -> messages.Result:
    assert set(results) == set(range(1, images + 1))
    failed = {image for image, result in results.items() if result.outcome == "failed"}
    assert failed == {GUILTY}
    return results[GUILTY]


@LONG_LEASES
@pytest.mark.parametrize("stage", ["prepare", "infer", "finish"])
async def test_an_exception_fails_the_image_that_raises_it(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path, stage: str
) -> None:
    job = await bench.submit(pictures[:20], **faulty(fault="raise", stage=stage))
    with running(settings, BATCHES):
        guilty = check_only_the_guilty_failed(once_each(await bench.results(job)), 20)
    assert guilty.reason is not None
    assert "the faulty pipeline raises" in guilty.reason
    assert guilty.retryable
    assert (await bench.counts(job)).delivered == 20


@LONG_LEASES
@pytest.mark.parametrize(
    ("stage", "fault", "reason"),
    [("infer", "segfault", "SIGSEGV"), ("prepare", "exit", "status 3"), ("infer", "hang", "no progress for 6 s")],
)
async def test_a_crash_or_hang_costs_the_process_and_names_the_image(
    bench: Bench,
    settings: Settings,
    pictures: list[str],
    tmp_path: Path,
    stage: str,
    fault: str,
    reason: str,
) -> None:
    # The others must move within that time, too.
    settings = settings.model_copy(update={"task_timeout": 6.0})
    job = await bench.submit(pictures[:20], **faulty(fault=fault, stage=stage))
    with running(settings, BATCHES) as worker:
        guilty = check_only_the_guilty_failed(once_each(await bench.results(job)), 20)
        assert guilty.reason is not None
        assert reason in guilty.reason
        assert f"image {GUILTY} of job {job.job} stops the device process" in worker.log
    counts = await bench.counts(job)
    assert (counts.delivered, counts.redelivered) == (20, 0)


@LONG_LEASES
async def test_a_crash_that_does_not_come_again_costs_nothing(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    once = str(tmp_path / "crashed")
    job = await bench.submit(pictures, **faulty(fault="segfault", once_file=once))
    with running(settings, BATCHES):
        results = once_each(await bench.results(job))
    assert Path(once).exists()
    assert {result.outcome for result in results.values()} == {"done"}
    assert (await bench.counts(job)).redelivered == 0


async def test_a_killed_device_process_costs_no_image(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    job = await bench.submit(pictures, config={"delay_ms": 150})
    with running(settings, BATCHES) as worker:
        await bench.is_under_way(job)
        os.kill(worker.device_pid(), signal.SIGKILL)
        results = once_each(await bench.results(job))
    assert {result.outcome for result in results.values()} == {"done"}


async def test_an_image_that_gets_its_process_killed_is_handed_back(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    # SIGKILL is what the kernel does when memory is short, which may be this machine's fault: others may try.
    job = await bench.submit(pictures[:10], **faulty(fault="kill"))
    with running(settings, BATCHES):
        results = once_each(await bench.results(job, count=9))
    assert GUILTY not in results
    assert (await bench.counts(job)).queued + (await bench.counts(job)).leased == 1


async def test_a_pipeline_that_holds_the_gil_for_two_leases_costs_no_redelivery(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    """C7: it goes by the lease that is announced; one whose own setting was longer had its tasks redelivered."""
    job = await bench.submit(pictures[:12], **faulty(fault="hold_gil", seconds=2.5 * settings.task_ack_wait))
    with running(settings.model_copy(update={"task_ack_wait": 600.0}), BATCHES):
        results = once_each(await bench.results(job))
    assert {result.outcome for result in results.values()} == {"done"}
    assert all(result.delivery == 1 for result in results.values())
    counts = await bench.counts(job)
    assert (counts.delivered, counts.redelivered) == (12, 0)


async def test_out_of_memory_halves_the_batch_and_fails_single_images(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    job = await bench.submit(pictures[:20], **faulty(fault="memory", delay_ms=100))
    # Otherwise it is handed back first: another worker may have more memory.
    settings = settings.model_copy(update={"max_attempts": 1})
    with running(settings, BATCHES) as worker:
        guilty = check_only_the_guilty_failed(once_each(await bench.results(job)), 20)
        assert guilty.reason == "does not fit into the device's memory"
        assert "images do not fit into memory" in worker.log


async def test_an_image_short_of_memory_is_prepared_again_alone(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    once = str(tmp_path / "short")
    passing = await bench.submit(pictures[:12], **faulty(fault="memory", stage="prepare", once_file=once))
    lasting = await bench.submit(pictures[12:24], **faulty(fault="memory", stage="prepare"))
    settings = settings.model_copy(update={"max_attempts": 1})
    with running(settings, BATCHES):
        assert {result.outcome for result in once_each(await bench.results(passing)).values()} == {"done"}
        guilty = check_only_the_guilty_failed(once_each(await bench.results(lasting)), 12)
    assert Path(once).exists()
    assert guilty.reason == "does not fit into the device's memory"


async def test_a_pipeline_short_of_memory_is_loaded_after_evicting_the_others(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    first = await bench.submit(pictures[:4])
    once = str(tmp_path / "short")
    with running(settings, BATCHES) as worker:
        once_each(await bench.results(first))
        second = await bench.submit(pictures[4:8], **faulty(fault="memory", stage="load", once_file=once))
        once_each(await bench.results(second))
        assert Path(once).exists()
        assert "is ended: pipeline faulty is short of memory" in worker.log
        assert "cannot be loaded" not in worker.log


async def test_a_pipeline_that_cannot_be_loaded_fails_no_image(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    broken = await bench.submit(pictures[:4], **faulty(fault="raise", stage="load"))
    fine = await bench.submit(pictures[:4])
    with running(settings, BATCHES) as worker:
        once_each(await bench.results(fine))

        async def is_told() -> bool:
            return "pipeline faulty cannot be loaded here" in worker.log

        # Its process may take as long as this to start, which on a busy machine is more than the usual patience.
        await waiting.eventually(is_told, description="a warning", timeout=START_TIMEOUT)
        counts = await bench.counts(broken)
        assert (counts.delivered, counts.queued) == (0, 4)


async def test_the_device_process_ends_with_its_worker(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    # Even while a thread in it holds the GIL, and so nobody in there can notice anything.
    job = await bench.submit(pictures[:4], **faulty(fault="hold_gil", seconds=60.0, on_image=-1))
    with started(settings, tmp_path, BATCHES) as worker:
        await bench.is_leased(job)
        waiting.wait_until(lambda: len(worker.device_pids()) == 2, description="a process for each kind of pipeline")
        devices = worker.device_pids()
        worker.kill()
    waiting.wait_until(lambda: not any(map(_runs, devices)), description=f"the end of {devices}")


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
