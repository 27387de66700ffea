"""The whole way: leased, loaded, inferred in the device process, published, acknowledged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from antenna_orchestration.domain import messages
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from tests.worker.bench import LONG_LEASES, Bench, once_each
from tests.worker.worker_process import ROOT
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long


@LONG_LEASES
async def test_every_image_comes_back_once(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    job = await bench.submit(pictures)
    with running(settings, WorkerOptions(exit_when_idle=5.0, name="one")) as worker:
        results = once_each(await bench.results(job))
        summary = await worker.leaves()
    assert set(results) == set(job.images)
    assert {result.outcome for result in results.values()} == {"done"}
    assert {result.worker for result in results.values()} == {"one"}
    assert all(set(result.timings) == {"load", "wait", "decode", "infer", "finish"} for result in results.values())
    assert (summary.done, summary.failed, summary.handed_back, summary.reason) == (40, 0, 0, "idle")
    counts = await bench.counts(job)
    assert (counts.queued, counts.leased, counts.redelivered, counts.delivered) == (0, 0, 0, 40)


async def test_a_job_that_is_pushed_to_a_service_is_left_alone(
    bench: Bench, settings: Settings, pictures: list[str]
) -> None:
    pushed = await bench.submit(pictures, announce=False)
    changes = {"v": messages.PUSHED, "dispatch_mode": DispatchMode.SYNC}
    await bench.announcements.announce(msgspec.structs.replace(pushed.announcement, **changes))
    leased = await bench.submit(pictures[:5])
    with running(settings, WorkerOptions(exit_when_idle=5.0, name="one")) as worker:
        await bench.results(leased)
        await worker.leaves()
    assert (await bench.counts(pushed)).delivered == 0


async def test_a_large_result_travels_through_the_object_store(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    # 100 vectors of 29,176 classes in float16 are 5.8 MB.
    job = await bench.submit(pictures[:2], config={"detections": 100, "classes": 29_176, "full_scores": True})
    with running(settings):
        results = once_each(await bench.results(job))
    for result in results.values():
        assert len(result.detections) == 100
        [classification] = result.detections[0].classifications
        assert len(classification.scores or b"") == 2 * 29_176


def test_no_torch_and_no_dagster_in_a_worker() -> None:
    program = """
import sys
from antenna_orchestration.loading import s3_source
from antenna_orchestration.worker import main
from antenna_orchestration.worker.device import process
heavy = {"torch", "dagster", "psycopg", "redis", "sqlalchemy"}
print(",".join({name.partition(".")[0] for name in sys.modules} & heavy))
"""
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    assert output.stdout.strip() == ""
