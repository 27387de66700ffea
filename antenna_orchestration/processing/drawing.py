"""Draws pictures in a process of its own: no photograph fails or stalls whoever wants its picture.

A decoder may take minutes, gigabytes or the whole process, and it holds the interpreter's lock at times, so that a
collector's heartbeat would stop. The process has a bound on its memory, each picture has a deadline, and one that dies
or is too slow is replaced for the next picture.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.processing import draw_process
from antenna_orchestration.processing.draw_process import READY
from antenna_orchestration.settings import Settings

START_TIMEOUT: Final = 60.0
"""Seconds that the process may take to start, on a busy machine."""

DRAW_TIMEOUT: Final = 15.0
"""Seconds for one picture; a large photograph takes one or two."""

_LONGEST_ANSWER: Final = 2**20
"""Bytes of the line with the sizes of all crops of a photograph, and of what is buffered."""


class NotDrawn(errors.AntennaError):
    """There is no picture of a photograph; the message says why, for people."""


@dataclass(slots=True)
class _Process:
    """The process that draws, and the socket to it."""

    pid: int
    answers: asyncio.StreamReader
    requests: asyncio.StreamWriter
    # Waits until the process is gone.
    wait: Callable[[], Awaitable[object]]


CAN_FORK = False
"""Whether `multiprocessing` forks a process from one that has imported what drawing takes, which is a second of CPU:
set by `embedded/code_server/fork_server.py` for the runs that it forks."""


class Drawing:
    """Makes pictures, one after another. Use it as an async context manager; the process starts with the first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: _Process | None = None

    async def __aenter__(self) -> Drawing:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def draw(
        self, photograph: bytes, detections: Sequence[Detection], *, width: int | None, most: int | None
    ) -> bytes:
        """A JPEG as `pictures.draw_boxes` makes it: at most `width` wide (None: in full size) and `most` bytes large.

        Raises `NotDrawn`.
        """
        [picture] = await self._made(photograph, detections, {"width": width, "most": most})
        return picture

    async def crop(
        self, photograph: bytes, detections: Sequence[Detection], *, margin: float, longest: int | None
    ) -> list[bytes]:
        """JPEGs of what is in each box, as `pictures.crop_boxes` makes them. Raises `NotDrawn`."""
        return await self._made(photograph, detections, {"margin": margin, "longest": longest})

    async def _made(self, photograph: bytes, detections: Sequence[Detection], wanted: Mapping[str, Any]) -> list[bytes]:
        boxes = msgspec.msgpack.encode(list(detections))
        request = {"photograph": len(photograph), "boxes": len(boxes), **wanted}
        try:
            process = await self._running()
            async with asyncio.timeout(DRAW_TIMEOUT):
                sizes, why = json.loads(await _asked(process, json.dumps(request).encode() + b"\n", photograph, boxes))
                pictures = [await process.answers.readexactly(size) for size in sizes]
        except TimeoutError:
            await self._end()
            raise NotDrawn("drawing it took too long") from None
        except (OSError, ValueError, asyncio.IncompleteReadError):
            await self._end()
            raise NotDrawn("the process that drew it ended") from None
        except BaseException:
            await self._end()
            raise
        if why:
            raise NotDrawn(why)
        return pictures

    async def _running(self) -> _Process:
        if self._process is None:
            self._process = await _started(self._settings)
            async with asyncio.timeout(START_TIMEOUT):
                ready = await _asked(self._process)
            if ready != READY:
                raise OSError("it does not start")
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.requests.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            await process.wait()


async def _started(settings: Settings) -> _Process:
    ours, its = socket.socketpair()
    with its:
        pid, wait = _forked(its, settings) if CAN_FORK else await _executed(its, settings)
    answers, requests = await asyncio.open_connection(sock=ours, limit=_LONGEST_ANSWER)
    return _Process(pid, answers, requests, wait)


def _forked(its: socket.socket, settings: Settings) -> tuple[int, Callable[[], Awaitable[object]]]:
    context = multiprocessing.get_context("forkserver")
    # As a daemon it is ended, not waited for, when we end without having ended it.
    process = context.Process(target=draw_process.serve, args=(its, settings), daemon=True)
    process.start()
    assert process.pid is not None
    return process.pid, lambda: asyncio.to_thread(process.join)


async def _executed(its: socket.socket, settings: Settings) -> tuple[int, Callable[[], Awaitable[object]]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "antenna_orchestration.processing.draw_process", str(os.getpid()), str(its.fileno()),
        stdin=asyncio.subprocess.PIPE, pass_fds=[its.fileno()],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(base64.b64encode(pickle.dumps(settings)) + b"\n")
    process.stdin.close()
    return process.pid, process.wait


async def _asked(process: _Process, *parts: bytes) -> bytes:
    """The line that the process answers with."""
    for part in parts:
        process.requests.write(part)
        await process.requests.drain()
    return await process.answers.readline()
