"""A job's generations: the epoch of each one's task consumer, and how far its tasks were published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.catalog.database import Database, Row
from antenna_orchestration.domain.ids import Epoch, Generation, JobId, JobRun
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.domain.messages import AlgorithmRef


class Terms(NamedTuple):
    """A pipeline as a job is bound to it; empty for a generation from before that was recorded."""

    version: str
    # In order.
    algorithms: tuple[AlgorithmRef, ...]
    # Of the pipeline and the files that the job's configuration names; None if it is not known, which fits any.
    digest: str | None = None
    # Whether workers may fetch the pipeline from the lake's store, as the project says now.
    pulls: bool = False


class Generations:
    """The generations of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def agree_on_epoch(self, job_run: JobRun, epoch: Epoch) -> Epoch:
        """The epoch of the job's task consumer: the proposed one, or the one that an earlier caller proposed.

        Raises `NotFound`.
        """
        row = await self._database.row("agree_on_epoch", **job_run._asdict(), epoch=epoch)
        if row is None:
            raise errors.NotFound(f"job {job_run.job} has no generation {job_run.generation}")
        return Epoch(row["epoch"])

    async def terms(self, job_run: JobRun) -> Terms:
        """The pipeline as it was when the generation was opened."""
        row = await self._database.row("terms_of_job", **job_run._asdict())
        if row is None or row["pipeline_version"] is None:
            return Terms("", ())
        return _terms(row)

    async def terms_of(self, jobs: Sequence[JobId]) -> dict[JobId, Terms]:
        """The same for the present generations of many jobs; without those of which it was not recorded."""
        rows = await self._database.rows("terms_of_jobs", jobs=list(jobs))
        return {JobId(row["job_id"]): _terms(row) for row in rows if row["pipeline_version"] is not None}

    async def versions(self, job_id: JobId) -> list[str]:
        """The versions of its pipeline that a job's images were processed with, in order; more than one after retries.

        That of the present generation is among them. Empty for a job from before versions were recorded.
        """
        rows = await self._database.rows("versions_of_job", job=job_id)
        return list(dict.fromkeys(row["version"] for row in rows if row["version"] is not None))

    async def replace_epoch(self, job_run: JobRun, lost: Epoch, epoch: Epoch) -> bool:
        """Replace the epoch of a lost task consumer; False when another caller has replaced it already."""
        row = await self._database.row("replace_epoch", **job_run._asdict(), lost=lost, epoch=epoch)
        return row is not None

    async def advance_cursor(self, job_run: JobRun, upto: int) -> JobStatus:
        """Raise the publishing cursor to an ordinal that JetStream has confirmed; a lower one changes nothing.

        Returns the job's present status, CANCELING for an earlier generation. Raises `NotFound`.
        """
        row = await self._database.row("advance_cursor", **job_run._asdict(), upto=upto)
        if row is None:
            raise errors.NotFound(f"job {job_run.job} has no generation {job_run.generation}")
        return JobStatus(row["status"])

    async def uncompacted_before(self, job_run: JobRun) -> set[Generation]:
        """The job's earlier generations whose rows are still in parts."""
        rows = await self._database.rows("uncompacted_generations", **job_run._asdict())
        return {Generation(row["generation"]) for row in rows}


def _terms(row: Row) -> Terms:
    algorithms = tuple(AlgorithmRef(*one) for one in row["algorithms"])
    return Terms(row["pipeline_version"], algorithms, row["digest"], row["pulls_pipelines"])
