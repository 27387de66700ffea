"""A process that looks at watched sources all the time: `python -m tests.processing.rounds_process SOURCE…`.

With `WITHOUT_LOCK` in its environment it is as if the lock that keeps others out were lost, as with its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import new_captures
from antenna_orchestration.processing.services import Services, opened

PAUSE = 0.2
"""Seconds between two rounds; the sensor's is 15."""

_AS_OTHERS = (
    ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and shutil.which("setpriv")
    else []
)
"""Lets root be refused what others are."""


async def _rounds(sources: list[int], *, with_lock: bool) -> None:
    kept: dict[int, new_captures._Kept] = {}
    while True:
        # As a tick of the sensor: connected anew each time.
        async with opened(settings.get()) as services:
            for source in sources:
                await services.catalog.sources.resume(source)
            try:
                print(await _round(services, kept, with_lock=with_lock), flush=True)
            except errors.Unavailable as error:
                # As the sensor does.
                print(error, flush=True)
        # As between two ticks: there is nothing to wait for, and files are to come and change between rounds.
        await asyncio.sleep(PAUSE)


async def _round(services: Services, kept: dict[int, new_captures._Kept], *, with_lock: bool) -> str:
    if with_lock:
        done = await new_captures.round_(services)
        return done.line if done else "another process looks"
    done = new_captures.Round(kept=kept)
    for step in (new_captures.list_due, new_captures.read_waiting, new_captures.submit_read):
        await step(services, done)
    return done.line


def start(
    stores: EmbeddedStores, *sources: int, log: Path, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Begin to look at these sources, each as often as can be."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [*_AS_OTHERS, sys.executable, "-m", __name__, *map(str, sources)],
            env={
                **stores.variables,
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(__file__).parents[2]),
                **(variables or {}),
            },
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def looking(
    stores: EmbeddedStores, *sources: int, log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The same for the length of a block."""
    process = start(stores, *sources, log=log, variables=variables)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(_rounds([int(number) for number in sys.argv[1:]], with_lock="WITHOUT_LOCK" not in os.environ))
