"""What goes to the device together, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration.domain import attempts
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from tests import waiting
from tests.worker.bench import LONG_LEASES, Bench, once_each
from tests.worker.recording import batches
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long

FOURS = WorkerOptions(batch_size=4)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


def recording(record: Path, **config: Any) -> dict[str, Any]:
    return {"pipeline": "recording", "config": {"record": str(record), **config}}


@LONG_LEASES
async def test_jobs_of_one_pipeline_share_batches(
    bench: Bench, settings: Settings, pictures: list[str], record: Path
) -> None:
    # A busy machine is no reason for smaller batches, either.
    one = await bench.submit(pictures[:20], **recording(record, delay_ms=50))
    other = await bench.submit(pictures[20:], **recording(record, delay_ms=50))
    with running(settings, FOURS):
        once_each(await bench.results(one))
        once_each(await bench.results(other))
    firsts = set(pictures[:20])
    assert sorted(uri for batch in batches(record) for uri in batch) == sorted(pictures)
    assert any(0 < len(firsts & set(batch)) < len(batch) for batch in batches(record))
    assert max(map(len, batches(record))) == 4


async def test_another_configuration_is_another_batch(
    bench: Bench, settings: Settings, pictures: list[str], record: Path, tmp_path: Path
) -> None:
    one = await bench.submit(pictures[:20], **recording(record, variant=1, delay_ms=20))
    other = await bench.submit(pictures[20:], **recording(record, variant=2, delay_ms=20))
    with running(settings, FOURS):
        once_each(await bench.results(one))
        once_each(await bench.results(other))
    firsts = set(pictures[:20])
    assert all(len(firsts & set(batch)) in (0, len(batch)) for batch in batches(record))


async def test_a_single_interactive_image_goes_ahead_of_a_long_job(
    bench: Bench, settings: Settings, pictures: list[str], record: Path, tmp_path: Path
) -> None:
    # A batch takes half a second, in which its announcement has to come.
    long = await bench.submit(pictures, **recording(record, delay_ms=100))
    urgent_uri = (tmp_path / "urgent.jpg").as_uri()
    (tmp_path / "urgent.jpg").write_bytes(b"x")
    with running(settings, FOURS):
        await bench.is_under_way(long)
        urgent = await bench.submit([urgent_uri], interactive=True, **recording(record, delay_ms=100))
        before = len(batches(record))
        once_each(await bench.results(urgent))
        position = next(n for n, batch in enumerate(batches(record)) if urgent_uri in batch)
        once_each(await bench.results(long))
    # The batch being inferred and the one made ready meanwhile come first.
    assert position - before <= 2


async def test_images_delivered_for_the_third_time_run_alone(
    bench: Bench, settings: Settings, pictures: list[str], record: Path, tmp_path: Path
) -> None:
    delicate = await bench.submit(pictures[:6], announce=False, **recording(record))
    await bench.lease_and_hand_back(delicate, times=attempts.ALONE_FROM - 1)
    plain = await bench.submit(pictures[20:], **recording(record))
    await bench.announce(delicate)
    with running(settings, FOURS):
        results = once_each(await bench.results(delicate))
        once_each(await bench.results(plain))
    assert all(result.delivery >= attempts.ALONE_FROM for result in results.values())
    assert all(result.delivery < attempts.UNOPENED_AFTER for result in results.values())
    once_delicate = set(pictures[:6])
    assert all(len(batch) == 1 for batch in batches(record) if once_delicate & set(batch))


@pytest.mark.parametrize("opened", [attempts.OPENED_AT_LEAST - 1, attempts.OPENED_AT_LEAST])
async def test_only_an_image_that_stopped_its_worker_repeatedly_is_failed_unopened(
    bench: Bench, settings: Settings, pictures: list[str], record: Path, tmp_path: Path, opened: int
) -> None:
    job = await bench.submit(pictures[:2], announce=False, **recording(record))
    await bench.lease_and_hand_back(job, times=attempts.UNOPENED_AFTER)
    await bench.note_open_attempts(job, job.images[0], times=opened)
    await bench.announce(job)
    with running(settings):
        results = once_each(await bench.results(job))
    first, second = (results[image] for image in job.images)
    fails = opened >= attempts.OPENED_AT_LEAST
    assert (first.outcome, first.reason) == (("failed", attempts.STOPPED_WORKER) if fails else ("done", None))
    # Nobody ever opened this one: that it was handed back so often is not its fault.
    assert second.outcome == "done"
    assert [len(batch) for batch in batches(record)] == ([1] if fails else [1, 1])


async def test_pipelines_that_do_not_fit_together_take_turns(
    bench: Bench, settings: Settings, pictures: list[str], record: Path, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"worker_models_mb": 100})
    with running(settings, FOURS) as worker:
        for variant in range(3):
            job = await bench.submit(pictures[:8], **recording(record, megabytes=80, variant=variant))
            once_each(await bench.results(job))
            await bench.withdraw(job)
        waiting.wait_until(lambda: worker.log.count("leaves the device to make room") == 2, description="evictions")


@pytest.mark.parametrize("task_ack_wait", [6.0])
async def test_a_slow_pipeline_gets_at_most_half_a_lease_of_work(
    bench: Bench, settings: Settings, pictures: list[str], record: Path, tmp_path: Path
) -> None:
    # 600 ms an image and leases of six seconds: five images at most, whatever the batch size asks for.
    job = await bench.submit(pictures[:12], **recording(record, delay_ms=600))
    most = 0
    with running(settings, WorkerOptions(batch_size=16)):

        async def finished() -> bool:
            nonlocal most
            most = max(most, (await bench.counts(job)).leased)
            return await bench.unread(job) == len(job.images)

        await waiting.eventually(finished, description="the job's end", poll=0.02)
    assert 0 < most <= 5
    assert (await bench.counts(job)).redelivered == 0
