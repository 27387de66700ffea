"""The colour of a run in the UI: red where a job failed, and nowhere else."""

import ctypes
from pathlib import Path

import dagster as dg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.processing.services import Services
from tests.definitions.runs_by_hand import RunsByHand, runs_by_hand
from tests.processing.jobs_by_hand import hands
from tests.waiting import wait_until

IMAGES = 4


def interrupt(runs: RunsByHand, run: str) -> None:
    """What Dagster does in a run's process that gets SIGTERM: it raises in the main thread."""
    thread = runs.threads[run].ident
    assert thread is not None
    error = ctypes.py_object(dg.DagsterExecutionInterruptedError)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)


@pytest.mark.slow
def test_the_end_of_the_stack_leaves_no_red_run(
    wanted: settings.Settings, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B9: after Ctrl-C the runs at work were failures, and CANCELED would have canceled their jobs."""
    # A home of its own, because other tests' runs look for the file `stopping` in the shared one.
    monkeypatch.setenv("ANTENNA_HOME", str(tmp_path))
    monkeypatch.setenv("ANTENNA_LAKE_URI", wanted.lake)
    settings.get.cache_clear()
    with runs_by_hand(settings.get(), tmp_path / "dagster", project, IMAGES) as runs:
        (run,) = runs.tick()
        runs.begin(run)
        assert runs.work(2, wait=10.0) == 2
        wait_until(lambda: runs.counts().done == 2, description="two images are collected")
        (tmp_path / "stopping").touch()
        interrupt(runs, run)
        runs.ended(run)
        (tmp_path / "stopping").unlink()
        assert runs.run(run).status is dg.DagsterRunStatus.CANCELED
        runs.tell_of(run)
        assert runs.job().status is JobStatus.RUNNING, "nobody canceled the job"

        # A run that is executed again inherits the tags, and is a person's to terminate all the same.
        second = runs.launch(parent=run)
        runs.begin(second)
        runs.terminate(second)
        assert runs.job().status is JobStatus.CANCELED


@pytest.mark.long
def test_the_run_of_a_failed_job_is_red(wanted: settings.Settings, project: str, tmp_path: Path) -> None:
    """B9: it was green, although the job was FAILURE; the tables and the report are there all the same."""

    async def fail_all(services: Services) -> None:
        job = await services.catalog.jobs.get(runs.job_id)
        async with hands(services) as worker:
            leases = await worker.lease(job, IMAGES)
            await worker.report(leases, outcome="failed", reason="it is black", detections=[])

    with runs_by_hand(wanted, tmp_path / "dagster", project, IMAGES) as runs:
        (run,) = runs.tick()
        runs.begin(run)
        wait_until(lambda: runs.job().epoch is not None, description="tasks are published")
        runs.do(fail_all)
        runs.ended(run)
        assert runs.job().status is JobStatus.FAILURE
        assert runs.run(run).status is dg.DagsterRunStatus.FAILURE
        written = {event.asset_key.to_user_string() for event in materialized(runs, run) if event.asset_key}
        assert written >= {"captures", "failed_images", "job_report"}
        assert runs.tick() == [], "the job is over: nothing is launched again"


def materialized(runs: RunsByHand, run: str) -> list[dg.DagsterEvent]:
    events = [entry.dagster_event for entry in runs.instance.all_logs(run)]
    return [event for event in events if event and event.is_step_materialization]
