"""The queue goes away, a worker stands still, dies, or loses its job: every image is counted once all the same."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from tests import waiting
from tests.small_disks import no_room_for
from tests.worker.bench import Bench, once_each, open_bench
from tests.worker.worker_process import started
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long

SLOW = {"delay_ms": 100}
BATCHES = WorkerOptions(batch_size=4)


async def test_another_worker_finishes_what_a_killed_one_held(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    job = await bench.submit(pictures, config=SLOW)
    with started(settings, tmp_path, BATCHES) as first:
        await bench.is_under_way(job)
        first.kill()
    with running(settings, BATCHES):
        results = await bench.results(job)
    assert {int(result.image) for result in results} == set(job.images)
    assert len({result.worker for result in results}) == 2
    # One batch at most was published and not yet acknowledged.
    assert len(results) <= len(job.images) + 4


@pytest.mark.slow
async def test_a_worker_that_stood_still_lets_lost_leases_go(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    job = await bench.submit(pictures, config=SLOW)
    with started(settings, tmp_path, BATCHES) as sleeper:
        await bench.is_under_way(job)
        sleeper.signal(signal.SIGSTOP)
        held = (await bench.counts(job)).leased
        with running(settings, BATCHES):
            await bench.redelivers(job, held)
            sleeper.signal(signal.SIGCONT)
            results = await bench.results(job)
        # It is well, and its lease book is empty.
        more = await bench.submit(pictures[:4])
        once_each(await bench.results(more))
    # What it was inferring when it fell asleep may come twice, and the collector counts it once.
    assert {int(result.image) for result in results} == set(job.images)
    assert len(results) <= len(job.images) + held
    assert all(result.outcome == "done" for result in results)
    counts = await bench.counts(job)
    assert (counts.queued, counts.leased) == (0, 0)


async def test_a_restart_of_nats_in_the_middle_costs_no_image(
    settings: Settings, queue_server: EmbeddedStores, pictures: list[str], tmp_path: Path
) -> None:
    async with open_bench(settings) as bench:
        job = await bench.submit(pictures, config=SLOW)
        with running(settings, BATCHES) as worker:
            await bench.is_under_way(job)
            queue_server.kill("nats")
            waiting.wait_until(lambda: "lost, reconnecting" in worker.log, description="the worker to notice")
            queue_server.start("nats")
            await bench.is_back()
            results = await bench.results(job)
    assert {int(result.image) for result in results} == set(job.images)
    assert all(result.outcome == "done" for result in results)


async def test_results_that_cannot_be_delivered_wait_on_disk_for_the_next_start(
    settings: Settings, queue_server: EmbeddedStores, pictures: list[str], tmp_path: Path
) -> None:
    spool = settings.home / "spool"
    async with open_bench(settings) as bench:
        job = await bench.submit(pictures[:8], config={"delay_ms": 400})
        with running(settings, BATCHES) as worker:
            await bench.is_leased(job)
            queue_server.stop("nats")
            worker.stop.ask()
            summary = await worker.leaves()
            assert summary.spooled > 0
            assert f"job {job.job}: {summary.spooled} results could not be delivered" in worker.log
        assert len(list(spool.iterdir())) == 1
        queue_server.start("nats")
        await bench.is_back()
        with running(settings) as worker:
            results = await bench.results(job)
            assert f"job {job.job}: {summary.spooled} results of an earlier worker were delivered late" in worker.log
    assert not list(spool.iterdir())
    assert {int(result.image) for result in results} == set(job.images)


@pytest.mark.slow
async def test_leases_end_while_the_queue_takes_no_results(
    settings: Settings, queue_server: EmbeddedStores, pictures: list[str], tmp_path: Path
) -> None:
    patient = settings.model_copy(update={"task_timeout": 600.0})
    async with open_bench(settings) as bench, Leaser(bench.client, ack_wait=settings.task_ack_wait) as others:
        job = await bench.submit(pictures, config=SLOW)
        with running(patient, BATCHES):
            await bench.is_under_way(job)
            with no_room_for(queue_server.pid("nats")):
                taken: set[int] = set()

                async def others_can_have_all() -> bool:
                    leases = await others.lease(job.job_run, job.epoch, len(job.images), wait=0.5) or []
                    taken.update(lease.task.image for lease in leases)
                    return len(taken) + await bench.unread(job) >= len(job.images)

                await waiting.eventually(others_can_have_all, description="all leases to end", timeout=120)
            # Only a restart lets it store again.
            queue_server.kill("nats")
            queue_server.start("nats")
            await bench.is_back()
            results = await bench.results(job)
    assert {int(result.image) for result in results} == set(job.images)
    assert all(result.outcome == "done" for result in results)


async def test_a_withdrawn_job_is_handed_back_and_the_others_go_on(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    canceled = await bench.submit(pictures, config=SLOW)
    other = await bench.submit(pictures[:8], config=SLOW)
    with running(settings, WorkerOptions(batch_size=4, exit_when_idle=5.0)) as worker:
        await bench.is_under_way(canceled)
        await bench.withdraw(canceled)
        once_each(await bench.results(other))
        summary = await worker.leaves()
    finished = await bench.unread(canceled)
    assert finished < len(canceled.images)
    assert summary.done == finished + len(other.images)
    assert (await bench.counts(canceled)).delivered == finished + summary.handed_back


@pytest.mark.slow
async def test_a_wiped_queue_leaves_a_worker_that_serves_the_next_job(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    # Ten seconds, for the watcher of the announcements goes deaf.
    job = await bench.submit(pictures, config=SLOW)
    with running(settings, BATCHES):
        await bench.is_under_way(job)
        await bench.wipe()
        after = await bench.submit(pictures[:8])
        assert set(once_each(await bench.results(after))) == set(after.images)


async def test_without_a_server_a_worker_says_so(settings: Settings, queue_server: EmbeddedStores) -> None:
    queue_server.stop("nats")
    from antenna_orchestration.worker import main

    with pytest.raises(errors.Unavailable, match="cannot be reached"):
        main.run(settings, WorkerOptions(), should_stop=lambda: False)
