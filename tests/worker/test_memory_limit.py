"""A device process with a real limit on its memory, as in a batch job: each image is done, if one at a time fits."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from antenna_orchestration.pipelines import registry
from antenna_orchestration.settings import Settings
from antenna_orchestration.synthetic import captures
from antenna_orchestration.worker.options import WorkerOptions
from tests.worker.bench import Bench, once_each
from tests.worker.worker_process import started


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")
async def test_each_image_is_done_in_a_device_process_short_of_memory(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    """OpenCV, NumPy, torch and onnxruntime each say it in their own words, and images were failed for some of them."""
    uris = []
    for number in range(12):
        file = tmp_path / f"{number}.jpg"
        file.write_bytes(captures.draw_capture(number, 4096, 2160, insects=4)[0])
        uris.append(file.as_uri())
    settings = settings.model_copy(update={"worker_threads": 4, "task_timeout": 120.0})
    with started(settings, tmp_path / "worker", WorkerOptions(batch_size=8)) as worker:
        first = await bench.submit(uris[:1], pipeline=registry.DEFAULT_PIPELINE)
        once_each(await bench.results(first))
        # What was enough for one photograph; four are at work at a time.
        limit = _data(worker.device_pid())
        resource.prlimit(worker.device_pid(), resource.RLIMIT_DATA, (limit, limit))
        job = await bench.submit(uris, pipeline=registry.DEFAULT_PIPELINE)
        results = once_each(await bench.results(job, timeout=240.0))
        assert {(result.outcome, result.reason) for result in results.values()} == {("done", None)}
        assert "is tried alone: memory ran out" in worker.log, "the limit was never met"


def _data(pid: int) -> int:
    """Bytes of memory of its own that a process may write."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmData"].split()[0]) * 1024
