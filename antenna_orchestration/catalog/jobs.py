"""Jobs: created with their images, claimed, started, canceled, finished and retried.

Which status may follow which is in `domain/job.py`; the statements take their guards from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg.types.json import Jsonb

from antenna_orchestration import errors
from antenna_orchestration.catalog import job_log, queries
from antenna_orchestration.catalog.database import Connection, Database, Row, all_rows, one_row, value
from antenna_orchestration.catalog.deletions import Deletions
from antenna_orchestration.catalog.pipelines import check_bound
from antenna_orchestration.catalog.sources import SourceClaim, claim_files
from antenna_orchestration.domain import nights
from antenna_orchestration.domain.access import check_interactive
from antenna_orchestration.domain.ids import Epoch, Generation, JobId, JobRun, PipelineSlug, ProjectId
from antenna_orchestration.domain.job import TERMINAL, DispatchMode, Job, JobStatus, sources_of, why_empty
from antenna_orchestration.domain.texts import counted

NEW_JOBS: Final = "antenna_new_jobs"
"""The channel of PostgreSQL on which the commit of a job that is queued is told."""


class SubmittedImage(NamedTuple):
    """One image as it was named in a submission."""

    uri: str
    # In UTC; digits without a zone count as UTC where the deployment's is not known.
    captured_at: datetime | None
    deployment: str | None
    # Which bytes the URI stands for, as `domain/versions.py` writes it; empty where that is not known.
    version: str = ""
    # When these bytes came to be, as the store says; versions of local files say it themselves. It decides whether
    # a capture of an unknown version is this one.
    modified_at: datetime | None = None
    # The URI to load where it is not `uri`: with a signature, which is not part of the identity.
    link: str | None = None
    # The digits that the file, its name or a list has, without a zone, and how many minutes east of UTC they are; None
    # if nothing says so.
    stamp: datetime | None = None
    stamp_offset: int | None = None
    # Whether the digits are those of the name, and the file, which may say their zone, was not opened.
    is_of_name: bool = False
    # Boxes of another job to classify, as `domain/given_boxes.py` packs them; None if a detector is to look for them.
    boxes: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KindOfJobs:
    """Jobs of one project, pipeline and kind of images."""

    # The oldest of them.
    job: Job
    jobs: int
    # Those that were processed among them.
    images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """What a submission asks for."""

    project: str
    name: str
    pipeline: PipelineSlug
    config: Mapping[str, Any]
    config_hash: str
    priority: int
    interactive: bool
    reprocess: bool
    duplicates: int
    source_kinds: Sequence[str]
    # None takes the project's.
    dispatch_mode: DispatchMode | None = None
    # Who submits it, for people.
    created_by: str | None = None
    # At whose noon its nights are cut.
    time_zone: str = nights.UTC_NAME
    # How many interactive jobs of its project may be under way, this one among them; None for any number.
    most_interactive: int | None = None
    # The job whose boxes its images carry.
    detections_of: JobId | None = None
    # By when its results are wanted.
    due_at: datetime | None = None
    # Of the pipeline and the files that `config` names; None if it is not known. Not for jobs that are pushed.
    digest: str | None = None
    # Of the pipeline's version alone, as `Pipelines.bind` gave it; None: the version is bound to nothing.
    of_version: str | None = None
    # The files of a watched source that its images are.
    claim: SourceClaim | None = None
    # Whether the images' deployments are what the catalog said a moment ago, so that no other is to be made.
    deployments_are_known: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPage:
    """One page of jobs, and how many jobs match in all."""

    jobs: Sequence[Job]
    matching: int


class FinalJob(NamedTuple):
    """A job that is over, and which of its generations is final."""

    job_id: JobId
    generation: Generation
    images: int
    # What its tables say of it in each row.
    project: str
    name: str
    pipeline: str
    pipeline_version: str | None


class KeptDeployment(NamedTuple):
    """Images of a submission that were skipped, while their results are of another deployment than the one said."""

    has: str
    said: str
    images: int


class _Kinds(NamedTuple):
    """Whether any submitted image has a known version, an unknown one, and a time that only its name says."""

    known: bool
    unknown: bool
    of_name: bool


class Jobs:
    """The jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, job_id: JobId) -> Job | None:
        """The job, or None."""
        row = await self._database.row("get_job", job=job_id)
        return _job(row) if row else None

    async def get(self, job_id: JobId) -> Job:
        """The job. Raises `NotFound`."""
        found = await self.find(job_id)
        if found is None:
            if deleted := await Deletions(self._database).find(job_id):
                raise errors.NotFound(deleted.said)
            raise errors.NotFound(f"there is no job {job_id}; `antenna jobs list` shows all")
        return found

    async def list(
        self, *, statuses: Iterable[JobStatus] | None = None, project: str | None = None, limit: int = 100
    ) -> Sequence[Job]:
        """Jobs, newest first."""
        wanted = None if statuses is None else [str(status) for status in statuses]
        rows = await self._database.rows("list_jobs", statuses=wanted, project=project, limit=limit)
        return [_job(row) for row in rows]

    async def page(
        self,
        *,
        projects: Iterable[ProjectId] | None,
        project: str | None = None,
        statuses: Iterable[JobStatus] | None = None,
        pipelines: Iterable[str] | None = None,
        dispatch_mode: str | None = None,
        search: str | None = None,
        deployment: str | None = None,
        created_by: str | None = None,
        cutoff_hours: int,
        oldest_first: bool = False,
        limit: int,
        offset: int = 0,
    ) -> JobPage:
        """One page of the matching jobs of `projects` (None: of all). `deployment` is a number or a name.

        Failed jobs are left out `cutoff_hours` after they finished.
        """
        rows = await self._database.rows(
            "page_of_jobs",
            projects=None if projects is None else list(projects),
            project=project,
            statuses=None if statuses is None else [str(status) for status in statuses],
            pipelines=None if pipelines is None else list(pipelines),
            dispatch_mode=dispatch_mode,
            search=search,
            deployment=deployment,
            created_by=created_by,
            cutoff_hours=cutoff_hours,
            oldest_first=oldest_first,
            limit=limit,
            offset=offset,
        )
        return JobPage(jobs=[_job(row) for row in rows], matching=rows[0]["matching"] if rows else 0)

    async def active(self, *, deployment: str | None, created_by: str | None) -> set[JobId]:
        """The jobs under way with images of a deployment, by number or name, or of a submitter."""
        rows = await self._database.rows("active_jobs", deployment=deployment, created_by=created_by)
        return {JobId(row["job_id"]) for row in rows}

    async def deployments_of(self, jobs: Iterable[JobId]) -> dict[JobId, Sequence[str]]:
        """The names of the deployments of each of the jobs, in order; those without any are left out."""
        rows = await self._database.rows("deployments_of_jobs", jobs=list(jobs))
        return {JobId(row["job_id"]): row["names"] for row in rows}

    async def projects_of(self, jobs: Iterable[JobId]) -> dict[JobId, ProjectId]:
        """The project of each of the jobs."""
        rows = await self._database.rows("projects_of_jobs", jobs=list(jobs))
        return {JobId(row["job_id"]): ProjectId(row["project_id"]) for row in rows}

    async def create(
        self,
        new: NewJob,
        images: Iterable[SubmittedImage],
        *,
        told: Callable[[Sequence[KeptDeployment]], None] = lambda kept: None,
        first_line: Callable[[int], str] | None = None,
    ) -> JobId:
        """Create a job with all its images in one transaction: captures, deployments, job, job_images.

        100,000 images take about a second. `images` holds each URL once. A URL with another version is another capture;
        one without a version is the newest capture of its URL. Images that every algorithm of the pipeline has already
        processed, as part of a pipeline of the same digest, are left out and counted as skipped, unless `reprocess` is
        set; a job without any other is a SUCCESS from its beginning. Time and deployment of each image, and version,
        algorithms and digest of the pipeline, are the job's from then on. `told` is told of images that are left out
        and whose results are of another deployment than the one said. `first_line` says how its log begins, of how many
        images it has: whoever claims the job writes the next line. Raises, with nothing written, `Conflict` for an
        interactive job beyond `most_interactive`, files of a source that another process has claimed, or a deployment
        that was renamed meanwhile, and `OtherVersion` if the version is not of the digest `of_version`.
        """
        async with self._database.transaction() as connection:
            # Another submission of the same photographs is waited for, and a million of them take a while.
            await connection.execute("SET LOCAL lock_timeout = 0")
            kinds = await _copy_submitted(connection, images)
            await connection.execute(queries.load("ensure_project"), {"slug": new.project})
            project = await value(connection, "find_project", slug=new.project)
            if new.interactive and new.most_interactive is not None:
                await connection.execute(queries.load("lock_project"), {"project": project})
                found = await value(connection, "count_interactive", project=project)
                check_interactive(found, new.most_interactive)
            if not new.deployments_are_known:
                await connection.execute(queries.load("ensure_deployments"), {"project": project})
            if gone := await all_rows(connection, "hold_deployments", project=project):
                raise errors.Conflict(
                    f"there is no deployment {gone[0]['name']} any more: it was renamed or deleted meanwhile"
                )
            if kinds.known:
                await connection.execute(queries.load("adopt_versions"), {"project": project})
            if kinds.unknown:
                await connection.execute(queries.load("assume_versions"), {"project": project})
            if kinds.of_name:
                await connection.execute(queries.load("keep_zones"), {"project": project})
            await connection.execute(queries.load("ensure_captures"), {"project": project})
            terms = await one_row(
                connection,
                "pipeline_now",
                pipeline=new.pipeline,
                project=project,
                dispatch_mode=new.dispatch_mode,
                digest=new.digest,
            )
            await check_bound(connection, new.pipeline, terms["version"], new.of_version)
            await connection.execute(
                queries.load("select_images" if new.detections_of is None else "select_images_with_boxes"),
                {
                    "project": project,
                    "reprocess": new.reprocess,
                    "detections_of": new.detections_of,
                    "pipeline": new.pipeline,
                    **terms,
                },
            )
            inserted = await one_row(
                connection,
                "insert_job",
                project=project,
                name=new.name,
                pipeline=new.pipeline,
                config=Jsonb(dict(new.config)),
                config_hash=new.config_hash,
                priority=new.priority,
                interactive=new.interactive,
                duplicates=new.duplicates,
                source_kinds=list(new.source_kinds),
                dispatch_mode=new.dispatch_mode,
                created_by=new.created_by,
                time_zone=new.time_zone,
                version=terms["version"],
                detections_of=new.detections_of,
                due_at=new.due_at,
            )
            job_id = JobId(inserted["job_id"])
            if first_line is not None:
                said = job_log.line(job_id, "submitted", first_line(inserted["total"]), by=new.created_by or "")
                await connection.execute(queries.load("add_log"), said)
            if new.claim is not None:
                await claim_files(connection, job_id, new.claim)
            await connection.execute(
                queries.load("insert_job_images"), {"job": job_id, "detections_of": new.detections_of, **terms}
            )
            if inserted["skipped"] and new.detections_of is None:
                of_pipeline = {"project": project, "pipeline": new.pipeline, **terms}
                kept = await connection.execute(queries.load("skipped_elsewhere"), of_pipeline)
                told([KeptDeployment(**row) for row in await kept.fetchall()])
            if not inserted["total"]:
                reason = why_empty(inserted["skipped"])
                await connection.execute(queries.load("end_empty_job"), {"job": job_id, "reason": reason})
                ended = job_log.line(job_id, "finished", f"{JobStatus.SUCCESS}: {reason}")
                await connection.execute(queries.load("add_log"), ended)
            else:
                await connection.execute(f"NOTIFY {NEW_JOBS}")
        return job_id

    async def claim(self, limit: int, *, job_id: JobId | None = None) -> Sequence[Job]:
        """Claim queued jobs for this caller alone, or only the one named: interactive ones first, then by priority."""
        return [_job(row) for row in await self._database.rows("claim_jobs", limit=limit, job=job_id)]

    async def suspects(
        self,
        *,
        claimed_for: float,
        silent_for: float,
        awaiting: bool = False,
        job_id: JobId | None = None,
        limit: int = 100,
    ) -> Sequence[Job]:
        """Jobs that nobody seems to work on, or only the one named.

        They were claimed `claimed_for` seconds ago and have not started, or they are running and their collector has
        been silent for `silent_for` seconds; with `awaiting` also those that `awaiting_results` returns.
        """
        rows = await self._database.rows(
            "suspect_jobs", claimed_for=claimed_for, silent_for=silent_for, awaiting=awaiting, job=job_id, limit=limit
        )
        return [_job(row) for row in rows]

    async def awaiting_results(self, limit: int = 1000) -> Sequence[Job]:
        """Running jobs whose collector left because there was nothing to collect, and that were not launched since."""
        return [_job(row) for row in await self._database.rows("awaiting_jobs", limit=limit)]

    async def ended_untold(self, *, statuses: Iterable[JobStatus], since: datetime, limit: int) -> Sequence[Job]:
        """Jobs that ended since a moment, a day ago at most, and of which no alert was made."""
        wanted = [str(status) for status in statuses]
        return [
            _job(row) for row in await self._database.rows("jobs_that_ended", statuses=wanted, since=since, limit=limit)
        ]

    async def by_id(self, jobs: Iterable[JobId]) -> dict[JobId, Job]:
        """Those of the jobs that exist."""
        found = [_job(row) for row in await self._database.rows("jobs_by_id", jobs=list(jobs))]
        return {job.job_id: job for job in found}

    async def oldest_active(self, limit: int) -> Sequence[KindOfJobs]:
        """The jobs that are not over, by what decides which workers may serve them; the oldest first."""
        rows = await self._database.rows("oldest_active_jobs", limit=limit)
        return [
            KindOfJobs(job=_job(row), jobs=int(row["jobs_of_kind"]), images=int(row["images_of_kind"])) for row in rows
        ]

    async def take_back(self, job: Job) -> int | None:
        """Raise the launch number of a job whose run is gone.

        Returns the number of launches without progress, or None when another caller has taken it back.
        """
        row = await self._database.row("take_back_job", job=job.job_id, launch=job.launch)
        return row["stalled_launches"] if row else None

    async def start(self, job_run: JobRun, run_id: str, *, launch: int | None = None) -> bool:
        """Record the run that works on the job; False when the job is canceled, over or in another generation.

        With `launch`, also False when the job was launched again since.
        """
        started = await self._database.row("start_job", **job_run._asdict(), run_id=run_id, launch=launch)
        return started is not None

    async def cancel(self, job_id: JobId, reason: str, *, by: str = "") -> bool:
        """Ask for cancellation; False when the job is being canceled or over already. `by` is who asks, for its log."""
        return await self._move(
            "cancel_job",
            JobStatus.CANCELING,
            job_log.line(job_id, "canceling", f"Canceling: {reason}", by=by),
            reason=reason,
        )

    async def cancel_with_run(self, job: Job, reason: str, *, by: str = "") -> bool:
        """Ask for cancellation because the run in charge of `job`, as it was read, was terminated; `by` as in `cancel`.

        False when no image is pending, when another run has taken the job up since, or when it is over.
        """
        return await self._move(
            "cancel_job_of_run",
            JobStatus.CANCELING,
            job_log.line(job.job_id, "canceling", f"Canceling: {reason}", by=by),
            generation=job.generation,
            launch=job.launch,
            run_id=job.run_id,
            reason=reason,
        )

    async def finish(
        self,
        job_run: JobRun,
        status: JobStatus,
        reason: str | None,
        *,
        collected: bool = False,
        said: str = "",
        level: str = "INFO",
    ) -> bool:
        """Move the job into a terminal status with its final counts; False when its status does not allow that.

        `collected` says that the final tables hold all its rows. Then the act is refused while an image is pending, and
        the job's parts may be deleted afterwards. `said` is what its log says of it, with this level.
        """
        action = "canceled" if status is JobStatus.CANCELED else "finished"
        return await self._move(
            "finish_job",
            status,
            job_log.line(job_run.job, action, said or str(status), level=level),
            generation=job_run.generation,
            status=status,
            reason=reason,
            collected=collected,
        )

    async def _move(self, query: str, status: JobStatus, line: dict[str, Any], /, **parameters: Any) -> bool:
        """Move a job into a status, if its own allows that, and write the line into its log with it.

        In one transaction: whoever sees the status may write the next line.
        """
        async with self._database.transaction() as connection:
            moved = await connection.execute(
                queries.load(query), {"job": line["job"], "from": sources_of(status), **parameters}
            )
            if await moved.fetchone() is None:
                return False
            await connection.execute(queries.load("add_log"), line)
        return True

    async def retry(
        self,
        job_id: JobId,
        *,
        by: str = "",
        digest: str | None = None,
        of_version: str | None = None,
        most_interactive: int | None = None,
    ) -> tuple[Generation, int] | None:
        """Open the next generation with the failed and missing images; None when the job is not over.

        The pipeline is the one that there is now; `digest`, `of_version` and `most_interactive` as in `NewJob`. `by` is
        who asked for it, for the job's log.

        Returns the generation, and how many images it holds. Raises, with nothing written, `OtherVersion` and
        `Conflict` as `create` does.
        """
        async with self._database.transaction() as connection:
            project = None
            if most_interactive is not None:
                # Before the job's row, as a deletion does.
                locked = await connection.execute(queries.load("lock_project_of_interactive"), {"job": job_id})
                project = await locked.fetchone()
            cursor = await connection.execute(queries.load("retry_job"), {"job": job_id, "digest": digest})
            row = await cursor.fetchone()
            if row is None:
                return None
            await check_bound(connection, row["pipeline"], row["version"], of_version)
            if project is not None and most_interactive is not None:
                # This one among them.
                found = await value(connection, "count_interactive", project=project["project_id"])
                check_interactive(found - 1, most_interactive)
            said = f"Retrying {counted(row['images'], 'image')} as generation {row['generation']}"
            await connection.execute(queries.load("add_log"), job_log.line(job_id, "retried", said, by=by))
            await connection.execute(f"NOTIFY {NEW_JOBS}")
        return Generation(row["generation"]), row["images"]

    async def compacted(self, jobs: Iterable[JobId]) -> set[JobId]:
        """Those of the jobs that are over and whose final tables hold all their rows."""
        return {JobId(row["job_id"]) for row in await self._database.rows("compacted_jobs", jobs=list(jobs))}

    async def over_before(self, jobs: Iterable[JobId], before: datetime) -> dict[JobId, bool]:
        """Whether each of those jobs that are known has been over since before a moment."""
        rows = await self._database.rows("over_before", jobs=list(jobs), before=before)
        return {JobId(row["job_id"]): row["is_old"] for row in rows}

    async def final(self, *, project: str | None = None) -> Sequence[FinalJob]:
        """The jobs that are over and have final tables, all or those of a project (its slug), oldest first."""
        rows = await self._database.rows("final_jobs", terminal=[str(status) for status in TERMINAL], project=project)
        return [FinalJob(*row.values()) for row in rows]

    @asynccontextmanager
    async def merge_lock(self) -> AsyncIterator[None]:
        """Be the only one that merges the tables of final jobs. Raises `Conflict` when another process does."""
        async with self._database.only_one("merge") as is_ours:
            if not is_ours:
                raise errors.Conflict("tables are being merged already")
            yield

    async def highest(self) -> int:
        """The highest number that was given to a job, deleted ones among them; 0 if none was."""
        row = await self._database.row("highest_job")
        return int(row["job"]) if row else 0

    async def number_after(self, job_id: JobId) -> None:
        """Number new jobs after this one at the earliest."""
        await self._database.rows("number_jobs_after", job=job_id)

    async def is_deriving(self, whose: str) -> bool:
        """Whether a process holds the `derivation_lock` of a job or project."""
        async with self._database.transaction() as connection:
            return bool(await value(connection, "is_locked", key=_derivation(whose)))

    @asynccontextmanager
    async def derivation_lock(self, whose: str) -> AsyncIterator[None]:
        """Be the only one that derives the tables of a job or project, such as `job 42`.

        Waits for another one, two minutes at most. Raises `Conflict` if that is not over then.
        """
        refusal = f"the tables of {whose} are being derived by another process; derive again when that is over"
        async with self._database.lock(
            _derivation(whose), f"{whose}: waiting for another process that derives", refusal
        ):
            yield

    @asynccontextmanager
    async def download_lock(self, what: str) -> AsyncIterator[None]:
        """Be the only one that makes a file to download; as `derivation_lock`."""
        refusal = f"{what} is being made by another gateway; ask again in a while"
        async with self._database.lock(
            f"download:{what}", f"{what}: waiting for another gateway that makes it", refusal
        ):
            yield


