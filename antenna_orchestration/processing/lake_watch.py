"""Whether the lake takes files: a network drive that went away may be empty, read-only, or never answer.

It is asked on a thread of its own, of which there is one in a process: those that everything else runs on would be gone
one after the other.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.folder import Folder
from antenna_orchestration.processing.services import Records

ANSWERS_WITHIN: Final = 10.0
"""Seconds after which a lake that has not answered is taken to be away."""

_STILL: Final = 0.1
"""Seconds that one is waited for that is away already."""

HOLDS_FOR: Final = 5.0
"""Seconds for which an answer holds: several checks of one round ask."""

_PROBE: Final = ".antenna.probe"


@dataclass(slots=True)
class _Question:
    """What a lake was asked, and since when."""

    answer: Future[None] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    def ask(self, function: Callable[[], None]) -> None:
        """Run on this thread."""
        try:
            function()
        except BaseException as error:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(None)


_asked: dict[tuple[int, str], _Question] = {}
"""The last question to each lake, by process, since no thread outlives a fork, and URI."""


async def check(services: Records) -> None:
    """Write a small file into the lake and remove it; of a bucket, read the mark.

    Raises `Unavailable` if that fails, or takes longer than ten seconds.
    """
    lake = services.lake_folder
    key = os.getpid(), lake.uri
    question = _asked.get(key)
    if question is None or (question.answer.done() and time.monotonic() - question.since >= HOLDS_FOR):
        question = _asked[key] = _Question()
        threading.Thread(target=question.ask, args=(partial(_try, lake),), name="look at the lake", daemon=True).start()
    left = max(_STILL, question.since + ANSWERS_WITHIN - time.monotonic())
    try:
        # Cancelling one who waits must not take the answer from others.
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(question.answer)), left)
    except TimeoutError:
        silent = time.monotonic() - question.since
        raise errors.LakeUnavailable(f"the lake {lake.uri} has not answered for {silent:.0f} s") from None


async def answers(services: Records) -> bool:
    """Whether `check` passes."""
    try:
        await check(services)
    except errors.Unavailable:
        return False
    return True


def _try(lake: Folder) -> None:
    if lake.remote is not None:
        lake.read(paths.MARK)
        return
    lake.write(_PROBE, lambda sink: sink.write(b""))
    lake.remove([_PROBE])
