"""Priorities hold between jobs whose pipelines have device processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from tests import waiting
from tests.worker.bench import Bench
from tests.worker.worker_thread import running

CODE = """
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec

ALGORITHM = AlgorithmSpec(key="SLUG", version="1", name="A", task="localization")
PIPELINES = [PipelineSpec(slug="SLUG", name="SLUG", version="1", description="", factory=f"{__name__}:Busy",
                          batch_size=4, algorithms=(ALGORITHM,))]
CPUS = len(os.sched_getaffinity(0))


def work(_):
    hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)


class Busy(Pipeline):
    def load(self, device):
        self._threads = ThreadPoolExecutor(CPUS)

    def prepare(self, image):
        return image.image

    def infer(self, batch):
        for _ in batch:
            list(self._threads.map(work, range(CPUS)))
        return batch

    def finish(self, prepared, raw):
        return ImageResult(width=64, height=48, detections=[])
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_priorities_hold_over_device_processes(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    """The operating system divided the machine evenly between the processes, whatever the priorities of their jobs."""
    lab = tmp_path / "lab"
    lab.mkdir()
    for slug in ("preferred", "other"):
        (lab / f"{slug}.py").write_text(CODE.replace("SLUG", slug))
    settings = settings.model_copy(update={"pipeline_paths": (lab,), "task_timeout": 120.0})
    warm = [await bench.submit(pictures[:2], pipeline=slug) for slug in ("preferred", "other")]
    with running(settings, WorkerOptions(batch_size=4)):
        for job in warm:
            await bench.results(job, timeout=300)
        first = await bench.submit(pictures * 5, pipeline="preferred", priority=9, announce=False)
        second = await bench.submit(pictures * 5, pipeline="other", announce=False)
        for job in (second, first):
            await bench.announce(job)

        async def is_done() -> bool:
            return await bench.unread(first) == len(first.images)

        await waiting.eventually(is_done, description="the preferred job is done", timeout=600, poll=0.2)
        # A ninth is due, and what it had before it led by too much.
        assert await bench.unread(second) < len(first.images) / 2
