"""The reported errors that this process has still to decide about, and the tasks that it holds meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from antenna_orchestration import kernel
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.live.leases import KeptLease


@dataclass(slots=True)
class OpenQuestions:
    """What one process holds. Nothing of it is kept elsewhere: when the process ends, the queue offers the tasks anew.

    `failed` counts the images that failed for good after a look.
    """

    # Held by nobody else; the process extends them.
    held: dict[tuple[JobRun, ImageId], KeptLease] = field(default_factory=dict)
    # Handed back with a long delay: until when, in seconds by Redis' clock.
    waiting: dict[tuple[JobRun, ImageId], tuple[KeptLease, float]] = field(default_factory=dict)
    failed: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Decide about some of them beside everything else."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Leave the rest undecided."""
        await kernel.end(*self._tasks)
