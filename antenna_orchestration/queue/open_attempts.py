"""How often a task was opened without anybody reporting back: KV bucket `openings`, written from its third delivery on.

A delivery count does not say that: handing a task back unopened (no rights here, a resting host, a drained worker)
raises it as well. Whoever is about to open such a task says so first; if that kills it, the note remains.
"""

from __future__ import annotations

import nats.js.errors
from nats.aio.client import Client

from antenna_orchestration.domain import messages
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.publisher import Message, Publisher

STREAM = f"KV_{names.OPENINGS_BUCKET}"

KEEP = 7 * 24 * 3600.0
"""Seconds that a note is kept at most; the job's clean-up takes it away long before."""


class OpenAttempts:
    """Counts openings, with a worker's rights. `publisher` is entered by whoever made it."""

    def __init__(self, client: Client, publisher: Publisher) -> None:
        self._js = client.jetstream()
        self._publisher = publisher

    async def count(self, task: messages.Task) -> int:
        """How often the task was opened; 0 when nobody has noted any. Raises `Unavailable`."""
        with translated(f"counting the openings of image {task.image}"):
            try:
                found = await self._js.get_last_msg(STREAM, _subject_of(task), direct=True)
            except nats.js.errors.NotFoundError:
                return 0
        return int(found.data) if (found.data or b"").isdigit() else 0

    async def note(self, task: messages.Task) -> None:
        """The task is about to be opened once more. Durable when it returns. Raises `Unavailable`."""
        number = await self.count(task) + 1
        await self._publisher.publish([Message(_subject_of(task), str(number).encode())])


def _subject_of(task: messages.Task) -> str:
    return names.openings_subject(task.job, task.generation, task.image)
