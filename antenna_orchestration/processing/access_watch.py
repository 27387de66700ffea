"""Whether the images that are left of a job can be loaded by any worker, as its collector sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from antenna_orchestration.domain import stalls
from antenna_orchestration.domain.job import ACTIVE, Counts, Job
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.job_log import JobLogWriter
from antenna_orchestration.processing.services import Services


class _Told(NamedTuple):
    """What the job's announcement says."""

    some_done: bool
    forbidden_since: datetime | None


class AccessWatch:
    """Follows what workers tell of a job's images, logs it, and tells all of them what only the collector knows.

    That is whether images of the job are done, so that workers fail those that none of them may load; and since when
    that is so, which a worker that comes in place of another cannot know.
    """

    def __init__(self, services: Services, job: Job, job_log: JobLogWriter) -> None:
        self._services = services
        self._job = job
        self._job_log = job_log
        # Why no worker may load what is left, and why images are tried again; empty for neither.
        self.forbidden = ""
        self.unreachable = ""
        self._since: datetime | None = None
        # Images that were open when that was last so.
        self._pending = 0
        # None until the announcement was read.
        self._told: _Told | None = None

    def waits(self, rate: float) -> str:
        """Why what is left cannot be loaded, while the job makes no progress; `rate` in images per second."""
        if self.forbidden or not self.unreachable or rate > 0:
            return self.forbidden
        return f"images are tried again ({self.unreachable})"

    async def look(self, counts: Counts) -> None:
        """Look at the heartbeats; log and announce what changed. Raises `Unavailable`.

        A worker that came or left says nothing about access: only an image that was accounted for does.
        """
        workers = await self._services.heartbeats.workers()
        self.unreachable = stalls.why_unreachable(self._job, workers)
        why = stalls.why_forbidden(self._job, workers)
        if why:
            self.forbidden, self._pending = why, counts.pending
        elif self.forbidden and counts.pending < self._pending:
            self.forbidden, self._since = "", None
        await self._job_log.tell_access(self.forbidden, self.unreachable)
        await self._tell(has_done=bool(counts.done or self._job.skipped))

    def announced_anew(self) -> None:
        """The job was announced by somebody who does not know what this does."""
        self._told = None

    async def _tell(self, *, has_done: bool) -> None:
        if not self.forbidden and self._told in (None, (True, None), (False, None)):
            return
        job = await self._services.catalog.jobs.get(self._job.job_id)
        if job.epoch is None or job.status not in ACTIVE or job.generation != self._job.generation:
            return
        if self._told is None:
            found = await self._services.announcements.find(job.job_run)
            self._told = _Told(found.some_done, found.forbidden_since) if found else _Told(False, None)
        if self.forbidden:
            # An earlier collector of the job may have begun to wait.
            self._since = self._since or self._told.forbidden_since or datetime.now(UTC)
        wanted = _Told(self._told.some_done or bool(self.forbidden and has_done), self._since)
        if wanted != self._told:
            await publish.announce(self._services, job, job.epoch, **wanted._asdict())
            self._told = wanted
