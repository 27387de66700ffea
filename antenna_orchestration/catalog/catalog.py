"""The catalog as the rest of the project sees it: a method an act, each a single guarded statement or transaction."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import psycopg
import psycopg_pool
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from antenna_orchestration import errors, settings
from antenna_orchestration.catalog import queries
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, PipelineSlug, ProjectId
from antenna_orchestration.domain.job import (
    TERMINAL,
    Counts,
    DispatchMode,
    ImageStatus,
    ImageToPublish,
    Job,
    JobStatus,
    LogLine,
    sources_of,
)

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5
"""Seconds; an unreachable host would otherwise hang for minutes."""

LOCK_PATIENCE = 120
"""Seconds that a second collector waits for the first; safety does not rest on it."""

Row = dict[str, Any]


class SubmittedImage(NamedTuple):
    """One image as it was named in a submission."""

    url: str
    captured_at: datetime | None
    deployment: str | None


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


@dataclass(frozen=True, kw_only=True, slots=True)
class AlgorithmRow:
    """An algorithm to be registered."""

    key: str
    version: str
    name: str
    task: str
    description: str
    uri: str | None
    labels: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineRow:
    """A pipeline to be registered, with its algorithms in order."""

    slug: str
    name: str
    version: str
    description: str
    default_config: Mapping[str, Any]
    algorithms: Sequence[AlgorithmRow]


class FinalJob(NamedTuple):
    """A job that is over, and which of its generations is final."""

    job_id: JobId
    generation: Generation
    images: int


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What became of one image, as the collector commits it."""

    image: ImageId
    status: str
    part: str | None
    attempts: int
    reason: str | None
    retryable: bool
    width: int | None
    height: int | None
    detections: int
    classifications: int
    worker: str


