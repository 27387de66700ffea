"""Finish: turn a collected job's parts into final tables, decide its status, clean up. Each step is idempotent.

The order is: final tables, then what the caller records about them, then the status, then the clean-up. Parts are kept
until the status says that the tables hold their rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from antenna_orchestration.catalog.database import Row
from antenna_orchestration.catalog.images import PartOfImages
from antenna_orchestration.domain import nights
from antenna_orchestration.domain.job import ImageStatus, Job, JobStatus, verdict, why_empty
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology import places
from antenna_orchestration.lake import arrow, schemas
from antenna_orchestration.lake import rows as rows_module
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing import clear_queue
from antenna_orchestration.processing.collect import JobLeft
from antenna_orchestration.processing.reconcile import reconcile
from antenna_orchestration.processing.services import Services

OF_PARTS: Final = ("detections", "classifications")
"""Tables that are made from parts, beside the further ones (`schemas.FURTHER`) that only some jobs have."""

TABLES: Final = (*OF_PARTS, "captures", "failed_images")
"""Tables of a finished job, besides its manifest."""

COLLECTED: Final = frozenset({JobStatus.CLAIMED, JobStatus.RUNNING})
"""Statuses of a job whose tables may be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalTables:
    """Rows of a job's final tables, or the parts that could not be read."""

    rows: dict[str, int] = field(default_factory=dict)
    lost_parts: tuple[str, ...] = ()


async def write_manifest(services: Services, job: Job) -> int:
    """Write the job's images to the table `manifest`; returns how many they are."""
    return await _write_whole(services, "manifest", job, services.catalog.images.manifest(job.job_id))


async def write_final_tables(services: Services, job: Job) -> FinalTables:
    """Write `detections`, `classifications`, `captures` and `failed_images` of a collected job, and further tables.

    A row counts only if the catalog names its part, so parts of crashed collectors never show. If a named part cannot
    be read, its images become pending again: collect them, then call this again. If the generation's tables are final
    already, nothing is written. Raises `JobLeft` when this generation of the job is no longer to be finished.
    """
    named = await services.catalog.images.parts(job.job_id)
    earlier = await services.catalog.generations.uncompacted_before(job.job_run)
    # Read after the parts: parts are deleted on purpose only once the job is no longer active.
    current = await services.catalog.jobs.get(job.job_id)
    if current.compacted and current.generation == job.generation:
        return FinalTables(rows={name: await _count(services, name, job) for name in TABLES})
    if current.status not in COLLECTED or current.generation != job.generation:
        raise JobLeft(f"job {job.job_id} is {current.status} in generation {current.generation}")
    parts = _parts(named)
    tables, lost = await asyncio.to_thread(_tables_of_parts, services, job, parts)
    if not lost:
        try:
            for name in schemas.FURTHER:
                await _write_further(services, name, job, _having(parts, tables, name), earlier)
            rows = {name: await _write_rows(services, name, job, parts, earlier) for name in OF_PARTS}
        except PartLost as error:
            lost = [error.part]
    if lost:
        await _redo(services, job, lost)
        return FinalTables(lost_parts=tuple(lost))
    rows["captures"], rows["failed_images"] = await _write_images(services, job)
    await asyncio.to_thread(services.lake.write_current)
    return FinalTables(rows=rows)


async def write_rows_so_far(services: Services, job: Job, into: Lake) -> int:
    """Write the rows that a job has so far as final tables of another lake; returns how many images are not done yet.

    For readers of a job that is not over, or was canceled: nothing of the job changes. Raises `PartLost` when a part is
    gone, as those of a job are that has ended meanwhile.
    """
    images = services.catalog.images
    # Before the rows, so that no image lacks any of its own; those of later ones are nobody's.
    done = await _write_whole(services, "captures", job, _accounted(images.manifest(job.job_id)), into=into)
    failed = images.manifest(job.job_id, only=ImageStatus.FAILED)
    await _write_whole(services, "failed_images", job, failed, into=into)
    named = await images.parts(job.job_id)
    uncompacted = await services.catalog.generations.uncompacted_before(job.job_run)
    # What files of this generation hold, its parts hold as well.
    in_parts = {*uncompacted, job.generation}
    parts = _parts(named)

    def rows(name: str) -> Iterator[pa.Table]:
        for batch in services.lake.batches(name, job.job_id, without=in_parts):
            yield pa.Table.from_batches([batch])
        yield from _rows_of_parts(services, name, job, _having(parts, tables, name))

    tables, lost = await asyncio.to_thread(_tables_of_parts, services, job, parts)
    if lost:
        raise PartLost(lost[0])
    has = {name for found in tables.values() for name in found}
    for name in schemas.FURTHER:
        if await asyncio.to_thread(services.lake.has_table, name, job.job_id):
            has.add(name)
    for name in (*OF_PARTS, *(one for one in schemas.FURTHER if one in has)):
        await asyncio.to_thread(into.write_table, name, job.job_id, job.generation, rows(name))
        # A reader tries again when the job goes on meanwhile: its rows of then are among these.
        await asyncio.to_thread(into.drop_tables_beyond, name, job.job_id, job.generation)
    return job.total - done


