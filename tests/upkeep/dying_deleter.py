"""A process that deletes a job and is killed at a point: `python -m tests.upkeep.dying_deleter JOB POINT`."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from antenna_orchestration import settings
from antenna_orchestration.catalog.deletions import Deletions
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.lake import removal
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing import clear_queue
from antenna_orchestration.processing.services import opened
from antenna_orchestration.upkeep import delete

POINTS = {
    # Within the transaction, before it ends.
    "catalog": ("antenna_orchestration.catalog.deletions", "_check", 1),
    "queue": (clear_queue, "clear_job_run", 1),
    **{f"lake-{n}": (Lake, "drop_folder", n) for n in (1, 2, 4)},
    "current": (removal, "write_current", 1),
    "tables": (delete, "bring_up_to_date", 1),
    "mark": (Deletions, "note_cleared", 1),
}
"""What is called, and at the how manyth call the process is killed, before it."""


def die_at(where: Any, name: str, call: int) -> None:
    """Let the process be killed when it calls this for so manyth time."""
    where = sys.modules[where] if isinstance(where, str) else where
    real: Callable[..., Any] = getattr(where, name)
    calls = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(where, name, called)


async def main(job: JobId) -> None:
    async with opened(settings.get()) as services:
        await delete.delete(services, job, by="someone")
        await delete.bring_up_to_date(services, [job])


if __name__ == "__main__":
    die_at(*POINTS[sys.argv[2]])
    asyncio.run(main(JobId(int(sys.argv[1]))))
