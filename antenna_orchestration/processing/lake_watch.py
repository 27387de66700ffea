"""Whether the lake takes files: a network drive that went away may be empty, read-only, or never answer.

It is asked on a thread of its own, of which there is one in a process: those that everything else runs on would be gone
one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, Generic, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.folder import Folder, Missing
from antenna_orchestration.processing.services import Records

T = TypeVar("T")

logger = logging.getLogger(__name__)

ANSWERS_WITHIN: Final = 10.0
"""Seconds after which a lake that has not answered is taken to be away."""

_STILL: Final = 0.1
"""Seconds that one is waited for that is away already."""

HOLDS_FOR: Final = 5.0
"""Seconds for which an answer holds: several checks of one round ask."""

_PROBE: Final = ".antenna.probe"


class NoAnswer(errors.LakeUnavailable):
    """The lake has not answered in time; who looks into it on another thread may wait for ever."""


class _Question(Generic[T]):
    """What a lake was asked, and since when."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.answer: Future[T] = Future()
        self.since = time.monotonic()
        threading.Thread(target=self._ask, args=(function,), name="look at the lake", daemon=True).start()

    async def wait(self, lake: str) -> T:
        """The answer; raises what it raised, and `NoAnswer` if there is none in time."""
        left = max(_STILL, self.since + ANSWERS_WITHIN - time.monotonic())
        try:
            # Cancelling one who waits must not take the answer from others.
            async with asyncio.timeout(left):
                return await asyncio.shield(asyncio.wrap_future(self.answer))
        except TimeoutError:
            silent = time.monotonic() - self.since
            raise NoAnswer(f"the lake {lake} has not answered for {silent:.0f} s") from None

    def _ask(self, function: Callable[[], T]) -> None:
        try:
            self.answer.set_result(function())
        except BaseException as error:
            self.answer.set_exception(error)


_asked: dict[tuple[int, str], _Question[None]] = {}
"""The last question to each lake, by process, since no thread outlives a fork, and URI."""


async def ask(function: Callable[[], T], *, lake: str) -> T:
    """Call a function that looks into a lake, of this URI. Raises `NoAnswer` if it takes longer than ten seconds."""
    return await _Question(function).wait(lake)


async def check(services: Records) -> None:
    """Write a small file into the lake and remove it; of a bucket, read the mark.

    Raises `Unavailable` if that fails, or takes longer than ten seconds.
    """
    lake = services.lake_folder
    key = os.getpid(), lake.uri
    question = _asked.get(key)
    if question is None or (question.answer.done() and time.monotonic() - question.since >= HOLDS_FOR):
        question = _asked[key] = _Question(partial(_try, lake))
    await question.wait(lake.uri)


async def check_answers(services: Records) -> None:
    """Raise `NoAnswer` if the lake does not answer, and nothing if it is full or takes no files."""
    try:
        await check(services)
    except NoAnswer:
        raise
    except errors.Unavailable as error:
        logger.debug("the lake answers: %s", error)


async def answers(services: Records) -> bool:
    """Whether `check_answers` passes."""
    try:
        await check_answers(services)
    except NoAnswer:
        return False
    return True


def _try(lake: Folder) -> None:
    if lake.remote is not None:
        with contextlib.suppress(Missing):
            # It was away when the stack started.
            lake.read(paths.MARK)
        return
    lake.write(_PROBE, lambda sink: sink.write(b""))
    lake.remove([_PROBE])
