"""A worker that was started with --pull fetches what jobs are bound to, runs just that, and says what it lacks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antenna_orchestration.domain import ids, messages
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.pipelines import packing, registry
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.processing import pushed
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.options import WorkerOptions
from antenna_orchestration.worker.pulling import PipelinePuller
from antenna_orchestration.worker.timing import Timing
from tests.pipelines.test_environments import write_wheel
from tests.waiting import eventually
from tests.worker.bench import Bench, QueuedJob
from tests.worker.test_access import tells
from tests.worker.test_changed_pipelines import CODE, scores
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long

PULLS = WorkerOptions(pull=True)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a machine with no pipelines of its own, and an index that is a folder."""
    monkeypatch.setattr(registry, "LOOK_EVERY", 0.0)
    (tmp_path / "wheels").mkdir()
    write_wheel(tmp_path / "wheels", "antenna_test_score", "0.5")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    return settings.model_copy(update={"lake_uri": str(tmp_path / "lake"), "home": tmp_path / "home"})


def pushed_digest(settings: Settings, folder: Path, score: str = "SCORE", needs: str = "") -> str:
    """A pipeline of a laboratory, pushed from there; its digest."""
    folder.mkdir()
    (folder / "_score.py").write_text("SCORE = 0.25")
    code = CODE.replace("SLUG", "pulled-g").replace("score=SCORE", f"score={score}")
    code = code.replace('description="",', f'description="", requirements=({needs}),')
    (folder / "pulled_g.py").write_text(code)
    pack = packing.pack(registry.get("pulled-g", [folder]))
    pushed.push(Lake(settings.lake), pack)
    return pack.manifest.digest


async def bound_to(bench: Bench, pictures: list[str], digest: str, *, pull: bool = True, **fields: Any) -> QueuedJob:
    job = await bench.submit(pictures[:3], pipeline="pulled-g", announce=False)
    may = True if pull else msgspec.UNSET
    announcement = msgspec.structs.replace(job.announcement, digest=digest, pull=may, v=messages.BOUND, **fields)
    await bench.announcements.announce(announcement)
    return QueuedJob(job.job, job.pipeline, job.epoch, job.images, announcement)


async def test_two_versions_are_fetched_and_run_side_by_side(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    old = pushed_digest(settings, tmp_path / "old")
    score = "float(__import__('antenna_test_score').VERSION)"
    new = pushed_digest(settings, tmp_path / "new", score, '"antenna_test_score==0.5",')
    jobs = [await bound_to(bench, pictures, digest) for digest in (old, new)]
    # What was fetched for others is not for a project that does not allow it.
    forbidden = await bound_to(bench, pictures, old, pull=False)
    with running(settings, PULLS) as worker:
        assert scores(await bench.results(jobs[0])) == {(0.25, old)}, worker.log
        assert scores(await bench.results(jobs[1])) == {(0.5, new)}, worker.log
        again = await bound_to(bench, pictures, old)
        assert scores(await bench.results(again)) == {(0.25, old)}, worker.log
    assert (await bench.counts(forbidden)).delivered == 0


async def test_a_pack_that_breaks_the_fetching_costs_itself_alone() -> None:
    spec = registry.get("null")

    def fetch(digest: str) -> PipelineSpec:
        if digest == "broken":
            raise RecursionError("too deep")
        return spec

    puller = PipelinePuller(fetch=fetch, nudge=Nudge(), timing=Timing())
    running_on = asyncio.create_task(puller.run())
    for digest in ("broken", "sound"):
        job = messages.Announcement(
            job=ids.JobId(1), generation=ids.Generation(1), epoch=ids.Epoch("e"), pipeline=ids.PipelineSlug("null"),
            config={}, config_hash="", digest=digest, pull=True,
        )  # fmt: skip
        puller.get(job)

    async def is_through() -> bool:
        return not puller.fetching

    await eventually(is_through, description="all was fetched or failed")
    running_on.cancel()
    assert (puller.failing, dict(puller.ready)) == ({"null": "RecursionError: too deep"}, {"sound": spec})


async def test_nothing_is_fetched_that_was_not_allowed_or_not_pushed(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    digest = pushed_digest(settings, tmp_path / "lab")
    forbidden = await bound_to(bench, pictures, digest, pull=False)
    with running(settings, PULLS) as worker:
        unknown = await bound_to(bench, pictures, "0" * 64)
        beat = await tells(bench, "failing", "pulled-g")  # type: ignore[arg-type]
        assert "no pipeline of digest 000000000000 was pushed" in beat.failing["pulled-g"]
        assert "pulled-g" not in beat.pipelines
        await bench.withdraw(unknown)
    with running(settings, WorkerOptions(exit_when_idle=0.5)) as worker:
        allowed = await bound_to(bench, pictures, digest)
        assert (await worker.leaves()).done == 0
    assert [(await bench.counts(job)).delivered for job in (forbidden, allowed)] == [0, 0]
    assert not (settings.home / "pulled" / digest).exists()