async def _accounted(chunks: AsyncIterator[list[Row]]) -> AsyncIterator[list[Row]]:
    async for rows in chunks:
        if known := [row for row in rows if row["status"] != ImageStatus.PENDING]:
            yield known


class PartLost(Exception):
    """A part that the catalog names cannot be read any more."""

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.part = part


async def _count(services: Services, name: str, job: Job) -> int:
    return await asyncio.to_thread(services.lake.count_rows, name, job.job_id)


class _Part(NamedTuple):
    """What is wanted of a part: the rows of these images, and the version of the pipeline that they say."""

    images: pa.Array
    version: str | None


def _parts(named: Mapping[str, PartOfImages]) -> dict[str, _Part]:
    return {part: _Part(arrow.column(one.images, pa.int64()), one.version) for part, one in named.items()}


_TablesOfParts = Mapping[str, Sequence[str]]
"""The names of the tables that each part has."""


def _tables_of_parts(services: Services, job: Job, parts: Iterable[str]) -> tuple[_TablesOfParts, list[str]]:
    """What parts have, and those that cannot be read."""
    tables = {part: services.lake.tables_of_part(job.job_id, part, OF_PARTS) for part in parts}
    return {part: found for part, found in tables.items() if found}, [part for part in tables if not tables[part]]


def _having(parts: Mapping[str, _Part], tables: _TablesOfParts, name: str) -> dict[str, _Part]:
    """Those of the parts that have a table."""
    return {part: wanted for part, wanted in parts.items() if name in tables[part]}


async def _write_further(
    services: Services, name: str, job: Job, parts: Mapping[str, _Part], earlier: Collection[int]
) -> None:
    """Write this generation's files of a table that a job need not have; none if it has no rows of it.

    An attempt before this one may have had rows, in a part that was lost since.
    """
    stale = earlier if parts else (*earlier, job.generation)
    await _drop_generations(services, name, job, stale)
    if parts:
        rows = _rows_of_parts(services, name, job, parts)
        await asyncio.to_thread(services.lake.write_table, name, job.job_id, job.generation, rows)


async def _write_rows(
    services: Services, name: str, job: Job, parts: Mapping[str, _Part], earlier: Collection[int]
) -> int:
    """Write this generation's files of a table from the parts; returns the rows of all generations together.

    Files of an earlier generation that never became final, because it was canceled after they were written, are
    deleted: the parts from which they were made are among these. So are those of a later one, which a catalog wrote
    that was replaced by an older copy of it.
    """
    await _drop_generations(services, name, job, earlier)
    # A later generation adds files of its own. There is always one file, even if empty, so that the table exists.
    if parts or not await asyncio.to_thread(services.lake.has_table, name, job.job_id):
        await asyncio.to_thread(
            services.lake.write_table, name, job.job_id, job.generation, _rows_of_parts(services, name, job, parts)
        )
    return await _count(services, name, job)


async def _drop_generations(services: Services, name: str, job: Job, stale: Collection[int]) -> None:
    """Delete the files that these generations have in a table, and those of later ones. Raises `JobLeft`."""
    # The writing of the table before took a while, and the job may have been canceled and retried since.
    current = await services.catalog.jobs.get(job.job_id)
    if current.generation != job.generation:
        raise JobLeft(f"job {job.job_id} is {current.status} in generation {current.generation}")
    await asyncio.to_thread(services.lake.drop_generations, name, job.job_id, stale, after=job.generation)


def _rows_of_parts(services: Services, name: str, job: Job, parts: Mapping[str, _Part]) -> Iterator[pa.Table]:
    """The rows of a table that these images have in parts. Raises `PartLost`."""
    for part, wanted in parts.items():
        table = services.lake.read_part(job.job_id, part, name)
        if table is None:
            raise PartLost(part)
        own = table.filter(pc.is_in(table["image_id"], value_set=wanted.images))
        yield arrow.with_constants(own, _of_job(job, wanted.version))


