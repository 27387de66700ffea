"""Files as answers, of which parts can be asked for, so that a broken download can go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Annotated, Any, Final, NamedTuple

from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from antenna_orchestration import errors
from antenna_orchestration.answers import kept_downloads
from antenna_orchestration.answers.kept_downloads import Kept
from antenna_orchestration.contract import models
from antenna_orchestration.domain.access import Token
from antenna_orchestration.gateway import ranges
from antenna_orchestration.gateway.dependencies import ThisGateway, ViewerCaller
from antenna_orchestration.gateway.middleware import HEAD
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.lake.folder import Missing, Version

BLOCK: Final = 2**20
"""Bytes of a file read and sent at a time."""

CSV_KIND: Final = "text/csv"
CSV_TYPE: Final = f"{CSV_KIND}; charset=utf-8"
PARQUET_TYPE: Final = "application/vnd.apache.parquet"

PENDING: Final = "Antenna-Images-Pending"
"""The header that says how many images of a job have no result yet, and so no row in what is read."""

_TRIES: Final = 3
"""How often a file is made that is gone before it is opened."""


def of_file(media_type: str, what: str = "file") -> dict[int | str, dict[str, Any]]:
    """The answers of a route that hands out a file, or a part of it, for the gateway's document."""
    return {
        200: {"content": {media_type: {}}, "description": f"The {what}."},
        206: {"content": {media_type: {}}, "description": "The bytes that `Range` asked for."},
        416: {"model": models.ErrorAnswer, "description": f"The range lies beyond the {what}."},
    }


PARQUET: Final = of_file(PARQUET_TYPE)

CSV: Final = of_file(CSV_KIND, "table as CSV")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The bytes of a file that an answer has, from `start` to before `end`."""

    start: int
    end: int
    status: int
    headers: dict[str, str]

    def blocks(self, source: IO[bytes]) -> Iterator[bytes]:
        """The part of the open file. Blocks."""
        source.seek(self.start)
        left = self.end - self.start
        while left > 0 and (block := source.read(min(BLOCK, left))):
            left -= len(block)
            yield block


def part_of(request: Request, *, tag: str, size: int, only_if_same: bool = False) -> Part:
    """What a request asks for of a file: a part with `Range`, unless `If-Range` names another version than `tag`.

    With `only_if_same` also unless `If-Range` names this one. Raises `RangeNotSatisfiable`.
    """
    is_same = request.headers.get("if-range", "" if only_if_same else tag) == tag
    part = ranges.asked_for(request.headers.get("range", ""), size) if is_same else None
    start, end = part or (0, size)
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Part(start=start, end=end, status=200 if part is None else 206, headers=headers)


def begun_with(request: Request) -> str | None:
    """The tag of the file of which a client has a part and wants another."""
    begun = request.headers.get("if-range", "") if "range" in request.headers else ""
    return begun[1:-1] if len(begun) > 1 and begun[0] == begun[-1] == '"' else None


def _is_known(request: Request, tag: str) -> bool:
    """Whether the client has this version (`If-None-Match`)."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in known.split(","))


async def of_version(
    request: Request,
    stack: ExitStack,
    version: Version,
    *,
    tag: str,
    media_type: str,
    name: str,
    disposition: str = "attachment",
    pending: int = 0,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """An answer with an open file, or a part of it; `stack` is closed when it is sent, or its reader is gone.

    `pending` images lack in the file, which is another one soon: a part of it is for those alone who say which one they
    have begun with. Raises `RangeNotSatisfiable`.
    """
    quoted = f'"{tag}"'
    more = {
        "Content-Disposition": f'{disposition}; filename="{name}"',
        **({PENDING: str(pending)} if pending else {}),
        **(headers or {}),
    }
    if _is_known(request, quoted):
        stack.close()
        return StreamingResponse(iter(()), 304, {"ETag": quoted, **more})
    try:
        part = part_of(request, tag=quoted, size=version.size, only_if_same=pending > 0)
    except errors.RangeNotSatisfiable:
        stack.close()
        raise
    if request.scope["state"].get(HEAD):
        stack.close()
        return StreamingResponse(iter(()), part.status, {**part.headers, **more}, media_type=media_type)
    return await streamed(
        closing(stack, part.blocks(version.file)),
        media_type=media_type,
        status=part.status,
        headers={**part.headers, **more},
        when_over=stack.close,
    )


class Asked(NamedTuple):
    """A request for a file that may have to be made, and whose it is."""

    request: Request
    gateway: Gateway
    caller: Token


async def _asked(request: Request, gateway: ThisGateway, caller: ViewerCaller) -> Asked:
    return Asked(request, gateway, caller)


AskedByViewer = Annotated[Asked, Depends(_asked)]
"""The request of a `ViewerCaller`."""


async def of_kept(
    asked: Asked,
    kept: Kept,
    pieces: Callable[[], Iterator[bytes]],
    *,
    media_type: str,
    name: str,
    pending: int = 0,
) -> StreamingResponse:
    """An answer with a file that is made of `pieces` if it is not there yet, or a part of it.

    Raises what the pieces do, `TooMany`, `RangeNotSatisfiable`, and `Unavailable`.
    """
    gateway = asked.gateway
    lake = gateway.http.services.lake

    async def make() -> None:
        async with gateway.http.services.catalog.jobs.download_lock(kept.path):
            # Another gateway may have made it meanwhile.
            if not await run_in_threadpool(kept_downloads.is_there, lake, kept):
                await run_in_threadpool(
                    kept_downloads.make,
                    lake,
                    kept,
                    pieces(),
                    room=gateway.room,
                    stop=gateway.making.stop,
                )

    for _ in range(_TRIES):
        stack = ExitStack()
        try:
            version = await run_in_threadpool(stack.enter_context, lake.reading_version(kept.path))
        except Missing:
            await gateway.making.once(kept.path, asked.caller.token_id, make)
            continue
        return await of_version(
            asked.request, stack, version, tag=kept.tag, media_type=media_type, name=name, pending=pending
        )
    raise errors.TooMany("files to download are made and dropped again and again; ask again in a while")


async def streamed(
    pieces: Iterator[bytes],
    *,
    media_type: str,
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

    return StreamingResponse(whole(), status, headers=headers, media_type=media_type)


def closing(stack: ExitStack, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, with what goes wrong told to what is open."""
    with stack:
        yield from pieces
