"""The process that looks at images for `looks`: it loads and decodes one after another, and may die of it.

It reads requests from its input and writes answers to its output, one JSON object a line; the settings come first.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import resource
import signal
import sys
from typing import Final

from antenna_orchestration import errors, kernel, settings
from antenna_orchestration.domain.reported_errors import Finding, Look
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.pipelines import images

MEMORY: Final = 1536 * 2**20
"""Bytes of data that the process may allocate. An image that needs more is not judged."""

SMALL: Final = 64
"""Pixels that the longer side needs of a JPEG that is decoded small; that reads the whole file as well."""

READY: Final = "ready"


async def look(loader: Loader, uri: str) -> Look:
    """Load and decode an image."""
    try:
        data = await loader.load(uri)
        try:
            await asyncio.to_thread(images.decode, data, shrink_to=SMALL)
        finally:
            loader.memory.release(len(data))
    except errors.ImageUnusable as error:
        return Look(finding=Finding.UNUSABLE, why=str(error))
    except errors.ImageUnreachable as error:
        return Look(finding=Finding.UNREACHABLE, why=str(error))
    except errors.ImageForbidden as error:
        return Look(finding=Finding.UNKNOWN, why=str(error))
    except Exception as error:
        return Look(finding=Finding.UNKNOWN, why=f"looking at it failed: {type(error).__name__}")
    return Look(finding=Finding.READABLE)


async def _serve(answers: int) -> None:
    given: settings.Settings = pickle.loads(base64.b64decode(sys.stdin.readline()))  # noqa: S301  our own parent's
    settings.give(given)
    async with Loader(settings=given, memory=MemoryBudget(given.max_image_bytes)) as loader:
        os.write(answers, f"{json.dumps(READY)}\n".encode())
        while line := await asyncio.to_thread(sys.stdin.readline):
            found = await look(loader, json.loads(line))
            os.write(answers, f"{json.dumps([found.finding, found.why])}\n".encode())


def main() -> None:
    """Serve until the parent closes the input, and never outlive it."""
    kernel.die_with_parent(int(sys.argv[1]))
    kernel.be_the_first_to_die()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.dup(1)
    # What a library prints is not an answer.
    os.dup2(2, 1)
    asyncio.run(_serve(answers))


if __name__ == "__main__":
    main()
