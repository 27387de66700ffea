"""Routes that hand the results of a job to its submitters: tables as Parquet and CSV, and MegaDetector's JSON.

Everything is streamed. Parquet files are the lake's own, and can be read in parts and resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from PIL import Image
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from antenna_orchestration import errors
from antenna_orchestration.contract import models
from antenna_orchestration.dispatch import image_urls
from antenna_orchestration.domain.job import Job
from antenna_orchestration.exports import csv_tables, megadetector_of_tables
from antenna_orchestration.gateway import ranges
from antenna_orchestration.gateway.dependencies import JobForViewer, ThisGateway, ViewerCaller
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.store import Lake

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["results"])

TABLES: Final = ("detections", "classifications", "captures", "failed_images")

Table = Literal["detections", "classifications", "captures", "failed_images"]

BLOCK: Final = 2**20
"""Bytes of a file read and sent at a time."""

MOST_EXPORTS: Final = 4
"""MegaDetector files that a process makes at the same time: it holds the numbers of all detections for each."""

MOST_OF_ONE: Final = 2
"""Of these, those with one token: it may read slowly."""

CSV: Final = {200: {"content": {"text/csv": {}}, "description": "The table as CSV."}}
JSON: Final = {200: {"content": {"application/json": {}}, "description": "MegaDetector's batch format 1.6."}}
PARQUET: Final = {
    200: {"content": {"application/vnd.apache.parquet": {}}, "description": "The file."},
    206: {"content": {"application/vnd.apache.parquet": {}}, "description": "The bytes that `Range` asked for."},
    416: {"model": models.ErrorAnswer, "description": "The range lies beyond the file."},
}


@router.get("/jobs/{job_id}/results/", summary="List a job's results")
async def list_results(request: Request, gateway: ThisGateway, job: JobForViewer) -> models.ResultList:
    """Where the results of a job that is over can be read. 409 before."""
    _check_final(job)
    base = gateway.settings.gateway_public_url.rstrip("/") or str(request.base_url).rstrip("/")
    base = f"{base}/api/v2/jobs/{job.job_id}/results"
    lake = gateway.http.services.lake
    found = {name: await asyncio.to_thread(lake.files_of, name, job.job_id) for name in TABLES}
    return models.ResultList(
        job_id=job.job_id,
        generation=job.generation,
        tables=[
            models.ResultTable(
                name=name,
                csv=f"{base}/{name}.csv",
                parquet=[
                    models.ResultFile(name=file, bytes=size, url=f"{base}/{name}/{file}")
                    for file, size in files.items()
                ],
            )
            for name, files in found.items()
        ],
        megadetector=f"{base}/megadetector.json",
    )


@router.get(
    "/jobs/{job_id}/results/megadetector.json/",
    summary="Read a job's results as MegaDetector's JSON",
    response_class=StreamingResponse,
    responses=JSON,  # type: ignore[arg-type]
)
async def read_megadetector(
    gateway: ThisGateway, caller: ViewerCaller, job: JobForViewer, threshold: Annotated[float, Query(ge=0, le=1)] = 0.0
) -> StreamingResponse:
    """All images with their detections, for Timelapse, AddaxAI and others; without detections below `threshold`."""
    _check_final(job)

    def size_of(url: str) -> megadetector_of_tables.Size | None:
        return _size(gateway, url)

    if len(gateway.exports) >= MOST_EXPORTS or [*gateway.exports.values()].count(caller.token_id) >= MOST_OF_ONE:
        raise errors.TooMany(
            f"{MOST_EXPORTS} such files, or {MOST_OF_ONE} of this token, are being made and read; ask again in a while"
        )
    pieces = megadetector_of_tables.pieces(gateway.http.services.lake, job, threshold=threshold, size_of=size_of)
    gateway.exports[pieces] = caller.token_id
    return await _streamed(
        pieces,
        media_type="application/json",
        name=f"job-{job.job_id}-megadetector.json",
        when_over=lambda: gateway.exports.pop(pieces, None),
    )


@router.get(
    "/jobs/{job_id}/results/{table}.csv/",
    summary="Read a table of a job as CSV",
    response_class=StreamingResponse,
    responses=CSV,  # type: ignore[arg-type]
)
async def read_csv(gateway: ThisGateway, job: JobForViewer, table: Table) -> StreamingResponse:
    """A table without the whole score vectors. Lists are JSON, times ISO 8601 in UTC."""
    _check_final(job)
    lines = csv_tables.lines(gateway.http.services.lake, table, job.job_id)
    return await _streamed(lines, media_type="text/csv; charset=utf-8", name=f"job-{job.job_id}-{table}.csv")


@router.get(
    "/jobs/{job_id}/results/{table}/{file}/",
    summary="Read a Parquet file of a job's table",
    response_class=StreamingResponse,
    responses=PARQUET,  # type: ignore[arg-type]
)
async def read_parquet(
    request: Request, gateway: ThisGateway, job: JobForViewer, table: Table, file: Annotated[str, Path(max_length=100)]
) -> StreamingResponse:
    """One of the files that the list of results names. With `Range`, a part of it, so that a download can go on."""
    _check_final(job)
    lake = gateway.http.services.lake
    size = (await asyncio.to_thread(lake.files_of, table, job.job_id)).get(file)
    if size is None:
        raise errors.NotFound(f"job {job.job_id} has no file {table}/{file[:40]}; `…/results/` lists those that it has")
    # A file is written once for each generation and never changed.
    tag = f'"{job.job_id}-{job.generation}-{file}-{size}"'
    is_same = request.headers.get("if-range", tag) == tag
    part = ranges.asked_for(request.headers.get("range", ""), size) if is_same else None
    start, end = part or (0, size)
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return await _streamed(
        _blocks(lake, job, table, file, start=start, end=end),
        media_type="application/vnd.apache.parquet",
        name=f"job-{job.job_id}-{table}-{file}",
        status=200 if part is None else 206,
        headers=headers,
    )


def _check_final(job: Job) -> None:
    """Raise `Conflict` for a job whose tables are not there or will be replaced."""
    if not job.status.is_terminal:
        raise errors.Conflict(f"job {job.job_id} is {job.status}; its results can be read when it is over")
    if not job.compacted:
        raise errors.Conflict(f"job {job.job_id} is {job.status} and has no tables; retry it to get them")


def _blocks(lake: Lake, job: Job, table: str, file: str, *, start: int, end: int) -> Iterator[bytes]:
    with lake.reading_file(table, job.job_id, file) as source:
        source.seek(start)
        left = end - start
        while left > 0 and (block := source.read(min(BLOCK, left))):
            left -= len(block)
            yield block


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


async def _streamed(
    pieces: Iterator[bytes],
    *,
    media_type: str,
    name: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
    when_over: Callable[[], object] = lambda: None,
) -> StreamingResponse:
    """An answer that is sent while it is made. What goes wrong before its first piece is an ordinary error.

    `when_over` is called when it is sent or its reader is gone, though not if that never began to read.
    """
    try:
        # Not on a thread of asyncio's, which has few, and posts of results need them.
        first = await run_in_threadpool(next, pieces, b"")
    except BaseException as error:
        when_over()
        if not isinstance(error, Missing):
            raise
        raise errors.Conflict("the job was retried meanwhile; ask for the list of results again") from error

    async def whole() -> AsyncIterator[bytes]:
        try:
            yield first
            async for piece in iterate_in_threadpool(pieces):
                yield piece
        finally:
            when_over()

    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(whole(), status, headers={**disposition, **(headers or {})}, media_type=media_type)
