"""Routes that hand the results of a job to its submitters: tables as Parquet and CSV, and MegaDetector's JSON.

Everything is streamed from files of the lake, and can be read in parts and resumed. A job that is not over, or was
canceled, has its rows so far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from PIL import Image
from starlette.concurrency import run_in_threadpool

from antenna_orchestration import errors
from antenna_orchestration.answers import kept_downloads
from antenna_orchestration.answers.kept_downloads import TABLES, Kept, Readable
from antenna_orchestration.contract import models
from antenna_orchestration.dispatch import image_urls
from antenna_orchestration.domain.job import Job
from antenna_orchestration.exports import csv_tables, megadetector_of_tables
from antenna_orchestration.gateway import downloads, job_downloads
from antenna_orchestration.gateway.dependencies import JobForViewer
from antenna_orchestration.gateway.downloads import Asked, AskedByViewer
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.paths import Scope

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["results"])

Table = Literal["detections", "classifications", "captures", "failed_images"]

JSON: Final = downloads.of_file("application/json", "results in MegaDetector's batch format 1.6")

_TRIES: Final = 3
"""How often it is looked what a job has, if it ends meanwhile."""


@router.get("/jobs/{job_id}/results/", summary="List what can be read of a job")
async def list_results(asked: AskedByViewer, job: JobForViewer) -> models.ResultList:
    """Where results, derived tables and the report of a job can be read; of one that is not over, the results so far.

    409 before there is any result.
    """
    gateway = asked.gateway
    readable = await _readable(asked, job)
    of_job = gateway.settings.gateway_public_url.rstrip("/") or str(asked.request.base_url).rstrip("/")
    of_job = f"{of_job}/api/v2/jobs/{job.job_id}"
    base = f"{of_job}/results"
    found = {name: await asyncio.to_thread(readable.lake.files_of, name, job.job_id) for name in TABLES}
    tables = [
        models.ResultTable(
            name=name,
            csv=f"{base}/{name}.csv",
            parquet=[
                models.ResultFile(name=file, bytes=size, url=f"{base}/{name}/{file}") for file, size in files.items()
            ],
        )
        for name, files in found.items()
    ]
    lake = gateway.http.services.lake
    others = await run_in_threadpool(lambda: list(job_downloads.others(lake, job)))
    pending = readable.pending or 0
    return models.ResultList(
        job_id=job.job_id,
        generation=job.generation,
        is_complete=readable.is_final,
        pending=pending,
        notice=None if readable.is_final else job_downloads.notice(job, pending),
        tables=tables,
        megadetector=f"{base}/megadetector.json",
        downloads=[
            models.Download(url=f"{of_job}/{one.path}", type=one.type, what=one.what)
            for one in (*job_downloads.of_results(found), *(other for other in others if other.is_there))
        ],
        not_there=[one.how for one in others if not one.is_there],
    )


@router.get(
    "/jobs/{job_id}/results/megadetector.json/",
    summary="Read a job's results as MegaDetector's JSON",
    response_class=StreamingResponse,
    responses=JSON,
)
async def read_megadetector(
    asked: AskedByViewer,
    job: JobForViewer,
    threshold: Annotated[float, Query(ge=0, le=1)] = 0.0,
) -> StreamingResponse:
    """All images with their detections, for Timelapse, AddaxAI and others; without detections below `threshold`."""

    def size_of(url: str) -> megadetector_of_tables.Size | None:
        return _size(asked.gateway, url)

    def pieces(readable: Readable) -> Iterator[bytes]:
        return megadetector_of_tables.pieces(
            readable.lake, job, threshold=threshold, size_of=size_of, is_complete=readable.is_final
        )

    return await _made(asked, job, "megadetector.json", pieces, threshold, media_type="application/json")


@router.get(
    "/jobs/{job_id}/results/{table}.csv/",
    summary="Read a table of a job as CSV",
    response_class=StreamingResponse,
    responses=downloads.CSV,
)
async def read_csv(asked: AskedByViewer, job: JobForViewer, table: Table) -> StreamingResponse:
    """A table without the whole score vectors. Lists are JSON, times ISO 8601 in UTC."""

    def pieces(readable: Readable) -> Iterator[bytes]:
        return csv_tables.of_job(readable.lake, table, job.job_id)

    return await _made(asked, job, f"{table}.csv", pieces, media_type=downloads.CSV_TYPE)


@router.get(
    "/jobs/{job_id}/results/{table}/{file}/",
    summary="Read a Parquet file of a job's table",
    response_class=StreamingResponse,
    responses=downloads.PARQUET,
)
async def read_parquet(
    asked: AskedByViewer,
    job: JobForViewer,
    table: Table,
    file: Annotated[str, Path(max_length=100)],
) -> StreamingResponse:
    """One of the files that the list of results names. With `Range`, a part of it, so that a download can go on."""

    def tag_of(state: str) -> str:
        # A file is written once for each generation and never changed.
        return Kept.of(Scope(job=job.job_id), f"{table}/{file}", job.generation, state).tag

    readable = await _readable(asked, job, tag_of)
    size = (await asyncio.to_thread(readable.lake.files_of, table, job.job_id)).get(file)
    if size is None:
        raise errors.NotFound(f"job {job.job_id} has no file {table}/{file[:40]}; `…/results/` lists those that it has")
    stack = ExitStack()
    try:
        version = await run_in_threadpool(stack.enter_context, readable.lake.reading_table(table, job.job_id, file))
    except Missing as error:
        raise errors.Conflict("the job went on meanwhile; ask for the list of results again") from error
    return await downloads.of_version(
        asked.request,
        stack,
        version,
        tag=tag_of(readable.state),
        media_type=downloads.PARQUET_TYPE,
        name=f"job-{job.job_id}-{table}-{file}",
        pending=readable.pending or 0,
    )


async def _readable(asked: Asked, job: Job, tag_of: Callable[[str], str] | None = None) -> Readable:
    """The tables of a job, or its rows so far; those that a client goes on with, if `tag_of` their state is its tag.

    Raises `Conflict` before there are any.
    """
    services = asked.gateway.http.services
    for _ in range(_TRIES):
        if job.status.is_terminal and job.compacted:
            return await kept_downloads.final(services, job)
        begun_with = downloads.begun_with(asked.request)
        if tag_of is not None and begun_with is not None:
            wanted = partial(_has_tag, tag_of, begun_with)
            if earlier := await kept_downloads.earlier_so_far(services, job, wanted):
                return earlier
        if known := await kept_downloads.newest_so_far(services, job):
            return known
        make = partial(_so_far, asked.gateway, job)
        if made := await asked.gateway.making.once(f"job {job.job_id} so far", asked.caller.token_id, make):
            return made
        # It ended meanwhile.
        job = await services.catalog.jobs.get(job.job_id)
    raise errors.Conflict(f"job {job.job_id} began or ended while it was read: ask again in a while")


async def _so_far(gateway: Gateway, job: Job) -> Readable | None:
    services = gateway.http.services
    async with services.catalog.jobs.download_lock(f"job {job.job_id} so far"):
        # Another gateway may have written them meanwhile.
        known = await kept_downloads.newest_so_far(services, job)
        return known or await kept_downloads.make_so_far(services, job.job_id, room=gateway.room)


def _has_tag(tag_of: Callable[[str], str], tag: str, state: str) -> bool:
    return tag_of(state) == tag


async def _made(
    asked: Asked,
    job: Job,
    name: str,
    pieces: Callable[[Readable], Iterator[bytes]],
    *options: object,
    media_type: str,
) -> StreamingResponse:
    """A file that is made of the job's tables, as they are from beginning to end."""
    # Of each choice of options the newest state is kept.
    in_lake = "-".join([*map(str, options), name])

    def kept(state: str) -> Kept:
        return Kept.of(Scope(job=job.job_id), in_lake, state, *options)

    for _ in range(_TRIES):
        readable = await _readable(asked, job, lambda state: kept(state).tag)

        def made(readable: Readable = readable) -> Iterator[bytes]:
            return readable.unchanged(pieces(readable))

        try:
            return await downloads.of_kept(
                asked,
                kept(readable.state),
                made,
                media_type=media_type,
                name=f"job-{job.job_id}-{name}",
                pending=readable.pending or 0,
            )
        except kept_downloads.Changed:
            job = await asked.gateway.http.services.catalog.jobs.get(job.job_id)
    raise errors.Conflict(f"job {job.job_id} went on again and again while the file was made; ask again in a while")


def _size(gateway: Gateway, url: str) -> megadetector_of_tables.Size | None:
    """The size of a local image, from its header; None for any other."""
    path = image_urls.path_of(gateway.http, url)
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
