"""Why an active job stands still, if it does: the rule of the health checks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import msgspec

from antenna_orchestration.domain.job import DispatchMode, Job, JobStatus
from antenna_orchestration.domain.messages import Heartbeat
from antenna_orchestration.domain.reach import MOST_REASONS, can_serve, some_serve, why_not, why_out_of_reach
from antenna_orchestration.domain.texts import counted, listed

UNSERVED_AFTER: Final = 60.0
"""Seconds after which a job without a worker is a fault; a worker that the autoscaler starts needs half of it."""

STILL_AFTER: Final = 90.0
"""Seconds without a result from any worker of a job, after which it stands still."""

LOADING_AFTER: Final = 600.0
"""Seconds that a worker may load models, which may be downloads."""

_OF_CANCELING: Final = "its cancellation to be completed (`antenna health` does it)"
_OF_SILENCE: Final = "nobody collects its results; is the sensor queued_jobs running?"
_OF_RUNS: Final = {
    JobStatus.QUEUED: "a run to collect its results; the sensor queued_jobs starts one",
    JobStatus.CLAIMED: "its run, which waits in Dagster's queue or is being started",
}


def why_unserved(job: Job, workers: Sequence[Heartbeat], unfit: str = "", held_up: str = "") -> str:
    """Why no worker serves the job; empty if one does, or if it has no images.

    `unfit` is why a worker that is yet to be started would not serve it, `held_up` is why none is started.
    """
    if not job.total or some_serve(workers, job):
        return ""
    if job.dispatch_mode is DispatchMode.SYNC:
        return f"no processing service serves {job.pipeline} (`antenna push URL --project {job.project}`)"
    number = str(job.job_id)
    if listening := [one for one in workers if job.pipeline in one.pipelines and number not in one.refused]:
        return f"no worker for {job.pipeline} can serve the job: {why_out_of_reach(listening, job)}"
    why = why_not(workers, job) + (f"; one on this machine would leave it alone: {unfit}" if unfit else "")
    if held_up:
        why += f"; {held_up}"
    if not why and not workers:
        why = "; none runs at all (`antenna worker` starts one)"
    return f"no worker listens for {job.pipeline}{why}"


def why_forbidden(job: Job, workers: Sequence[Heartbeat]) -> str:
    """Why none of the workers that serve the job may load its images; empty if one may, or none serves it."""
    serving = [worker for worker in workers if can_serve(worker, job)]
    number = str(job.job_id)
    if not serving or any(number not in worker.forbidden for worker in serving):
        return ""
    reasons = "; ".join(f"{worker.worker}: {worker.forbidden[number]}" for worker in serving[:MOST_REASONS])
    return f"no worker may load its images ({reasons})"


def why_unreachable(job: Job, workers: Sequence[Heartbeat]) -> str:
    """Which images of the job workers could not reach and try again; empty if none."""
    number = str(job.job_id)
    told = [worker for worker in workers if can_serve(worker, job) and number in worker.unreachable]
    return "; ".join(f"{worker.worker}: {worker.unreachable[number]}" for worker in told[:MOST_REASONS])


def waiting_for(
    job: Job,
    workers: Sequence[Heartbeat],
    *,
    silent: Collection[int],
    pending: int,
    rate: float,
    reported: str,
    unfit: str,
    held_up: str,
    store: str,
    now: datetime,
) -> str:
    """What a job that does not move waits for, in one line; empty only for one that moves or is over.

    `silent` and `rate` as for `why_still`; `pending` are images that nobody has accounted for, `reported` is what
    workers said about those of them that failed, in words; `unfit` and `held_up` as for `why_unserved`; `store` is
    what the job's run said last, if that is a store that does not take what was collected.
    """
    if job.status.is_terminal or (job.status is JobStatus.RUNNING and rate > 0 and job.job_id not in silent):
        return ""
    # In this order: the first that is not empty holds the job up.
    reasons = (
        _OF_CANCELING if job.status is JobStatus.CANCELING else "",
        _OF_SILENCE if job.job_id in silent else "",
        f"a store ({store})" if store else "",
        "" if pending else _OF_RUNS.get(job.status, "its tables to be written"),
        why_unserved(job, workers, unfit, held_up),
        why_forbidden(job, workers),
        _OF_RUNS.get(job.status, ""),
        _tried_again(why_unreachable(job, workers)),
        why_still(job, workers, silent=silent, rate=rate, now=now),
    )
    return next(filter(None, reasons), "") or _next_result(job, workers, pending, reported)


def _tried_again(why: str) -> str:
    return f"images that could not be reached and are tried again ({why})" if why else ""


def _next_result(job: Job, workers: Sequence[Heartbeat], pending: int, reported: str) -> str:
    serving = [worker for worker in workers if can_serve(worker, job)]
    names = ", ".join(worker.worker for worker in serving[:MOST_REASONS])
    images = counted(pending, "image")
    if all(worker.state == "loading" for worker in serving):
        return f"models to be loaded by {names}"
    if reported:
        return f"images that are tried again after errors: {reported}"
    for worker in serving:
        if why := worker.forbidden.get(str(job.job_id)):
            return f"{images} for {names}; {worker.worker} may not load some: {why}"
    if held := sum(worker.leased for worker in serving):
        return f"results of {counted(held, 'task')} that workers hold, of all their jobs ({names})"
    return f"{images} to be offered again, after a pause, to {names}{_of_earlier(serving)}"


def _of_earlier(workers: Sequence[Heartbeat]) -> str:
    """What workers on the queue may be told that know no digests: they refuse announcements without saying so."""
    names = [worker.worker for worker in workers if worker.kind == "nats" and worker.digests is msgspec.UNSET]
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return f"; {listed(names)} {verb} of an earlier release, which serves built-in pipelines only: upgrade for others"


def waits_since(job: Job) -> datetime:
    """When the job began to wait for its workers."""
    return max(at for at in (job.created_at, job.claimed_at, job.started_at) if at)


def is_unserved_for_long(job: Job, now: datetime) -> bool:
    """Whether a job without a worker has waited longer than a worker takes to start."""
    return (now - job.created_at).total_seconds() > UNSERVED_AFTER


def why_still(job: Job, workers: Sequence[Heartbeat], *, silent: Collection[int], rate: float, now: datetime) -> str:
    """Why a RUNNING job that has workers makes no progress; empty if it does, or may.

    `silent` are the jobs whose collector is not heard; `rate` is the number of images per second that the collector has
    committed lately. Workers share their time among jobs, so that only a worker that delivers nothing at all stands
    still.
    """
    if job.status is not JobStatus.RUNNING or (now - waits_since(job)).total_seconds() < STILL_AFTER:
        return ""
    if job.job_id in silent:
        return _OF_SILENCE
    serving = [worker for worker in workers if can_serve(worker, job)]
    if rate > 0 or not serving or any(_may_deliver(worker, now) for worker in serving):
        return ""
    held = sum(worker.leased for worker in serving)
    last = max((worker.last_result_at for worker in serving if worker.last_result_at), default=None)
    when = f"{(now - last).total_seconds():.0f} s ago" if last else "never"
    names = ", ".join(worker.worker for worker in serving[:3])
    return (
        f"its workers hold {counted(held, 'task')} and deliver nothing; the last result: {when} ({names})"
        + _of_earlier(serving)
    )


def _may_deliver(worker: Heartbeat, now: datetime) -> bool:
    """Whether a worker delivers, or has begun so lately that it need not have."""
    patience = LOADING_AFTER if worker.state == "loading" else STILL_AFTER
    return (now - (worker.last_result_at or worker.started_at)).total_seconds() < patience
