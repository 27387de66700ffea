"""What a person does to runs in the UI, and what it means for the job, as docs/howto/runs.md says.

Real runs, on threads, against the real stores; see `runs_by_hand`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.processing import cancel, retry
from antenna_orchestration.resources import interruptible
from tests.definitions.runs_by_hand import RunsByHand, runs_by_hand
from tests.waiting import wait_until

pytestmark = pytest.mark.long

IMAGES = 6


@pytest.fixture(autouse=True)
def quick_to_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run looks at its status more often than every two seconds, so that the tests take less time."""
    monkeypatch.setattr(interruptible, "STATUS_EVERY", 0.2)


@pytest.fixture
def runs(wanted: settings.Settings, project: str, tmp_path: Path) -> Iterator[RunsByHand]:
    with runs_by_hand(wanted, tmp_path / "dagster", project, IMAGES) as runs:
        yield runs


def at_work(runs: RunsByHand) -> str:
    """The job's first run, which has collected two images."""
    (run,) = runs.tick()
    runs.begin(run)
    assert runs.work(2, wait=10.0) == 2
    wait_until(lambda: runs.counts().done == 2, description="two images are collected")
    return run


@contextmanager
def held_while_finishing(runs: RunsByHand) -> Iterator[str]:
    """The job's first run, all images collected; for the length of the block the lake does not take its tables."""
    run = at_work(runs)
    in_the_way = Path(runs.wanted.lake) / f"captures/job_id={runs.job_id}"
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.touch()
    try:
        runs.work(IMAGES)
        wait_until(lambda: not runs.counts().pending, description="all images are collected")
        yield run
    finally:
        in_the_way.unlink()


@pytest.mark.parametrize("force", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_terminating_cancels_a_job_with_pending_images(runs: RunsByHand, force: bool) -> None:
    runs.terminate(at_work(runs), force=force)
    job = runs.job()
    assert (job.status, job.status_reason) == (JobStatus.CANCELED, "the run was terminated")
    assert runs.tick() == []


@pytest.mark.parametrize("force", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_terminating_cancels_no_job_that_only_has_to_be_finished(runs: RunsByHand, force: bool) -> None:
    with held_while_finishing(runs) as run:
        runs.terminate(run, force=force)
    assert runs.run(run).status is dg.DagsterRunStatus.CANCELED
    assert runs.job().status is JobStatus.RUNNING
    (second,) = runs.tick()
    # However often the sensor looks, one run is enough.
    assert runs.tick() == []
    runs.begin(second)
    runs.ended(second)
    runs.check_every_image_once()


@pytest.mark.slow
def test_cancelling_a_job_that_only_has_to_be_finished_cancels_it(runs: RunsByHand) -> None:
    with held_while_finishing(runs) as run:
        assert runs.do(lambda services: cancel.cancel(services, runs.job_id, reason="a person"))
    runs.ended(run)
    assert runs.run(run).status is dg.DagsterRunStatus.CANCELED
    assert (runs.job().status, runs.job().status_reason) == (JobStatus.CANCELED, "a person")
    # Its images are done: a retry has only the tables to write.
    runs.do(lambda services: retry.retry(services, runs.job_id))
    runs.bring_to_its_end()
    runs.check_every_image_once()


def test_a_run_executed_again_at_once_takes_the_job_over(runs: RunsByHand) -> None:
    """Before the terminated run, or a sensor, could notice anything: the job is not canceled."""
    first = at_work(runs)
    # In this order: the first run looks at its status all the time, and may notice its end at once.
    second = runs.launch(parent=first)
    runs.instance.report_run_canceled(runs.run(first))
    runs.ended(first)
    runs.tell_of(first)
    assert runs.job().status is JobStatus.RUNNING
    assert runs.tick() == [], "the second run waits, so no other is needed"
    runs.begin(second)
    runs.tell_of(first)
    runs.bring_to_its_end()
    runs.check_every_image_once()
    assert runs.job().generation == 1


def test_a_run_executed_again_later_retries_the_job(runs: RunsByHand) -> None:
    first = at_work(runs)
    runs.terminate(first)
    second = runs.launch(parent=first)
    runs.begin(second)
    runs.tell_of(first)
    assert (runs.job().status, runs.job().generation) == (JobStatus.RUNNING, 2)
    # It is in charge although it inherited the tags of generation 1.
    runs.terminate(second, force=True)
    assert runs.job().status is JobStatus.CANCELED


@pytest.mark.slow
def test_of_two_runs_one_may_be_terminated(runs: RunsByHand) -> None:
    first = at_work(runs)
    second = runs.launch()
    runs.begin(second)
    runs.terminate(second)
    assert runs.job().status is JobStatus.RUNNING
    runs.terminate(first)
    runs.bring_to_its_end()
    assert runs.job().status is JobStatus.CANCELED


def test_terminating_a_waiting_run_cancels_its_job(runs: RunsByHand) -> None:
    (waiting,) = runs.tick()
    runs.terminate(waiting)
    assert runs.job().status is JobStatus.CANCELED


@pytest.mark.slow
def test_terminating_a_waiting_run_leaves_another_s_job(runs: RunsByHand) -> None:
    (waiting,) = runs.tick()
    second = runs.launch()
    runs.begin(second)
    runs.terminate(waiting)
    runs.bring_to_its_end()
    runs.check_every_image_once()


def test_deleting_a_run_leaves_its_job(runs: RunsByHand) -> None:
    runs.delete(at_work(runs))
    assert runs.job().status is JobStatus.RUNNING
    runs.bring_to_its_end()
    runs.check_every_image_once()


@pytest.mark.slow
def test_a_run_of_an_earlier_launch_takes_nothing_over(runs: RunsByHand) -> None:
    first = at_work(runs)
    tags = dict(runs.run(first).tags)
    runs.terminate(first)
    runs.do(lambda services: retry.retry(services, runs.job_id))
    (second,) = runs.tick()
    runs.begin(second)
    late = runs.launch(tags=tags)
    runs.begin(late)
    assert runs.run(late).status is dg.DagsterRunStatus.CANCELED
    runs.tell_of(late)
    assert runs.job().run_id == second
    runs.bring_to_its_end()
    runs.check_every_image_once()
