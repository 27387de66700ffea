"""A job as the command line shows it: the catalog's row with its current counters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain.progress import JobProgress, duration
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.lake import paths

if TYPE_CHECKING:
    from antenna_orchestration.domain.job import Job
    from antenna_orchestration.processing.services import Records

MOST_REASONS: Final = 3
"""Reasons of failed images that are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """One job at one moment."""

    job: Job
    progress: JobProgress
    # Root of the lake.
    lake: str
    # What it waits for while it does not move; empty for one that moves or is over.
    waiting_for: str = ""

    @property
    def elapsed_s(self) -> float:
        """Seconds from the submission until the end, or until now."""
        return max(((self.job.finished_at or self.progress.at) - self.job.created_at).total_seconds(), 0.0)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        job, progress = self.job, self.progress
        running = not job.status.is_terminal
        return {
            "job_id": job.job_id,
            "name": job.name,
            "project": job.project,
            "pipeline": job.pipeline,
            "config": job.config,
            "detections_of": job.detections_of,
            "status": str(job.status),
            "status_reason": job.status_reason,
            "generation": job.generation,
            "priority": job.priority,
            "due_at": job.due_at,
            "interactive": job.interactive,
            "dispatch_mode": str(job.dispatch_mode),
            "total": job.total,
            "done": progress.done,
            "failed": progress.failed,
            "waiting": progress.waiting,
            "waiting_for": self.waiting_for or None,
            "reported": progress.reported,
            "reported_reasons": progress.reasons or None,
            "skipped": job.skipped,
            "duplicates": job.duplicates,
            "detections": progress.detections,
            "classifications": progress.classifications,
            "rate": round(progress.rate, 2) if running else None,
            "eta_s": round(progress.eta_s, 1) if running and progress.eta_s is not None else None,
            "lake": self.lake,
            "run_id": job.run_id,
            "created_by": job.created_by,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
            "elapsed_s": round(self.elapsed_s, 3),
        }

    @property
    def line(self) -> str:
        """One line for people: `job 42 RUNNING 812/5000, 3 failed, 41.2/s, 1 min 42 s left`."""
        return f"job {self.job.job_id} {self.job.status} {self.progress.line}"

    @property
    def summary(self) -> str:
        """One line about a job that is over."""
        job, progress = self.job, self.progress
        parts = [f"{progress.done} done", f"{progress.failed} failed"]
        if job.skipped:
            parts.append(f"{job.skipped} skipped")
        parts += [counted(progress.detections, "detection"), counted(progress.classifications, "classification")]
        reason = f" ({job.status_reason})" if job.status_reason else ""
        return f"job {job.job_id} {job.status}{reason}: {', '.join(parts)}, in {duration(self.elapsed_s)}"


async def read_view(records: Records, job: Job) -> JobView:
    """The job with its counters: from Redis while it runs; counted in the catalog afterwards or if Redis has none."""
    from antenna_orchestration.processing.open_reports import open_reports

    progress = None if job.status.is_terminal else await records.live.counters.read(job.job_run)
    if progress is None:
        counts = await records.catalog.images.count(job.job_id)
        progress = JobProgress.of(counts, published=job.published_upto)
        if not job.status.is_terminal:
            progress = progress.with_reports(await open_reports(records, job.job_run))
    return JobView(job=job, progress=progress, lake=records.settings.lake.rstrip("/"))


async def read_waiting_view(records: Records, job: Job) -> JobView:
    """As `read_view`, and what the job waits for. Only a job that is not over needs the queue for that."""
    view = await read_view(records, job)
    if job.status.is_terminal:
        return view
    from antenna_orchestration.processing import services, waiting

    async with services.joined_by_queue(records) as joined:
        return replace(view, waiting_for=await waiting.of_job(joined, job, view.progress))


async def read_reasons(records: Records, view: JobView) -> str:
    """Why images of a job that is over failed, commonest first: `not an image: 3 images; truncated JPEG: 1 image`.

    Empty if none failed, if the job has no tables, or if they cannot be read from here.
    """
    if not (view.progress.failed and view.job.status.is_terminal and view.job.compacted):
        return ""
    try:
        found = await asyncio.to_thread(records.lake.value_counts, "failed_images", view.job.job_id, "reason")
    except errors.Unavailable:
        return ""
    shown = [f"{reason}: {counted(number, 'image')}" for reason, number in found.most_common(MOST_REASONS)]
    if len(found) > len(shown):
        shown.append(f"{counted(len(found) - len(shown), 'more reason')} in the table failed_images")
    return "; ".join(shown)


async def read_derived(records: Records, view: JobView) -> list[str]:
    """The derived tables of a job that is over; none if there are none, or if the lake cannot be read from here."""
    if not (view.job.status.is_terminal and view.job.compacted):
        return []
    scope = paths.Scope(job=view.job.job_id)
    found = [scope.path(table) for table in paths.DERIVED_TABLES]
    try:
        # They are written all or none.
        there = await asyncio.to_thread(records.lake_folder.names, found[0].rpartition("/")[0])
    except errors.Unavailable:
        return []
    return [f"{view.lake}/{path}" for path in found] if there else []


async def read_report(records: Records, view: JobView) -> str:
    """Where the report of a job that is over is; empty if there is none, or if the lake cannot be read from here."""
    if not view.job.status.is_terminal:
        return ""
    folder, _, name = (path := paths.report(job=view.job.job_id)).rpartition("/")
    try:
        there = await asyncio.to_thread(records.lake_folder.names, folder)
    except errors.Unavailable:
        return ""
    return f"{view.lake}/{path}" if name in there else ""
