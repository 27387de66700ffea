"""Looks at images that workers reported as failing: whether they can be loaded and decoded here.

Processes of their own do it (`look_process`), since decoding may hang, take all memory or crash. All is bounded: the
time of a look and the wait for it, the bytes and pixels of an image, the memory and number of the processes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import pickle
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from antenna_orchestration.dispatch.look_process import READY
from antenna_orchestration.domain.reported_errors import Finding, Look
from antenna_orchestration.settings import Settings

logger = logging.getLogger(__name__)

AT_ONCE: Final = 2
"""Images looked at at the same time, each in a process of its own."""

LOAD_TIMEOUT: Final = 10.0
"""Seconds that loading an image may take."""

LOOK_TIMEOUT: Final = 20.0
"""Seconds after which a look has failed and its process is ended."""

START_TIMEOUT: Final = 60.0
"""Seconds that a process may take to start, on a busy machine."""

LONGEST_WAIT: Final = 20.0
"""Seconds that an image waits for its look; then it is decided without."""

RENEW_AFTER: Final = 500
"""Looks after which a process is replaced by a new one."""

LONGEST_ANSWER: Final = 64 * 1024


class _ProcessEnded(Exception):
    """The process ended, or did not answer in time."""


class Looks:
    """Looks at images. The processes are started for the first look. Close it when it is not needed any more."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.model_copy(
            update={"load_timeout": min(settings.load_timeout, LOAD_TIMEOUT), "load_concurrency": 1}
        )
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._idle: list[_Looker] = []

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """A turn to look at an image; False if none came within `LONGEST_WAIT`."""
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await self._turns.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._turns.release()

    async def look(self, uri: str) -> Look:
        """What a look at the image finds; a private host or a store without rights is `UNKNOWN`.

        Call it within a `turn`. It raises nothing.
        """
        # Once more in a new process: this one may have ended for another reason than the image.
        for _ in range(2):
            with contextlib.suppress(_ProcessEnded):
                return await self._look(uri)
        return Look(finding=Finding.UNKNOWN, why="the process that looked at it ended or took too long")

    async def close(self) -> None:
        """End the processes that have nothing to do; the others end with their look."""
        while self._idle:
            await self._idle.pop().end()

    async def _look(self, uri: str) -> Look:
        looker = self._idle.pop() if self._idle else await _Looker.started(self._settings)
        try:
            found = await looker.look(uri)
        except BaseException:
            looker.kill()
            raise
        if looker.looks >= RENEW_AFTER:
            looker.kill()
        else:
            self._idle.append(looker)
        return found


class _Looker:
    """One of the processes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.looks = 0

    @classmethod
    async def started(cls, settings: Settings) -> _Looker:
        """Raises `_ProcessEnded`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "antenna_orchestration.dispatch.look_process",
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_ANSWER,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        looker = cls(process)
        try:
            ready = await looker._ask(base64.b64encode(pickle.dumps(settings)), START_TIMEOUT)
        except BaseException:
            looker.kill()
            raise
        if ready != READY:
            looker.kill()
            raise _ProcessEnded
        return looker

    async def look(self, uri: str) -> Look:
        """Raises `_ProcessEnded`."""
        self.looks += 1
        answer: Any = await self._ask(json.dumps(uri).encode(), LOOK_TIMEOUT)
        try:
            finding, why = answer
            return Look(finding=Finding(finding), why=str(why))
        except (TypeError, ValueError):
            raise _ProcessEnded from None

    def kill(self) -> None:
        """End the process, whatever it does. The event loop collects what is left of it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """End the process, and wait for that."""
        self.kill()
        await self._process.wait()

    async def _ask(self, line: bytes, timeout: float) -> object:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                self._process.stdin.write(line + b"\n")
                await self._process.stdin.drain()
                return json.loads(await self._process.stdout.readline())
        except (TimeoutError, OSError, ValueError) as error:
            logger.warning("a process that looks at images is ended: %s", error or type(error).__name__)
            raise _ProcessEnded from error
