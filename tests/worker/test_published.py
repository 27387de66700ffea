"""A published pipeline in a worker: its weights fetched in the device process, or not to be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration.domain import messages
from antenna_orchestration.pipelines.published import specs
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from tests.pipelines import checkpoints
from tests.waiting import eventually
from tests.worker.bench import Bench, once_each
from tests.worker.worker_thread import running


@pytest.mark.long
async def test_weights_that_cannot_be_had_fail_no_image(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    """It is this worker's fault: one line says which file, and the tasks are left to others."""
    job = await bench.submit(pictures[:3], pipeline="moth_binary")
    without = settings.model_copy(update={"weights_mirror": str(tmp_path / "nowhere")})
    with running(without, WorkerOptions(pipelines=("moth_binary", "null"))) as worker:

        async def said() -> bool:
            return "pipeline moth_binary cannot be loaded here" in worker.log

        await eventually(said, description="a line that says so")
        line = next(line for line in worker.log.splitlines() if "cannot be loaded here" in line)

        async def told() -> messages.Heartbeat | None:
            return next((beat for beat in await bench.heartbeats.workers() if beat.failing), None)

        beat = await eventually(told, description="a heartbeat that says so")
        assert beat is not None
        assert beat.pipelines == ("null",)
        assert line.endswith(beat.failing["moth_binary"])
    missing = tmp_path / "nowhere" / str(specs.DETECTOR.uri).rpartition("/")[2]
    assert line.endswith(f"weights {missing}: there is no such file on this machine")
    counts = await bench.counts(job)
    assert (counts.queued, counts.delivered) == (3, 0)
    assert await bench.unread_count() == 0


@pytest.mark.slow
async def test_a_published_pipeline_serves_a_job(bench: Bench, settings: Settings, tmp_path: Path) -> None:
    detector = checkpoints.plain_detector()
    image = checkpoints.to_tensor(checkpoints.photograph())
    boxes, _ = checkpoints.plain_detections(detector, image)
    moth_filter, _ = checkpoints.plain_classifier("filter", 2)
    checkpoints.save(tmp_path, specs.DETECTOR.uri, detector, wrapped=True)
    checkpoints.save(tmp_path, specs.MOTH_FILTER.algorithm.uri, moth_filter, wrapped=False)
    checkpoints.save_labels(tmp_path, specs.MOTH_FILTER.algorithm.labels_uri, ["moth", "nonmoth"])
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path in paths:
        path.write_bytes(checkpoints.photograph())
    job = await bench.submit([path.as_uri() for path in paths], pipeline="moth_binary")
    patient = settings.model_copy(update={"weights_mirror": str(tmp_path), "task_timeout": 200.0})
    with running(patient, WorkerOptions(pipelines=("moth_binary",))):
        results = once_each(await bench.results(job, timeout=200))
    for result in results.values():
        assert (result.outcome, result.width, result.height) == ("done", 1280, 96)
        assert [tuple(map(int, one.box)) for one in result.detections] == [tuple(map(int, box)) for box in boxes]
        assert {one.algorithm.key for one in result.detections} == {"fasterrcnn_for_ami_moth_traps_2023"}
        assert {said.label for one in result.detections for said in one.classifications} <= {"moth", "nonmoth"}