def _derivation(whose: str) -> str:
    """What the lock of a derivation is called."""
    return f"derive:{whose}"


async def _copy_submitted(connection: Connection, images: Iterable[SubmittedImage]) -> _Kinds:
    """Fill the temporary table `submitted` that the statements of a submission read."""
    known = unknown = of_name = False
    await connection.execute(
        "CREATE TEMPORARY TABLE submitted (ordinal bigint GENERATED ALWAYS AS IDENTITY, url text, "
        "captured_at timestamptz, deployment text, version text, modified_at timestamptz, link text, stamp timestamp, "
        "stamp_offset smallint, is_of_name boolean, boxes bytea) ON COMMIT DROP"
    )
    copy_in = (
        "COPY submitted (url, captured_at, deployment, version, modified_at, link, stamp, stamp_offset, is_of_name, "
        "boxes) FROM STDIN"
    )
    async with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        for image in images:
            known, unknown = known or bool(image.version), unknown or not image.version
            of_name = of_name or image.is_of_name
            await copy.write_row(image)
    await connection.execute("ANALYZE submitted")
    return _Kinds(known, unknown, of_name)


def _job(row: Row) -> Job:
    return Job(
        job_id=JobId(row["job_id"]),
        project_id=ProjectId(row["project_id"]),
        project=row["project"],
        name=row["name"],
        pipeline=PipelineSlug(row["pipeline"]),
        config=row["config"],
        config_hash=row["config_hash"],
        status=JobStatus(row["status"]),
        generation=Generation(row["generation"]),
        launch=row["launch"],
        epoch=Epoch(row["epoch"]) if row["epoch"] else None,
        published_upto=row["published_upto"],
        compacted=row["compacted"] or False,
        priority=row["priority"],
        interactive=row["interactive"],
        dispatch_mode=DispatchMode(row["dispatch_mode"]),
        total=row["total"],
        skipped=row["skipped"],
        duplicates=row["duplicates"],
        source_kinds=tuple(row["source_kinds"]),
        run_id=row["run_id"],
        status_reason=row["status_reason"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        claimed_at=row["claimed_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        pipeline_version=row["pipeline_version"],
        time_zone=row["time_zone"],
        detections_of=JobId(row["detections_of"]) if row["detections_of"] else None,
        due_at=row["due_at"],
    )
