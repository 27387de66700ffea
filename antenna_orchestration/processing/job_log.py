"""The log of a job while it is collected: lines about workers, progress and the end, and how often they come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from antenna_orchestration.domain import reach, reported_errors, stalls
from antenna_orchestration.domain.job import DispatchMode, Job
from antenna_orchestration.domain.messages import Heartbeat
from antenna_orchestration.domain.progress import FIRST_LINE, JobProgress, line_after
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing import scale, waiting
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.tasks import Waiting

WORKER_COMES: Final = "worker_comes"
"""The action of the line that says that a worker is about to start."""

MOST_WORKERS: Final = 10
"""Workers named in one line."""

MOST_REASONS: Final = 3
"""Reasons of failures named in one line."""

REASONS_KEPT: Final = 100
"""Different reasons that are counted; a pipeline may find another one for each image."""


class JobLogWriter:
    """Writes one job's log, a few lines per hour; milestones are passed to `tell` as well.

    Methods raise `Unavailable`.
    """

    def __init__(self, *, services: Services, job: Job, tell: Callable[[str], None]) -> None:
        self._services = services
        self._job = job
        self._tell = tell
        self._started = time.monotonic()
        self._next_line = FIRST_LINE
        self._nobody_listens: bool | None = None
        self._told_of_start = False
        self._told_reported = False
        self._forbidden = False
        self._told_unreachable = False
        # Images per worker whose result was committed.
        self.posted: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    async def look_for_workers(self) -> None:
        """Log once when no worker serves the pipeline, and once when some do. Waiting never fails a job.

        Where the autoscaler is about to start one, that is not a fault yet, and the line says what comes.
        """
        workers = await self._services.heartbeats.workers()
        listening = [worker for worker in workers if reach.can_serve(worker, self._job)]
        nobody = not listening
        unfit = await waiting.why_unfit(self._services, self._job, workers) if nobody else ""
        if nobody and not unfit and self._one_is_about_to_start(workers):
            if not self._told_of_start:
                self._told_of_start = True
                message = f"No worker listens for {self._job.pipeline} yet: one is about to start on this host"
                await self._milestone(WORKER_COMES, message)
            return
        if nobody and self._nobody_listens is not True:
            held_up = (await scale.why_not_started(self._services, [self._job])).get(self._job.job_id, "")
            message = f"The job waits: {stalls.why_unserved(self._job, workers, unfit, held_up)}"
            await self._milestone("no_worker", message, level="WARNING")
        elif not nobody and self._nobody_listens is not False:
            names = ", ".join(worker.worker for worker in listening[:5])
            await self._milestone(
                "workers",
                f"{counted(len(listening), 'worker listens', 'workers listen')} for {self._job.pipeline}: {names}",
            )
        self._nobody_listens = nobody

    async def tell_access(self, forbidden: str, unreachable: str) -> None:
        """Log when the job begins to wait because no worker may load its images, and when that ends.

        Also, once, why images of it are tried again.
        """
        if forbidden and not self._forbidden:
            await self._milestone("forbidden", f"The job waits: {forbidden}", level="WARNING")
        elif self._forbidden and not forbidden:
            await self._milestone("forbidden", "The job no longer waits: images of it were loaded, or have failed")
        self._forbidden = bool(forbidden)
        if unreachable and not self._told_unreachable:
            self._told_unreachable = True
            await self._milestone("unreachable", f"Some images are tried again: {unreachable}", level="WARNING")

    async def tell_store(self, why: str) -> None:
        """Log that a store does not take what was collected, or does not answer; with an empty text, that it does."""
        if why:
            await self._milestone(waiting.STORE, f"{waiting.STORE_WAITS}{why}", level="WARNING")
        else:
            await self._milestone(waiting.STORE, "The job no longer waits for a store")

    def _one_is_about_to_start(self, workers: Sequence[Heartbeat]) -> bool:
        """Whether the autoscaler starts a worker for the job, and has had too little time to do so."""
        settings, pipeline = self._services.settings, self._job.pipeline
        return (
            time.monotonic() - self._started < stalls.UNSERVED_AFTER
            and settings.autoscale
            and settings.autoscale_max_workers > 0
            and self._job.dispatch_mode is DispatchMode.ASYNC
            and pipeline in registry.all_pipelines()
            # One that is there and does not serve the job: another would do no better.
            and not any(pipeline in {*worker.pipelines, *worker.failing} for worker in workers)
        )

    async def tell_reported(self, reasons: Counter[str]) -> None:
        """Log the first errors that workers report; later ones are in the lines about progress."""
        if reasons and not self._told_reported:
            self._told_reported = True
            number = reasons.total()
            message = (
                f"Workers reported errors about {counted(number, 'image')}, to be looked at and "
                f"tried again: {reported_errors.in_words(reasons)}"
            )
            await self._milestone("reported", message, level="WARNING")

    async def tell_progress(self, progress: JobProgress) -> None:
        """Log progress, speed, the queue's counts and who holds leases, ever less often: a job may wait for weeks."""
        elapsed = time.monotonic() - self._started
        if elapsed < self._next_line:
            return
        self._next_line = line_after(self._next_line, elapsed)
        workers = [one for one in await self._services.heartbeats.workers() if reach.can_serve(one, self._job)]
        leases = Counter({one.worker: one.leased for one in workers if one.leased})
        line = "; ".join([progress.line, *_of_queue(await self._waiting())])
        if leases:
            line += f"; workers hold, of all jobs, {_named(leases)}"
        await self._services.catalog.job_log.add(self._job.job_id, "progress", line)

    def note_failures(self, reasons: Iterable[str | None]) -> None:
        """Count why images failed whose result was committed."""
        for reason in reasons:
            if reason and (reason in self._reasons or len(self._reasons) < REASONS_KEPT):
                self._reasons[reason] += 1

    async def tell_end(self, progress: JobProgress) -> None:
        """Log the end of collecting: what was found, why images failed, whose results, the consumer's counters."""
        found = f"{progress.done} done, {progress.failed} failed, {counted(progress.detections, 'detection')}"
        posted = f"posted by {_named(self.posted)}" if self.posted else "nobody posted"
        why = [f"{reason}: {counted(number, 'image')}" for reason, number in self._reasons.most_common(MOST_REASONS)]
        await self._milestone("collected", "; ".join([found, *why, posted, *_of_queue(await self._waiting())]))

    async def _waiting(self) -> Waiting | None:
        job = await self._services.catalog.jobs.get(self._job.job_id)
        if job.epoch is None:
            return None
        return await self._services.queue.counts(job.job_run, job.epoch)

    async def _milestone(self, action: str, message: str, *, level: str = "INFO") -> None:
        self._tell(message)
        await self._services.catalog.job_log.add(self._job.job_id, action, message, level=level)


def _named(images: Counter[str]) -> str:
    """The workers with the most images."""
    named = [f"{worker} {number}" for worker, number in images.most_common(MOST_WORKERS)]
    if more := len(images) - len(named):
        named.append(f"{more} more")
    return ", ".join(named)


def _of_queue(waiting: Waiting | None) -> list[str]:
    if waiting is None:
        return []
    return [
        f"{counted(waiting.queued, 'task waits', 'tasks wait')}, {waiting.leased} leased, "
        f"{counted(waiting.delivered, 'delivery', 'deliveries')}, {waiting.redelivered} redelivered"
    ]
