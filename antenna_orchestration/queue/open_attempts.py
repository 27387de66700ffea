"""Open attempts: how often a task was opened and no result followed. Kept in the KV bucket `openings`.

The delivery count does not tell this: handing back a task unopened (no rights here, a resting host, a drained worker)
raises it as well. So from the third delivery on a worker counts its attempt before it opens the task; if opening kills
the worker, the count remains.
"""

from __future__ import annotations

import nats.js.errors
from nats.aio.client import Client

from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.publisher import Message, Publisher

STREAM = f"KV_{names.OPENINGS_BUCKET}"

KEEP = 7 * 24 * 3600.0
"""Seconds after which a count expires; the job's clean-up deletes it long before."""


class OpenAttempts:
    """Counts open attempts, with a worker's rights. The caller enters and leaves `publisher`."""

    def __init__(self, client: Client, publisher: Publisher) -> None:
        self._js = client.jetstream()
        self._publisher = publisher

    async def count(self, task: messages.Task) -> int:
        """The task's open attempts so far. Raises `Unavailable`."""
        return await self._count(names.openings_subject(task.job_run, task.image))

    async def note(self, task: messages.Task) -> None:
        """Count one more attempt, before the task is opened. Durable when it returns. Raises `Unavailable`."""
        number = await self.count(task) + 1
        await self._set(names.openings_subject(task.job_run, task.image), number)

    async def take_back(self, job_run: JobRun, image: ImageId) -> None:
        """Count one attempt less, if there is one: the task was handed back in good order. Raises `Unavailable`."""
        subject = names.openings_subject(job_run, image)
        if number := await self._count(subject):
            await self._set(subject, number - 1)

    async def _count(self, subject: str) -> int:
        with translated(f"counting open attempts of {subject}"):
            try:
                found = await self._js.get_last_msg(STREAM, subject, direct=True)
            except nats.js.errors.NotFoundError:
                return 0
        return int(found.data) if (found.data or b"").isdigit() else 0

    async def _set(self, subject: str, number: int) -> None:
        await self._publisher.publish([Message(subject, str(number).encode())])
