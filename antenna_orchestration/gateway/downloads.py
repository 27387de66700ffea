"""Tables as answers that are sent while they are read: CSV, and files of which parts can be asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, Final

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from antenna_orchestration import errors
from antenna_orchestration.contract import models
from antenna_orchestration.gateway import ranges
from antenna_orchestration.lake.folder import Missing

BLOCK: Final = 2**20
"""Bytes of a file read and sent at a time."""

CSV_TYPE: Final = "text/csv; charset=utf-8"
PARQUET_TYPE: Final = "application/vnd.apache.parquet"

CSV: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/csv": {}}, "description": "The table as CSV."}}


def of_file(media_type: str, what: str = "file") -> dict[int | str, dict[str, Any]]:
    """The answers of a route that hands out a file, or a part of it, for the gateway's document."""
    return {
        200: {"content": {media_type: {}}, "description": f"The {what}."},
        206: {"content": {media_type: {}}, "description": "The bytes that `Range` asked for."},
        416: {"model": models.ErrorAnswer, "description": f"The range lies beyond the {what}."},
    }


PARQUET: Final = of_file(PARQUET_TYPE)


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


def part_of(request: Request, *, tag: str, size: int) -> Part:
    """What a request asks for of a file: a part with `Range`, unless `If-Range` names another version than `tag`.

    Raises `RangeNotSatisfiable`.
    """
    is_same = request.headers.get("if-range", tag) == tag
    part = ranges.asked_for(request.headers.get("range", ""), size) if is_same else None
    start, end = part or (0, size)
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Part(start=start, end=end, status=200 if part is None else 206, headers=headers)


async def streamed(
    pieces: Iterator[bytes],
    *,
    media_type: str,
    name: str,
    disposition: str = "attachment",
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

    named = {"Content-Disposition": f'{disposition}; filename="{name}"'}
    return StreamingResponse(whole(), status, headers={**named, **(headers or {})}, media_type=media_type)


def closing(stack: ExitStack, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, with what goes wrong told to what is open."""
    with stack:
        yield from pieces
