"""Import what people say detections are: all of a file, or nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology import reviews
from antenna_orchestration.ecology.reviews import Given
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing.services import Services

AHEAD: Final = timedelta(days=1)
"""How far a time may lie ahead: clocks differ, and times without a zone are taken as UTC. Further ahead, it would hold
against all that people say until then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What became of a file."""

    # Reviews in the file, and how many of them were not there before.
    reviews: int
    added: int
    # Whose tables are to be derived again.
    projects: Sequence[str]
    # What of the file is no review, for people.
    notes: Sequence[str]


def content_of(path: Path) -> bytes:
    """The bytes of a file of reviews. Raises `InvalidInput`."""
    try:
        if path.stat().st_size > reviews.MOST_BYTES:
            raise errors.InvalidInput(f"{path} is larger than {reviews.MOST_BYTES // 2**20} MB: import it in parts")
        return path.read_bytes()
    except OSError as error:
        raise errors.InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None


async def import_reviews(
    services: Services,
    content: bytes,
    *,
    name: str,
    project: str | None = None,
    job: JobId | None = None,
    reviewer: str = "",
    imported_by: str,
) -> Imported:
    """Import a Label Studio export or a CSV file; the same again adds nothing.

    `project` and `job` bound what it may name; `job` and `reviewer` hold where it names none. Raises `InvalidInput`,
    with the place in the file, when anything in it cannot be used; nothing is imported then.
    """
    if len(reviewer) > reviews.MOST_CHARACTERS or not reviewer.isprintable():
        raise errors.InvalidInput(f"a reviewer is printable text of at most {reviews.MOST_CHARACTERS} characters")
    reading = await asyncio.to_thread(reviews.read, content, name, job=job, reviewer=reviewer)
    latest = datetime.now(UTC) + AHEAD
    by_job: dict[JobId, list[Given]] = defaultdict(list)
    for given in reading.given:
        said = given.review.reviewed_at
        if said is not None and said > latest:
            raise errors.InvalidInput(f"{given.place}, reviewed_at: {said.isoformat()} lies in the future")
        if job is not None and given.review.job_id != job:
            raise errors.InvalidInput(f"{given.place}: of job {given.review.job_id}, not of job {job}")
        by_job[given.review.job_id].append(given)
    projects = {await _check(services, one, of_job, project=project) for one, of_job in by_job.items()}
    added = await services.catalog.reviews.add([given.review for given in reading.given], imported_by=imported_by)
    return Imported(reviews=len(reading.given), added=added, projects=sorted(projects), notes=reading.notes)


async def _check(services: Services, job_id: JobId, given: Sequence[Given], *, project: str | None) -> str:
    """The project of a job. Raises `InvalidInput` unless the job is of `project` and has all of these detections."""
    job = await services.catalog.jobs.find(job_id)
    # Other projects' jobs are nothing to whoever asks for one project.
    if job is None or project not in (None, job.project):
        raise errors.InvalidInput(f"{given[0].place}: there is no job {job_id}{f' in {project}' if project else ''}")
    if not await asyncio.to_thread(services.lake.has_table, "detections", job_id):
        raise errors.InvalidInput(f"{given[0].place}: job {job_id} has no tables yet; import when it has finished")
    unknown = await asyncio.to_thread(_unknown, services.lake, job_id, {one.review.detection_id for one in given})
    for one in given:
        if one.review.detection_id in unknown:
            raise errors.InvalidInput(f"{one.place}: job {job_id} has no detection {one.review.detection_id}")
    return job.project


def _unknown(lake: Lake, job_id: JobId, wanted: set[str]) -> set[str]:
    """Those of the detections that the job does not have."""
    for batch in lake.batches("detections", job_id, ["detection_id"]):
        if not wanted:
            break
        wanted = wanted.difference(batch["detection_id"].to_pylist())
    return wanted
