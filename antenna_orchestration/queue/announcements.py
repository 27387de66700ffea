"""Announcements: the KV bucket `jobs`. A job is announced there as soon as it has a task to lease."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, Generation, JobId, JobRun
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.watching import watching

logger = logging.getLogger(__name__)

REREAD_EVERY = 10.0
"""Seconds between full readings: a watcher gets nothing more, and no error, after its bucket was recreated."""

PAUSE = 1.0
"""Seconds until the next attempt to follow a bucket that cannot be read."""

Snapshot = dict[JobRun, messages.Announcement]


class Announcements:
    """Announces jobs, and follows the announcements."""

    def __init__(self, client: Client) -> None:
        self._js = client.jetstream()
        self._client = client

    async def announce(self, announcement: messages.Announcement) -> None:
        """Announce the job, or update its announcement. Raises `Unavailable`."""
        with translated(f"announcing job {announcement.job}"):
            try:
                bucket = await self._js.key_value(names.JOBS_BUCKET)
            except nats.js.errors.NotFoundError as error:
                raise errors.Unavailable("the bucket of announcements is gone") from error
            await bucket.put(names.job_key(announcement.job_run), messages.encode(announcement))

    async def withdraw(self, job_run: JobRun) -> None:
        """Delete the announcement of this job run; idempotent. Raises `Unavailable`."""
        with translated(f"withdrawing job {job_run.job}"), contextlib.suppress(nats.js.errors.NotFoundError):
            bucket = await self._js.key_value(names.JOBS_BUCKET)
            await bucket.purge(names.job_key(job_run))

    async def find(self, job_run: JobRun) -> messages.Announcement | None:
        """How the job is announced; None if it is not, or in a way this does not read. Raises `Unavailable`."""
        with translated(f"looking for the announcement of job {job_run.job}"):
            try:
                bucket = await self._js.key_value(names.JOBS_BUCKET)
                entry = await bucket.get(names.job_key(job_run))
            except nats.js.errors.NotFoundError:
                return None
        try:
            return messages.decode(messages.Announcement, entry.value or b"")
        except errors.InvalidInput:
            return None

    async def has(self, job_run: JobRun, epoch: Epoch) -> bool:
        """Whether the job is announced with this epoch; False also when the bucket is gone. Raises `Unavailable`."""
        announced = await self.find(job_run)
        return announced is not None and announced.epoch == epoch

    async def read(self) -> Snapshot:
        """All announcements now; empty when the bucket is gone. Raises `Unavailable`."""
        with translated("reading the announcements"):
            try:
                bucket = await self._js.key_value(names.JOBS_BUCKET)
            except nats.js.errors.NotFoundError:
                return {}
            return await _read(bucket)

    async def follow(self, on_change: Callable[[Snapshot], None]) -> None:
        """Call `on_change` with all announcements at each change, until cancelled.

        Watches the bucket, and reads all of it again every 10 s and after a lost connection.
        """
        while True:
            try:
                await self._follow_once(on_change)
            except (nats.js.errors.NotFoundError, errors.Unavailable) as error:
                logger.debug("the announcements cannot be read: %s", error)
                await asyncio.sleep(PAUSE)

    async def _follow_once(self, on_change: Callable[[Snapshot], None]) -> None:
        """Watch for `REREAD_EVERY` seconds. A watcher first gets all announcements, then each change."""
        announced: Snapshot = {}
        complete = False
        async with AsyncExitStack() as stack:
            with translated("watching the announcements"):
                bucket = await self._js.key_value(names.JOBS_BUCKET)
                watch = await stack.enter_async_context(watching(bucket))
            try:
                async with asyncio.timeout(REREAD_EVERY):
                    while True:
                        with translated("watching the announcements"), contextlib.suppress(nats.errors.TimeoutError):
                            entry = await watch.next(timeout=REREAD_EVERY + 1)
                            if entry is None:
                                complete = True
                            else:
                                _apply(announced, entry)
                            if complete:
                                on_change(dict(announced))
            except TimeoutError:
                if not complete:
                    logger.warning("the announcements were not answered within %s s", REREAD_EVERY)


async def _read(bucket: KeyValue) -> Snapshot:
    announced: Snapshot = {}
    async with watching(bucket) as watch:
        while (entry := await watch.next(timeout=5)) is not None:
            _apply(announced, entry)
    return announced


def _apply(announced: Snapshot, entry: KeyValue.Entry) -> None:
    job, _, generation = entry.key.partition(".")
    if not (job.isdecimal() and generation.isdecimal()):
        logger.error("the bucket of announcements holds a foreign entry: %s", entry.key)
        return
    job_run = JobRun(JobId(int(job)), Generation(int(generation)))
    if entry.operation in ("DEL", "PURGE") or not entry.value:
        announced.pop(job_run, None)
        return
    try:
        announced[job_run] = messages.decode(messages.Announcement, entry.value)
    except errors.InvalidInput as error:
        logger.error("job %s is announced in a way this version does not read: %s", job, error)
