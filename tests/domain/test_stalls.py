"""When an active job stands still."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from msgspec import UNSET

from antenna_orchestration.domain import stalls
from antenna_orchestration.domain.ids import Generation, JobId, PipelineSlug, ProjectId
from antenna_orchestration.domain.job import Counts, DispatchMode, Job, JobStatus
from antenna_orchestration.domain.messages import Heartbeat
from antenna_orchestration.domain.progress import JobProgress

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


@pytest.mark.parametrize("last", [1.0, 200.0])
def test_workers_of_an_earlier_release_are_named_where_they_do_nothing(last: float) -> None:
    """They refuse announcements that are bound to digests, and say nothing of it: the job only seemed to be served."""
    waits = partial(
        stalls.waiting_for,
        waiting_job(),
        silent=(),
        pending=3,
        rate=0.0,
        reported="",
        unfit="",
        held_up="",
        store="",
        now=NOW,
    )
    new = {"last_result_at": ago(last), "leased": 0, "digests": {}}
    assert "; w is of an earlier release, which serves built-in pipelines only: upgrade" in waits(
        [heard(**{**new, "digests": UNSET}), heard(worker="v", **new), heard(worker="u", **new, kind="http")]
    )
    assert "earlier release" not in waits([heard(worker="v", **new), heard(**{**new, "digests": UNSET}, kind="http")])


def test_nobody_for_a_pipeline_is_a_fault_after_a_minute() -> None:
    assert stalls.why_unserved(waiting_job(), [heard(pipelines=("other",))]) == "no worker listens for null"
    assert "cannot read http" in stalls.why_unserved(waiting_job(), [heard(reaches=("s3:*",))])
    assert not stalls.why_unserved(waiting_job(), [heard()])
    assert not stalls.why_unserved(waiting_job(total=0), [])
    assert stalls.is_unserved_for_long(waiting_job(created_at=ago(61)), NOW)
    assert not stalls.is_unserved_for_long(waiting_job(created_at=ago(30)), NOW)


@pytest.mark.parametrize(
    ("workers", "unfit", "why"),
    [
        ([], "", "no worker listens for null; none runs at all (`antenna worker` starts one)"),
        ([heard(pipelines=("other",))], "", "no worker listens for null"),
        ([heard(pipelines=(), failing={"null": "no"})], "", "no worker listens for null; w cannot load it: no"),
        ([heard(refused={"7": "here is 1"})], "", "no worker listens for null; w leaves it alone: here is 1"),
        ([heard(pipelines=("other",))], "it is broken",
         "no worker listens for null; one on this machine would leave it alone: it is broken"),
        ([heard(projects=("q",))], "", "no worker for null can serve the job: w serves other projects: q"),
        ([heard(kind="push")], "", "no worker for null can serve the job: w posts to a processing service"),
        ([heard(reaches=("s3:*",))], "",
         "no worker for null can serve the job: w cannot read http (ANTENNA_WORKER_REACHES)"),
    ],
    ids=["none", "another pipeline", "cannot load", "another version", "broken here", "projects", "push", "reach"],
)  # fmt: skip
def test_each_reason_without_a_worker_has_a_sentence_of_its_own(workers: list[Heartbeat], unfit: str, why: str) -> None:
    """P12: "No worker for pipeline X reaches the images" was said in all of these situations."""
    assert stalls.why_unserved(waiting_job(), workers, unfit) == why


DENIED = {"7": "HTTP 403 Forbidden from photos.example, since 2026-06-12 22:10 UTC"}
GONE = {"7": "http://cam: Connection refused, since 2026-06-12 22:10 UTC"}


@pytest.mark.parametrize(
    ("job", "workers", "asked", "answer"),
    [
        (waiting_job(status=JobStatus.SUCCESS), [], {}, ""),
        (waiting_job(), [heard()], {"rate": 0.5}, ""),
        (waiting_job(status=JobStatus.CANCELING), [], {}, "its cancellation"),
        (waiting_job(), [heard()], {"silent": (7,), "rate": 0.5}, "nobody collects"),
        (waiting_job(), [], {"pending": 0}, "its tables"),
        (waiting_job(), [], {}, "no worker listens for null"),
        (waiting_job(status=JobStatus.QUEUED), [], {}, "no worker listens for null"),
        (waiting_job(), [heard(reaches=())], {}, "cannot read http"),
        (waiting_job(dispatch_mode=DispatchMode.SYNC), [heard()], {}, "no processing service"),
        (waiting_job(), [heard(forbidden=DENIED)], {}, "w: HTTP 403 Forbidden from photos.example, since 2026-06-12"),
        (waiting_job(status=JobStatus.QUEUED), [heard(forbidden=DENIED)], {}, "no worker may load its images"),
        (waiting_job(status=JobStatus.QUEUED), [heard()], {}, "a run to collect"),
        (waiting_job(status=JobStatus.CLAIMED), [heard()], {}, "its run"),
        (waiting_job(), [heard()], {}, "hold 288 tasks and deliver nothing"),
        (waiting_job(), [heard(state="loading", started_at=ago(100), last_result_at=None)], {}, "models to be loaded"),
        (waiting_job(), [heard(last_result_at=ago(1))], {"reported": "oom (2)"}, "tried again after errors: oom (2)"),
        (waiting_job(), [heard(last_result_at=ago(1)), heard(worker="v", forbidden=DENIED)], {}, "v may not load some"),
        (waiting_job(), [heard(last_result_at=ago(1))], {}, "results of 288 tasks"),
        (waiting_job(), [heard(unreachable=GONE)], {}, "tried again (w: http://cam: Connection refused, since"),
        (waiting_job(status=JobStatus.QUEUED), [heard(unreachable=GONE)], {}, "a run to collect"),
        (waiting_job(), [], {"unfit": "it was submitted for null 2"}, "alone: it was submitted for null 2"),
        (waiting_job(), [], {"held_up": "pool cluster: 1 worker on the way"}, "pool cluster: 1 worker on the way"),
        (
            waiting_job(),
            [],
            {"store": "committing results: is it mounted?"},
            "a store (committing results: is it mounted",
        ),
        (waiting_job(), [], {"store": "committing: full", "pending": 0}, "a store (committing: full)"),
        (waiting_job(), [heard(refused={"7": "here is 1"})], {}, "w leaves it alone: here is 1"),
        (waiting_job(), [heard(last_result_at=ago(1), leased=0)], {}, "3 images to be offered again"),
    ],
)
def test_every_waiting_job_says_for_what_in_one_line(
    job: Job, workers: list[Heartbeat], asked: dict[str, Any], answer: str
) -> None:
    """A1: `jobs show` of a stalled job answers "what is it waiting for", always."""
    values: dict[str, Any] = {
        "silent": (),
        "pending": 3,
        "rate": 0.0,
        "reported": "",
        "unfit": "",
        "held_up": "",
        "store": "",
        "now": NOW,
    }
    why = stalls.waiting_for(job, workers, **(values | asked))
    assert answer in why
    assert bool(why) == bool(answer)
    assert "\n" not in why


def test_no_end_is_foretold_beside_what_a_job_waits_for() -> None:
    """A1: "9 s left" stood beside "waits", from the speed of the images before."""
    counts = Counts(total=4, done=3, failed=0, pending=1, detections=0, classifications=0)
    moving = JobProgress.of(counts, rate=0.1)
    assert "10 s left" in moving.line
    stuck = replace(moving, waits="no worker may load its images")
    assert "left" not in stuck.line and stuck.eta_s is None
