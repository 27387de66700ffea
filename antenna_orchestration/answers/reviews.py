"""Import what people say detections are: all of a file, or nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.answers import known_projects
from antenna_orchestration.catalog.reviews import StoredReview
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology import reviews
from antenna_orchestration.ecology.reviews import Given, Reading
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing.services import Services

MOST_BYTES: Final = reviews.MOST_BYTES
"""Largest file."""

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
    # What of the file is not a review, for people.
    notes: Sequence[str]


async def import_file(
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
    with the places in the file, when anything in it cannot be used; nothing is imported then.
    """
    _check_reviewer(reviewer)
    reading = await asyncio.to_thread(reviews.read, content, name, job=job, reviewer=reviewer)
    return await _import(services, reading, name=name, project=project, job=job, imported_by=imported_by)


async def import_objects(
    services: Services,
    said: Any,
    *,
    name: str,
    project: str | None = None,
    job: JobId | None = None,
    reviewer: str = "",
    imported_by: str,
) -> Imported:
    """The same for JSON that was parsed: a Label Studio export, or objects with the columns of a CSV file."""
    _check_reviewer(reviewer)
    reading = await asyncio.to_thread(reviews.read_objects, said, name, job=job, reviewer=reviewer)
    return await _import(services, reading, name=name, project=project, job=job, imported_by=imported_by)


async def withdraw(
    services: Services,
    detections: Sequence[str],
    *,
    project: str | None = None,
    job: JobId | None = None,
    reviewer: str | None = None,
    by: str,
) -> Sequence[StoredReview]:
    """Take back what was said of detections: all that `reviewer` said, or else who said the word that counts.

    What others said counts then. All of the detections or none; returns the word of each that was withdrawn. `project`
    and `job` bound what may be named. Raises `InvalidInput` for an id that is none, `NotFound` where nothing was said.
    """
    wanted = [reviews.detection(text, job=job) for text in detections]
    return await services.catalog.reviews.withdraw(wanted, project=project, reviewer=reviewer, by=by)


async def list_reviews(
    services: Services, *, project: str | None, job: JobId | None, limit: int
) -> Sequence[StoredReview]:
    """Reviews of a project, of a job, or all, the latest first. Raises `NotFound` for one that does not exist."""
    if project is not None:
        await known_projects.require(services, project)
    if job is not None:
        await services.catalog.jobs.get(job)
    return await services.catalog.reviews.list(project=project, job=job, limit=limit)


def _check_reviewer(reviewer: str) -> None:
    if len(reviewer) > reviews.MOST_CHARACTERS or not reviewer.isprintable():
        raise errors.InvalidInput(f"a reviewer is printable text of at most {reviews.MOST_CHARACTERS} characters")


async def _import(
    services: Services, reading: Reading, *, name: str, project: str | None, job: JobId | None, imported_by: str
) -> Imported:
    latest = datetime.now(UTC) + AHEAD
    by_job: dict[JobId, list[Given]] = defaultdict(list)
    faults: list[str] = []
    for given in reading.given:
        said = given.review.reviewed_at
        if said is not None and said > latest:
            faults.append(f"{given.place}, reviewed_at: {said.isoformat()} lies in the future")
        if job is not None and given.review.job_id != job:
            faults.append(f"{given.place}: of job {given.review.job_id}, not of job {job}")
        by_job[given.review.job_id].append(given)
    projects = set()
    for job_id, of_job in by_job.items():
        found = await services.catalog.jobs.find(job_id)
        # Other projects' jobs are nothing to whoever names one project.
        if found is None or project not in (None, found.project):
            where = f" in {project}" if project else ""
            faults += [f"{given.place}: there is no job {job_id}{where}" for given in of_job]
        elif not await asyncio.to_thread(services.lake.has_table, "detections", job_id):
            faults += [f"{given.place}: job {job_id} has no tables yet; wait for its end" for given in of_job]
        else:
            wanted = {given.review.detection_id for given in of_job}
            unknown = await asyncio.to_thread(_unknown, services.lake, job_id, wanted)
            faults += [
                f"{given.place}: job {job_id} has no detection {given.review.detection_id}"
                for given in of_job
                if given.review.detection_id in unknown
            ]
            projects.add(found.project)
    if faults:
        raise errors.InvalidTable(name, faults)
    added = await services.catalog.reviews.add([given.review for given in reading.given], imported_by=imported_by)
    return Imported(reviews=len(reading.given), added=added, projects=sorted(projects), notes=reading.notes)


def _unknown(lake: Lake, job_id: JobId, wanted: set[str]) -> set[str]:
    """Those of the detections that the job does not have."""
    for batch in lake.batches("detections", job_id, ["detection_id"]):
        if not wanted:
            break
        wanted = wanted.difference(batch["detection_id"].to_pylist())
    return wanted
