"""When an active job stands still."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from antenna_orchestration.domain import stalls
from antenna_orchestration.domain.ids import Generation, JobId, PipelineSlug, ProjectId
from antenna_orchestration.domain.job import DispatchMode, Job, JobStatus
from antenna_orchestration.domain.messages import Heartbeat

NOW = datetime(2026, 6, 12, 23, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def waiting_job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": JobId(7), "project_id": ProjectId(1), "project": "p", "name": "n", "pipeline": PipelineSlug("null"),
        "config": {}, "config_hash": "", "status": JobStatus.RUNNING, "generation": Generation(1), "launch": 1,
        "epoch": None, "published_upto": 0, "compacted": False, "priority": 1, "interactive": False,
        "dispatch_mode": DispatchMode.ASYNC, "total": 10, "skipped": 0, "duplicates": 0, "source_kinds": ("http",),
        "run_id": None, "status_reason": None, "created_at": ago(1000), "claimed_at": ago(990), "started_at": ago(980),
        "finished_at": None,
    }  # fmt: skip
    return Job(**(values | changes))


def heard(**changes: Any) -> Heartbeat:
    values: dict[str, Any] = {
        "worker": "w", "host": "h", "pid": 1, "device": "cpu", "pipelines": ("null",), "reaches": ("http",),
        "started_at": ago(900), "at": NOW, "leased": 288, "state": "working", "last_result_at": ago(200),
    }  # fmt: skip
    return Heartbeat(**(values | changes))


def still(job: Job, *workers: Heartbeat, silent: tuple[int, ...] = (), rate: float = 0.0) -> str:
    return stalls.why_still(job, workers, silent=silent, rate=rate, now=NOW)


def test_workers_that_hold_tasks_and_deliver_nothing_are_a_stall() -> None:
    why = still(waiting_job(), heard(), heard(worker="v", last_result_at=None))
    assert "hold 576 tasks" in why and "200 s ago (w, v)" in why


def test_a_silent_collector_is_a_stall_though_workers_deliver() -> None:
    assert "nobody collects" in still(waiting_job(), heard(last_result_at=ago(1)), silent=(7,))


@pytest.mark.parametrize(
    ("job", "worker", "rate"),
    [
        (waiting_job(), heard(last_result_at=ago(5)), 0.0),
        (waiting_job(), heard(), 0.1),
        (waiting_job(started_at=ago(20)), heard(), 0.0),
        (waiting_job(status=JobStatus.CLAIMED), heard(), 0.0),
        (waiting_job(), heard(last_result_at=None, started_at=ago(60)), 0.0),
        (waiting_job(), heard(last_result_at=None, started_at=ago(500), state="loading"), 0.0),
        (waiting_job(), heard(pipelines=("other",)), 0.0),
    ],
)
def test_what_is_no_stall(job: Job, worker: Heartbeat, rate: float) -> None:
    assert not still(job, worker, rate=rate)


def test_nobody_for_a_pipeline_is_a_fault_after_a_minute() -> None:
    assert stalls.why_unserved(waiting_job(), [heard(pipelines=("other",))]) == "no worker listens for null"
    assert "reaches http" in stalls.why_unserved(waiting_job(), [heard(reaches=("s3:*",))])
    assert not stalls.why_unserved(waiting_job(), [heard()])
    assert not stalls.why_unserved(waiting_job(total=0), [])
    assert stalls.is_unserved_for_long(waiting_job(created_at=ago(61)), NOW)
    assert not stalls.is_unserved_for_long(waiting_job(created_at=ago(30)), NOW)
