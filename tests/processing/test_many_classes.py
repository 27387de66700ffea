"""29,176 classes, from a worker over the queue and the collector to the lake: best ones by default, all on request."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.processing import collect, finish, publish, submit
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import results
from antenna_orchestration.worker.options import WorkerOptions
from tests.processing.jobs_by_hand import claimed
from tests.worker.worker_thread import running

CLASSES = 29_176


@pytest.fixture
def photographs(tmp_path: Path) -> Iterator[Path]:
    """A folder of two hundred files; the null pipeline does not open them."""
    for number in range(200):
        (tmp_path / f"{number:03}.jpg").write_bytes(b"\xff\xd8\xff not really a photograph")
    yield tmp_path


async def process(services: Services, project: str, folder: Path, config: dict[str, object], **changes: object) -> int:
    """A job from submission to its final tables, with a worker's engine and device process."""
    submission = submit.Submission(
        sources=[str(folder)], pipeline="null", project=project, config=config, reprocess=True, exif="never", **changes
    )
    submitted = await submit.submit(services, submission, allowed_roots=[folder])
    job = await claimed(services, await services.catalog.jobs.get(submitted.job_id))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    settings = services.settings.model_copy(update={"device": "cpu", "worker_threads": 1})
    with running(settings, WorkerOptions(pipelines=("null",))):
        counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed) == (job.total, 0)
    assert not (await finish.write_final_tables(services, job)).lost_parts
    assert await finish.finish_job(services, job) is JobStatus.SUCCESS
    return job.job_id


@pytest.mark.long
async def test_two_hundred_images_of_fifty_detections_with_their_best_classes(
    services: Services, project: str, photographs: Path
) -> None:
    job = await process(services, project, photographs, {"detections": 50, "classes": CLASSES})
    table = services.lake.read_table("classifications", job)
    assert table.num_rows == 200 * 50
    assert set(map(len, table["top_labels"].to_pylist())) == {10}
    assert table["scores"].null_count == table.num_rows
    assert table["top_labels"].to_pylist()[0][0] == table["label"].to_pylist()[0]
    # A few hundred bytes a detection, not the 58 kB of a whole vector.
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert len(sink.getvalue()) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize(("images", "detections"), [(200, 50), (20, 90)], ids=["inline", "stored"])
async def test_whole_vectors_of_every_class_arrive(
    services: Services, project: str, photographs: Path, images: int, detections: int
) -> None:
    """Fifty vectors are 2.9 MB and travel in the message, ninety are 5.2 MB and go through the object store."""
    assert (detections * CLASSES * 2 > results.INLINE_BYTES) == (detections == 90)
    config = {"detections": detections, "classes": CLASSES, "full_scores": True}
    job = await process(services, project, photographs, config, limit=images)
    seen = 0
    for batch in services.lake.batches("classifications", job, ["label", "scores"]):
        for label, scores in zip(batch["label"].to_pylist(), batch["scores"].to_pylist(), strict=True):
            vector = np.frombuffer(scores, "<f2")
            assert len(vector) == CLASSES
            assert f"class-{vector.argmax()}" == label
            seen += 1
    assert seen == images * detections
