"""Routes that hand the results of a job to its submitters: tables as Parquet and CSV, and MegaDetector's JSON.

Everything is streamed. Parquet files are the lake's own, and can be read in parts and resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from PIL import Image

from antenna_orchestration import errors
from antenna_orchestration.contract import models
from antenna_orchestration.dispatch import image_urls
from antenna_orchestration.domain.job import Job
from antenna_orchestration.exports import csv_tables, megadetector_of_tables
from antenna_orchestration.gateway import downloads
from antenna_orchestration.gateway.dependencies import JobForViewer, ThisGateway, ViewerCaller
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.lake.store import Lake

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["results"])

TABLES: Final = ("detections", "classifications", "captures", "failed_images")

Table = Literal["detections", "classifications", "captures", "failed_images"]

MOST_EXPORTS: Final = 4
"""MegaDetector files that a process makes at the same time: it holds the numbers of all detections for each."""

MOST_OF_ONE: Final = 2
"""Of these, those with one token: it may read slowly."""

JSON: Final = {200: {"content": {"application/json": {}}, "description": "MegaDetector's batch format 1.6."}}


@router.get("/jobs/{job_id}/results/", summary="List a job's results")
async def list_results(request: Request, gateway: ThisGateway, job: JobForViewer) -> models.ResultList:
    """Where the results of a job that is over can be read. 409 before."""
    check_final(job)
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
    check_final(job)

    def size_of(url: str) -> megadetector_of_tables.Size | None:
        return _size(gateway, url)

    if len(gateway.exports) >= MOST_EXPORTS or [*gateway.exports.values()].count(caller.token_id) >= MOST_OF_ONE:
        raise errors.TooMany(
            f"{MOST_EXPORTS} such files, or {MOST_OF_ONE} of this token, are being made and read; ask again in a while"
        )
    pieces = megadetector_of_tables.pieces(gateway.http.services.lake, job, threshold=threshold, size_of=size_of)
    gateway.exports[pieces] = caller.token_id
    return await downloads.streamed(
        pieces,
        media_type="application/json",
        name=f"job-{job.job_id}-megadetector.json",
        when_over=lambda: gateway.exports.pop(pieces, None),
    )


@router.get(
    "/jobs/{job_id}/results/{table}.csv/",
    summary="Read a table of a job as CSV",
    response_class=StreamingResponse,
    responses=downloads.CSV,
)
async def read_csv(gateway: ThisGateway, job: JobForViewer, table: Table) -> StreamingResponse:
    """A table without the whole score vectors. Lists are JSON, times ISO 8601 in UTC."""
    check_final(job)
    lines = csv_tables.of_job(gateway.http.services.lake, table, job.job_id)
    return await downloads.streamed(lines, media_type=downloads.CSV_TYPE, name=f"job-{job.job_id}-{table}.csv")


@router.get(
    "/jobs/{job_id}/results/{table}/{file}/",
    summary="Read a Parquet file of a job's table",
    response_class=StreamingResponse,
    responses=downloads.PARQUET,
)
async def read_parquet(
    request: Request, gateway: ThisGateway, job: JobForViewer, table: Table, file: Annotated[str, Path(max_length=100)]
) -> StreamingResponse:
    """One of the files that the list of results names. With `Range`, a part of it, so that a download can go on."""
    check_final(job)
    lake = gateway.http.services.lake
    size = (await asyncio.to_thread(lake.files_of, table, job.job_id)).get(file)
    if size is None:
        raise errors.NotFound(f"job {job.job_id} has no file {table}/{file[:40]}; `…/results/` lists those that it has")
    # A file is written once for each generation and never changed.
    part = downloads.part_of(request, tag=f'"{job.job_id}-{job.generation}-{file}-{size}"', size=size)
    return await downloads.streamed(
        _blocks(lake, job, table, file, part),
        media_type=downloads.PARQUET_TYPE,
        name=f"job-{job.job_id}-{table}-{file}",
        status=part.status,
        headers=part.headers,
    )


def check_final(job: Job) -> None:
    """Raise `Conflict` for a job whose tables are not there or will be replaced."""
    if not job.status.is_terminal:
        raise errors.Conflict(f"job {job.job_id} is {job.status}; its results can be read when it is over")
    if not job.compacted:
        raise errors.Conflict(f"job {job.job_id} is {job.status} and has no tables; retry it to get them")


def _blocks(lake: Lake, job: Job, table: str, file: str, part: downloads.Part) -> Iterator[bytes]:
    with lake.reading_file(table, job.job_id, file) as source:
        yield from part.blocks(source)


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
