"""What people say detections are. Append-only: a later word is added, and none is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Database, value
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology.reviews import Review


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredReview:
    """A review, and how it came here."""

    project: str
    job_id: JobId
    detection_id: str
    label: str
    reviewer: str
    reviewed_at: datetime
    imported_by: str
    imported_at: datetime


class Reviews:
    """The reviews of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, reviews: Sequence[Review], *, imported_by: str) -> int:
        """Add reviews of jobs that exist, all or none. Returns how many there were not; the same again adds nothing."""
        jobs = [one.job_id for one in reviews]
        given = {
            "jobs": jobs,
            "detections": [one.detection_id for one in reviews],
            "labels": [one.label for one in reviews],
            "reviewers": [one.reviewer for one in reviews],
            "times": [one.reviewed_at for one in reviews],
        }
        async with self._database.transaction() as connection:
            # The same file twice at the same time: the second one sees what the first one added.
            await connection.execute(queries.load("lock_reviews"), {"jobs": sorted(set(jobs))})
            return int(await value(connection, "add_reviews", **given, imported_by=imported_by))

    async def of(self, project: str, *, jobs: Iterable[JobId] | None = None) -> list[Review]:
        """A project's reviews, those of all jobs or of these, in the order in which they were imported."""
        wanted = None if jobs is None else list(jobs)
        rows = await self._database.rows("reviews_in_order", project=project, jobs=wanted)
        return [Review(*row.values()) for row in rows]

    async def list(self, *, project: str | None, job: JobId | None, limit: int) -> Sequence[StoredReview]:
        """Reviews, the latest first."""
        rows = await self._database.rows("list_reviews", project=project, job=job, limit=limit)
        return [StoredReview(**row) for row in rows]
