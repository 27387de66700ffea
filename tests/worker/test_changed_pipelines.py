"""A worker serves pipelines as their files are now, and says what they are (P1, P5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from antenna_orchestration.domain import messages
from antenna_orchestration.pipelines import identity, registry
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from tests.worker.bench import Bench, QueuedJob, once_each
from tests.worker.test_access import tells
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long

CODE = """
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec
from _score import SCORE

ALGORITHM = AlgorithmSpec(key="SLUG", version="1", name="G", task="localization")
PIPELINES = [PipelineSpec(slug="SLUG", name="G", version="1", description="", factory=f"{__name__}:G",
                          algorithms=(ALGORITHM,), default_config={"weights": ""})]

class G(Pipeline):
    def prepare(self, image): return image
    def infer(self, batch): return batch
    def finish(self, prepared, raw):
        box = Detection(box=(0, 0, 1, 1), score=SCORE, algorithm=ALGORITHM.ref)
        return ImageResult(width=2, height=2, detections=[box])
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the file of one pipeline, whose score stands in a helper."""
    # The worker, in this process, may have looked just before a test changes a file and asks.
    monkeypatch.setattr(registry, "LOOK_EVERY", 0.0)
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "_score.py").write_text("SCORE = 0.5\n")
    (folder / "changed_g.py").write_text(CODE.replace("SLUG", "g"))
    return folder


@pytest.fixture
def settings(settings: Settings, lab: Path) -> Settings:
    return settings.model_copy(update={"pipeline_paths": (lab,)})


async def bound(bench: Bench, pictures: list[str], slug: str, digest: str = "", **fields: Any) -> QueuedJob:
    """A job that is bound to a digest, or else to what the pipeline is now."""
    now = identity.digest_of(registry.get(slug, bench.settings.pipeline_paths))
    job = await bench.submit(pictures[:3], pipeline=slug, announce=False)
    announcement = msgspec.structs.replace(job.announcement, digest=digest or now, v=messages.BOUND, **fields)
    await bench.announcements.announce(announcement)
    return QueuedJob(job.job, job.pipeline, job.epoch, job.images, announcement)


def scores(results: list[messages.Result]) -> set[tuple[float | None, object]]:
    return {(one.detections[0].score, one.digest) for one in once_each(results).values()}


async def test_changed_and_added_files_are_served_by_the_same_worker(
    bench: Bench, settings: Settings, pictures: list[str], lab: Path
) -> None:
    """P1: it went on with the old code, and said that it was the new; P5: an added file waited for a restart."""
    with running(settings) as worker:
        first = await bound(bench, pictures, "g")
        assert scores(await bench.results(first)) == {(0.5, first.announcement.digest)}, worker.log
        (lab / "_score.py").write_text("SCORE = 0.7\n")
        second = await bound(bench, pictures, "g")
        assert scores(await bench.results(second)) == {(0.7, second.announcement.digest)}, worker.log
        assert second.announcement.digest != first.announcement.digest
        late = await bound(bench, pictures, "g", first.announcement.digest)
        beat = await tells(bench, "refused", late.job)
        assert f"here is {str(second.announcement.digest)[:12]}" in beat.refused[str(late.job)]
        assert isinstance(beat.digests, dict) and beat.digests["g"] == second.announcement.digest
        (lab / "changed_h.py").write_text(CODE.replace("SLUG", "h"))
        third = await bound(bench, pictures, "h")
        assert scores(await bench.results(third)) == {(0.7, third.announcement.digest)}, worker.log


async def test_a_worker_leaves_jobs_of_another_digest_alone(
    bench: Bench, settings: Settings, pictures: list[str]
) -> None:
    job = await bound(bench, pictures, "null", "0" * 64, pipeline_version="2")
    with running(settings, WorkerOptions(exit_when_idle=0.5)) as worker:
        assert (await worker.leaves()).done == 0
    assert (await bench.counts(job)).delivered == 0
    assert "it was submitted for null 2, digest 000000000000, here is" in worker.log