async def _redo(services: Services, job: Job, lost: list[str]) -> None:
    """Make the images of lost parts pending, and publish them again."""
    for part in lost:
        images = await services.catalog.images.reset_part(job.job_run, part)
        message = f"Part {part} cannot be read; {counted(len(images), 'image of it is', 'images of it are')} done again"
        await services.catalog.job_log.add(job.job_id, "lost_part", message, level="WARNING")
    await reconcile(services, job.job_id)


async def finish_job(services: Services, job: Job) -> JobStatus:
    """Give the collected job its terminal status, and free what it holds; returns its status. Idempotent.

    Does nothing to a job with pending images, or of another generation. The ledger is written first, so that it knows
    every finished job.
    """
    counts = await services.catalog.images.count(job.job_id)
    status = verdict(total=counts.total, failed=counts.failed, threshold=services.settings.failure_threshold)
    reason = None
    if status is JobStatus.FAILURE:
        reason = f"{counts.failed} of {counted(counts.total, 'image')} failed"
    elif not counts.total:
        reason = why_empty(job.skipped)
    elif counts.failed:
        reason = f"{counts.failed} of {counted(counts.total, 'image')} failed; see the table failed_images"
    elif job.detections_of is not None and not counts.detections:
        reason = "no image has a box, so there was nothing to classify"
    await services.catalog.images.add_processed(job.job_id)
    said = f"{status}: {counts.done} done, {counts.failed} failed, {counted(counts.detections, 'detection')}"
    await services.catalog.jobs.finish(
        job.job_run,
        status,
        reason,
        collected=True,
        said=f"{said} ({reason})" if reason else said,
        level="INFO" if status is JobStatus.SUCCESS and counts.total else "WARNING",
    )
    await clean_up(services, job)
    return (await services.catalog.jobs.get(job.job_id)).status


async def clean_up(services: Services, job: Job) -> None:
    """Free what a terminal job's generation holds in the lake, on the queue and in Redis; idempotent.

    The queue comes last: the health check finds an interrupted clean-up by what the job still holds there.
    """
    current = await services.catalog.jobs.get(job.job_id)
    # A job that was canceled or given up keeps its parts: a retry continues from them.
    if current.compacted and current.generation == job.generation:
        await asyncio.to_thread(services.lake.drop_parts, job.job_id)
    await clear_queue.clear_queue(services, job)


def _of_job(job: Job, version: str | None) -> dict[str, str | None]:
    return rows_module.of_job(job.project, job.name, job.pipeline, version)


async def _write_images(services: Services, job: Job) -> tuple[int, int]:
    images = services.catalog.images
    captures = await _write_whole(services, "captures", job, images.manifest(job.job_id))
    failed = images.manifest(job.job_id, only=ImageStatus.FAILED)
    return captures, await _write_whole(services, "failed_images", job, failed)


async def _write_whole(
    services: Services, name: str, job: Job, images: AsyncIterator[list[Row]], *, into: Lake | None = None
) -> int:
    """Write a table that each generation writes as a whole, one row per image; returns its rows."""
    loop = asyncio.get_running_loop()
    lake = into or services.lake
    zone = nights.zone_named(job.time_zone)
    known = await services.catalog.deployments.places(job.project)

    def night(row: Row) -> date | None:
        place = known.get(row["deployment"])
        if row["stamp"] and place and place.zone:
            return nights.night_of_local(places.moment(row["stamp"], row["stamp_offset"], place).local_time)
        return nights.night_of(row["captured_at"], zone) if row["captured_at"] else None

    async def chunk() -> list[Row] | None:
        return await anext(images, None)

    def tables() -> Iterator[pa.Table]:
        # On the thread that writes, which waits for each chunk: no more than one is in memory.
        while rows := asyncio.run_coroutine_threadsafe(chunk(), loop).result():
            said = [{**row, **_of_job(job, row["pipeline_version"]), "night": night(row)} for row in rows]
            yield arrow.table_of_rows(schemas.TABLES[name], said)

    def write() -> int:
        rows = lake.write_table(name, job.job_id, job.generation, tables())
        lake.drop_tables_beyond(name, job.job_id, job.generation)
        return rows

    return await asyncio.to_thread(write)
