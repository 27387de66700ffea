"""What people say detections are. Append-only: a later word is added, and none is changed.

A row without a label takes back what its reviewer said of the detection until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from antenna_orchestration import errors
from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Database, value
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology.reviews import Review, observation_id


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
    # Whether its reviewer's words on the detection were taken back after it.
    withdrawn: bool


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
        """A project's reviews that hold, those of all jobs or of these, in the order in which they were imported."""
        wanted = None if jobs is None else list(jobs)
        rows = await self._database.rows("reviews_in_order", project=project, jobs=wanted)
        return [Review(*row.values()) for row in rows]

    async def withdraw(
        self, detections: Sequence[tuple[JobId, str]], *, project: str | None, reviewer: str | None, by: str
    ) -> Sequence[StoredReview]:
        """Take back what was said of these detections, of all or none: by one reviewer, or by who said the last word.

        Returns the last word on each. Raises `NotFound` where nothing was said.
        """
        jobs = [job for job, _ in detections]
        given = {"jobs": jobs, "detections": [detection for _, detection in detections]}
        async with self._database.transaction() as connection:
            await connection.execute(queries.load("lock_reviews"), {"jobs": sorted(set(jobs))})
            rows = await connection.execute(
                queries.load("standing_reviews"), {**given, "project": project, "reviewer": reviewer}
            )
            found = [StoredReview(**row) for row in await rows.fetchall()]
            there = {(one.job_id, one.detection_id) for one in found}
            for job, detection in detections:
                if (job, detection) not in there:
                    whose = f" by {reviewer}" if reviewer else ""
                    raise errors.NotFound(
                        f"there is no review of {observation_id(job, detection)}{whose} that holds; "
                        "`antenna reviews list` shows all"
                    )
            await connection.execute(
                queries.load("withdraw_reviews"),
                {
                    "jobs": [one.job_id for one in found],
                    "detections": [one.detection_id for one in found],
                    "reviewers": [one.reviewer for one in found],
                    "by": by,
                },
            )
        return found

    async def list(self, *, project: str | None, job: JobId | None, limit: int) -> Sequence[StoredReview]:
        """Reviews, the latest first."""
        rows = await self._database.rows("list_reviews", project=project, job=job, limit=limit)
        return [StoredReview(**row) for row in rows]
