"""A worker that is told to go, or is killed: nothing is lost, and what it had not begun is offered to others."""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import signal
import sys
import threading
from pathlib import Path

import aiohttp
import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker import main
from antenna_orchestration.worker.options import WorkerOptions
from tests import waiting
from tests.worker.bench import Bench, once_each, open_bench
from tests.worker.worker_process import ROOT, started
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long

SLOW = {"delay_ms": 100}


async def test_sigterm_finishes_what_is_inferring_and_hands_back_the_rest(
    settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    # Leases of two minutes: what another worker gets sooner was handed back.
    settings = settings.model_copy(update={"task_ack_wait": 120.0})
    async with open_bench(settings) as bench:
        job = await bench.submit(pictures, config=SLOW)
        with started(settings, tmp_path, WorkerOptions(batch_size=4)) as worker:

            async def is_midway() -> bool:
                counts = await bench.counts(job)
                return await bench.unread(job) >= 8 and counts.leased > 4

            await waiting.eventually(is_midway, description="a worker in the middle of the job")
            worker.signal(signal.SIGTERM)
            summary = worker.leaves()
        assert summary.reason == "asked"
        assert summary.handed_back > 0
        assert summary.done == await bench.unread(job)
        assert (await bench.counts(job)).delivered == summary.done + summary.handed_back
        with running(settings):
            results = once_each(await bench.results(job))
    assert set(results) == set(job.images)


async def test_a_second_sigterm_leaves_at_once(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    job = await bench.submit(pictures[:8], pipeline="faulty", config={"fault": "hang"})
    with started(settings, tmp_path) as worker:
        await bench.is_leased(job)
        worker.signal(signal.SIGTERM)
        waiting.wait_until(lambda: "leaves (asked)" in worker.log, description="the worker to begin leaving")
        worker.signal(signal.SIGTERM)
        summary = worker.leaves()
    assert summary.done + summary.failed == 0
    assert summary.handed_back == (await bench.counts(job)).delivered


async def test_a_worker_leaves_when_its_lifetime_is_over(settings: Settings, bench: Bench) -> None:
    summary = await asyncio.to_thread(main.run, settings, WorkerOptions(max_lifetime=0.2))
    assert summary.reason == "lifetime"


async def test_a_worker_leaves_when_its_caller_wants_it_to(
    bench: Bench, settings: Settings, pictures: list[str]
) -> None:
    job = await bench.submit(pictures, config=SLOW)
    stop = threading.Event()
    run = asyncio.create_task(asyncio.to_thread(main.run, settings, WorkerOptions(), should_stop=stop.is_set))
    await bench.is_under_way(job)
    stop.set()
    summary = await run
    assert summary.reason == "asked"
    assert 0 < summary.done < len(pictures)


INTERRUPTED = """
import pickle, signal, sys
from antenna_orchestration.worker import main

class Interrupted(BaseException):
    "As Dagster raises it, wherever the main thread happens to be."

def interrupt(number, frame):
    raise Interrupted

signal.signal(signal.SIGTERM, interrupt)
settings, options = pickle.loads(bytes.fromhex(sys.argv[1]))
try:
    main.run(settings, options, should_stop=lambda: False)
except Interrupted:
    sys.exit(42)
"""


@pytest.mark.slow
async def test_an_interrupt_of_the_caller_is_raised_after_handing_back(
    settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"task_ack_wait": 120.0})
    async with open_bench(settings) as bench:
        job = await bench.submit(pictures, config=SLOW)
        arguments = pickle.dumps((settings, WorkerOptions(batch_size=4))).hex()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", INTERRUPTED, arguments, cwd=ROOT)
        await bench.is_under_way(job)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 42
        with running(settings):
            results = once_each(await bench.results(job))
    assert set(results) == set(job.images)


async def test_a_worker_shows_itself_and_signs_off(bench: Bench, settings: Settings, pictures: list[str]) -> None:
    job = await bench.submit(pictures[:4])
    with running(settings, WorkerOptions(pipelines=("null",), name="visible one")) as worker:
        once_each(await bench.results(job))

        async def shown() -> list[messages.Heartbeat]:
            return [beat for beat in await bench.heartbeats.workers() if beat.done == 4]

        [beat] = await waiting.eventually(shown, description="a heartbeat after the job")
        worker.stop.ask()
        await worker.leaves()
    assert (beat.worker, beat.pid, beat.device, beat.pipelines) == ("visible one", os.getpid(), "cpu", ("null",))
    assert (beat.leased, beat.failed, beat.state) == (0, 0, "idle")
    assert beat.rate > 0
    assert beat.last_result_at is not None
    assert f"file:{settings.host_id}" in beat.reaches
    assert await bench.heartbeats.workers() == []


async def test_workers_of_one_host_and_process_id_have_names_of_their_own(bench: Bench, settings: Settings) -> None:
    """As in containers: one heartbeat showed for both, and the first to leave hid the other."""

    async def shown(count: int) -> list[messages.Heartbeat]:
        beats = await bench.heartbeats.workers()
        return beats if len(beats) == count else []

    with running(settings) as staying:
        [first] = await waiting.eventually(lambda: shown(1), description="a heartbeat")
        with running(settings) as leaving:
            both = await waiting.eventually(lambda: shown(2), description="two heartbeats")
            leaving.stop.ask()
            await leaving.leaves()
        assert {(beat.host, beat.pid) for beat in both} == {(first.host, os.getpid())}
        assert all(beat.worker.startswith(f"{settings.host_id}-{os.getpid()}-") for beat in both)
        assert [beat.worker for beat in await bench.heartbeats.workers()] == [first.worker]
        staying.stop.ask()
        await staying.leaves()


async def test_metrics_are_served_on_request(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    job = await bench.submit(pictures[:4])
    own = await bench.submit(pictures[4:8], pipeline="faulty", config={"fault": "exit", "on_image": 2})
    with running(settings, WorkerOptions(metrics_port=0)) as worker:
        once_each(await bench.results(job))
        # Ended by a batch, and by the image when it was tried alone.
        once_each(await bench.results(own))
        [port] = re.findall(r"metrics on port (\d+)", worker.log)
        async with aiohttp.ClientSession() as session:

            async def counted() -> str | None:
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    text = await answer.text()
                values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
                there = values["antenna_worker_done_total"] == "7.0", values["antenna_worker_device_processes"] == "2.0"
                return text if all(there) else None

            text = await waiting.eventually(counted, description="seven images and two processes in the metrics")
    assert text is not None
    assert "# TYPE antenna_worker_done_total counter" in text
    assert "antenna_worker_leased 0.0\n" in text
    assert "antenna_worker_device_losses_total 2.0\n" in text
    [memory] = re.findall(r"^antenna_worker_device_memory_bytes (\S+)$", text, re.MULTILINE)
    assert float(memory) > 2 * 2**20, "each process holds some"


def test_an_unknown_pipeline_is_refused(settings: Settings) -> None:
    with pytest.raises(errors.UnknownPipeline, match="no-such"):
        main.run(settings, WorkerOptions(pipelines=("no-such",)), should_stop=lambda: False)