class Catalog:
    """A pool of connections to PostgreSQL. Use it as an async context manager; safe to share between tasks.

    Every method raises `Unavailable` when PostgreSQL cannot be reached; a transaction is then not applied or, if the
    connection broke at the commit, applied once: each act may be repeated.
    """

    def __init__(self, database_url: str, *, max_connections: int = 4) -> None:
        self._url = database_url
        self._pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Row]] = psycopg_pool.AsyncConnectionPool(
            database_url,
            min_size=1,
            max_size=max_connections,
            open=False,
            timeout=CONNECT_TIMEOUT,
            reconnect_timeout=2 * CONNECT_TIMEOUT,
            check=psycopg_pool.AsyncConnectionPool.check_connection,
            kwargs={
                "row_factory": dict_row,
                "connect_timeout": CONNECT_TIMEOUT,
                "application_name": "antenna",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                # Keepalives do not run while sent data waits for its acknowledgement.
                "tcp_user_timeout": 15_000,
            },
        )

    async def __aenter__(self) -> Catalog:
        # The pool would log a warning a second while it cannot connect; our error says it once.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        try:
            await self._pool.open(wait=True, timeout=CONNECT_TIMEOUT)
        except psycopg_pool.PoolTimeout as error:
            await self._pool.close()
            raise errors.Unavailable(
                f"PostgreSQL at {settings.without_password(self._url)} cannot be reached"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[psycopg.AsyncConnection[Row]]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg_pool.PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise errors.Unavailable(f"PostgreSQL: {_first_line(error)}") from error
        except (psycopg.DataError, UnicodeEncodeError) as error:
            # A zero byte, half a surrogate pair, a date before the calendar: from outside, and nothing was written.
            raise errors.InvalidInput(f"a value cannot be stored: {_first_line(error)}") from error

    async def _rows(self, query: str, **parameters: Any) -> list[Row]:
        async with self._transaction() as connection:
            cursor = await connection.execute(queries.load(query), parameters)
            return await cursor.fetchall() if cursor.description else []

    async def _row(self, query: str, **parameters: Any) -> Row | None:
        rows = await self._rows(query, **parameters)
        return rows[0] if rows else None

    # Jobs

    async def find_job(self, job: JobId) -> Job | None:
        """The job, or None."""
        row = await self._row("get_job", job=job)
        return _job(row) if row else None

    async def get_job(self, job: JobId) -> Job:
        """The job. Raises `NotFound`."""
        found = await self.find_job(job)
        if found is None:
            raise errors.NotFound(f"there is no job {job}; `antenna jobs list` shows all")
        return found

    async def list_jobs(
        self, *, statuses: Iterable[JobStatus] | None = None, project: str | None = None, limit: int = 100
    ) -> list[Job]:
        """Jobs, newest first."""
        wanted = None if statuses is None else [str(status) for status in statuses]
        return [_job(row) for row in await self._rows("list_jobs", statuses=wanted, project=project, limit=limit)]

    async def create_job(self, new: NewJob, images: Iterable[SubmittedImage]) -> JobId:
        """Write a job with all its images in one transaction: captures, deployments, job, job_images.

        100,000 images take about a second. `images` holds each URL once. Images that every algorithm of the pipeline
        has already processed are left out and counted as skipped, unless `reprocess`.
        """
        async with self._transaction() as connection:
            await connection.execute(
                "CREATE TEMPORARY TABLE submitted (ordinal bigint GENERATED ALWAYS AS IDENTITY, url text, "
                "captured_at timestamptz, deployment text) ON COMMIT DROP"
            )
            copy_in = "COPY submitted (url, captured_at, deployment) FROM STDIN"
            async with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
                for image in images:
                    await copy.write_row(image)
            await connection.execute("ANALYZE submitted")
            await connection.execute(queries.load("ensure_project"), {"slug": new.project})
            project = await _value(connection, "find_project", slug=new.project)
            await connection.execute(queries.load("ensure_deployments"), {"project": project})
            await connection.execute(queries.load("ensure_captures"), {"project": project})
            await connection.execute(
                queries.load("select_images"),
                {"project": project, "pipeline": new.pipeline, "reprocess": new.reprocess},
            )
            job = await _value(
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
            )
            await connection.execute(queries.load("insert_job_images"), {"job": job})
        return JobId(job)

    async def claim_jobs(self, limit: int, *, job: JobId | None = None) -> list[Job]:
        """Claim queued jobs for this caller alone, or just the one named; interactive and important ones first."""
        return [_job(row) for row in await self._rows("claim_jobs", limit=limit, job=job)]

    async def suspect_jobs(self, *, claimed_for: float, silent_for: float, limit: int = 100) -> list[Job]:
        """Jobs claimed for so many seconds without a start, or running with a collector silent for so many."""
        rows = await self._rows("suspect_jobs", claimed_for=claimed_for, silent_for=silent_for, limit=limit)
        return [_job(row) for row in rows]

    async def take_back_job(self, job: Job) -> int | None:
        """Raise the launch of a job whose run is gone; the number of launches without progress, or None if not ours."""
        row = await self._row("take_back_job", job=job.job_id, launch=job.launch)
        return row["stalled_launches"] if row else None

    async def start_job(self, job: JobId, generation: Generation, run_id: str) -> bool:
        """A run takes the job up; False when it is not there to be taken (canceled, finished, another generation)."""
        return await self._row("start_job", job=job, generation=generation, run_id=run_id) is not None

    async def cancel_job(self, job: JobId, reason: str) -> bool:
        """Ask for cancellation; False when the job is canceling or over already."""
        row = await self._row("cancel_job", job=job, reason=reason, **{"from": sources_of(JobStatus.CANCELING)})
        return row is not None

    async def finish_job(
        self, job: JobId, generation: Generation, status: JobStatus, reason: str | None, *, collected: bool = False
    ) -> bool:
        """Move the job into a terminal status with its final counts; False when its status does not allow that.

        With `collected` the final tables hold all its rows: refused while an image is pending, and its parts may go.
        """
        row = await self._row(
            "finish_job",
            job=job,
            generation=generation,
            status=status,
            reason=reason,
            collected=collected,
            **{"from": sources_of(status)},
        )
        return row is not None

    async def retry_job(self, job: JobId) -> tuple[Generation, int] | None:
        """Open the next generation with the failed and missing images; None when the job is not over.

        Returns the generation and how many images it holds.
        """
        row = await self._row("retry_job", job=job)
        return (Generation(row["generation"]), row["images"]) if row else None

    # Publishing

    async def open_generation(self, job: JobId, generation: Generation, epoch: Epoch) -> Epoch:
        """The epoch of the job's task consumer: the one proposed, or the one that an earlier caller proposed."""
        row = await self._row("open_generation", job=job, generation=generation, epoch=epoch)
        if row is None:
            raise errors.NotFound(f"job {job} has no generation {generation}")
        return Epoch(row["epoch"])

    async def replace_epoch(self, job: JobId, generation: Generation, lost: Epoch, epoch: Epoch) -> bool:
        """Begin a new life of the task consumer; False when somebody else has begun one."""
        row = await self._row("replace_epoch", job=job, generation=generation, lost=lost, epoch=epoch)
        return row is not None

    async def images_to_publish(
        self, job: JobId, generation: Generation, *, after: int, limit: int
    ) -> list[ImageToPublish]:
        """The next pending images after the cursor, in order."""
        wanted = {"job": job, "generation": generation, "after": after, "limit": limit}
        async with self._transaction() as connection:
            await connection.execute(queries.load("in_index_order"))
            cursor = await connection.execute(queries.load("images_to_publish"), wanted)
            return [ImageToPublish(*row.values()) for row in await cursor.fetchall()]

    async def images_by_id(self, job: JobId, generation: Generation, images: Sequence[ImageId]) -> list[ImageToPublish]:
        """Those of the given images that are still pending."""
        rows = await self._rows("images_by_id", job=job, generation=generation, images=list(images))
        return [ImageToPublish(*row.values()) for row in rows]

    async def advance_cursor(self, job: JobId, generation: Generation, upto: int) -> JobStatus:
        """Raise the cursor after JetStream's confirmations; the job's status now (CANCELING for an old generation)."""
        row = await self._row("advance_cursor", job=job, generation=generation, upto=upto)
        if row is None:
            raise errors.NotFound(f"job {job} has no generation {generation}")
        return JobStatus(row["status"])

    async def pending_images(self, job: JobId, generation: Generation, *, upto: int) -> set[ImageId]:
        """The pending images up to an ordinal."""
        rows = await self._rows("pending_images", job=job, generation=generation, upto=upto)
        return {ImageId(row["image_id"]) for row in rows}

    # Collecting

    async def commit_images(
        self, job: JobId, generation: Generation, settled: Sequence[Settled]
    ) -> dict[ImageId, ImageStatus]:
        """Commit what became of images; those that this call moved, with what they were. The others are repetitions."""
        # One JSON text: psycopg takes three times as long to write the same as arrays.
        written = msgspec.json.encode(settled).decode()
        rows = await self._rows("commit_images", job=job, generation=generation, settled=written)
        return {image: ImageStatus(row["was"]) for row in rows for image in row["images"]}

    async def count_images(self, job: JobId) -> Counts:
        """The job's images by state, counted."""
        row = await self._row("count_images", job=job)
        return Counts(**(row or {}))

    async def manifest(self, job: JobId, *, chunk: int = 20_000) -> AsyncIterator[list[Row]]:
        """All images of the job in order, a chunk at a time, so that memory stays flat."""
        async with self._transaction() as connection, connection.cursor(name="manifest") as cursor:
            await cursor.execute(queries.load("job_manifest"), {"job": job})
            while rows := await cursor.fetchmany(chunk):
                yield rows

    async def compacted_jobs(self, jobs: Iterable[JobId]) -> set[JobId]:
        """Those of the jobs that are over and whose final tables hold all their rows."""
        return {JobId(row["job_id"]) for row in await self._rows("compacted_jobs", jobs=list(jobs))}

    async def part_of_images(self, job: JobId) -> dict[str, list[ImageId]]:
        """By part, the done images whose rows it holds and no final table does yet."""
        return {row["part"]: row["images"] for row in await self._rows("part_of_images", job=job)}

    async def uncompacted_generations(self, job: JobId, generation: Generation) -> set[Generation]:
        """Generations before this one whose rows are still in parts."""
        rows = await self._rows("uncompacted_generations", job=job, generation=generation)
        return {Generation(row["generation"]) for row in rows}

    async def final_jobs(self) -> list[FinalJob]:
        """The jobs that are over and have final tables, oldest first."""
        rows = await self._rows("final_jobs", terminal=[str(status) for status in TERMINAL])
        return [FinalJob(row["job_id"], row["generation"], row["total"]) for row in rows]

    async def reset_images_of_part(self, job: JobId, generation: Generation, part: str) -> set[ImageId]:
        """Make the images of an unreadable part pending again."""
        rows = await self._rows("reset_images_of_part", job=job, generation=generation, part=part)
        return {ImageId(row["image_id"]) for row in rows}

    async def beat_collector(self, job: JobId, generation: Generation, *, run_id: str, host: str) -> None:
        """Say that the job's collector is alive."""
        await self._rows("beat_collector", job=job, generation=generation, run_id=run_id, host=host)

    async def leave_collector(self, job: JobId, generation: Generation, *, run_id: str) -> None:
        """Say that the collector left in order with its job unfinished."""
        await self._rows("leave_collector", job=job, generation=generation, run_id=run_id)

    @asynccontextmanager
    async def collector_lock(self, job: JobId) -> AsyncIterator[None]:
        """Wait until no other collector of this job is at work. Convenience, not safety: parts and guards give that."""
        connection = await self._dedicated()
        try:
            try:
                await connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_PATIENCE}s"])
                await connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"collector:{job}"])
            except psycopg.errors.LockNotAvailable:
                # Its holder may be a host that lost its power: PostgreSQL would keep the lock for hours.
                logger.warning("job %s: another collector holds the lock for %s s, going on", job, LOCK_PATIENCE)
            except psycopg.OperationalError as error:
                raise errors.Unavailable(f"PostgreSQL: {_first_line(error)}") from error
            yield
        finally:
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    @asynccontextmanager
    async def merge_lock(self) -> AsyncIterator[None]:
        """Be the only one that merges tables. Raises `Conflict` when somebody else does."""
        connection = await self._dedicated()
        try:
            try:
                taken = await connection.execute("SELECT pg_try_advisory_lock(hashtextextended('merge', 0))")
                [is_ours] = await taken.fetchone() or [False]
            except psycopg.OperationalError as error:
                raise errors.Unavailable(f"PostgreSQL: {_first_line(error)}") from error
            if not is_ours:
                raise errors.Conflict("tables are being merged already")
            yield
        finally:
            # The server notices a closed connection in its own time; who merges next should not have to wait for that.
            with contextlib.suppress(psycopg.Error):
                await connection.execute("SELECT pg_advisory_unlock_all()")
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    async def _dedicated(self) -> psycopg.AsyncConnection[Any]:
        try:
            return await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT)
        except psycopg.OperationalError as error:
            raise errors.Unavailable(f"PostgreSQL: {_first_line(error)}") from error

    async def add_processed(self, job: JobId) -> None:
        """Enter the done images of a job into the ledger of what was processed by what."""
        await self._rows("add_processed", job=job)

    # The log of a job

    async def log(self, job: JobId, action: str, message: str, *, level: str = "INFO", **details: Any) -> None:
        """Add a line to the job's log."""
        await self._rows("add_log", job=job, level=level, action=action, message=message, details=Jsonb(details))

    async def read_log(self, job: JobId, *, after: int = 0, limit: int = 5_000) -> list[tuple[int, LogLine]]:
        """Lines of the job's log with their ids, after one already seen."""
        rows = await self._rows("read_log", job=job, after=after, limit=limit)
        return [(row.pop("log_id"), LogLine(**row)) for row in rows]

    async def prune_log(self, before: datetime) -> int:
        """Delete the lines of jobs that are over from before a moment; how many."""
        row = await self._row("prune_log", before=before)
        return int(row["lines"]) if row else 0

    # Pipelines

    async def register_pipeline(self, pipeline: PipelineRow) -> None:
        """Register a pipeline with its algorithms; again is fine.

        Raises `Conflict` when an algorithm of the same key and version is known with other labels.
        """
        async with self._transaction() as connection:
            ids: list[int] = []
            for algorithm in pipeline.algorithms:
                labels = list(algorithm.labels)
                sha256 = hashlib.sha256(json.dumps(labels).encode()).hexdigest()
                cursor = await connection.execute(
                    queries.load("register_algorithm"),
                    {
                        "key": algorithm.key,
                        "version": algorithm.version,
                        "name": algorithm.name,
                        "task": algorithm.task,
                        "description": algorithm.description,
                        "uri": algorithm.uri,
                        "labels": Jsonb(labels),
                        "labels_sha256": sha256,
                    },
                )
                row = await cursor.fetchone()
                if row is None or row["labels_sha256"] != sha256:
                    raise errors.Conflict(
                        f"algorithm {algorithm.key} version {algorithm.version} is registered with other labels; "
                        "give the new labels a new version"
                    )
                ids.append(row["algorithm_id"])
            await connection.execute(
                queries.load("register_pipeline"),
                {
                    "slug": pipeline.slug,
                    "name": pipeline.name,
                    "version": pipeline.version,
                    "description": pipeline.description,
                    "default_config": Jsonb(dict(pipeline.default_config)),
                },
            )
            await connection.execute(
                queries.load("register_pipeline_algorithms"), {"slug": pipeline.slug, "algorithms": ids}
            )


async def _value(connection: psycopg.AsyncConnection[Row], query: str, **parameters: Any) -> Any:
    """The first column of a statement that returns one row."""
    row = await (await connection.execute(queries.load(query), parameters)).fetchone()
    if row is None:
        raise errors.InternalError(f"{query} returned no row")
    return next(iter(row.values()))


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
        created_at=row["created_at"],
        claimed_at=row["claimed_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
