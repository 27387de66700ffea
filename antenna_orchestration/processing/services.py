"""The stores that the verbs work with, opened together and handed to them."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from antenna_orchestration import errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.catalog import catalog as catalog_module
from antenna_orchestration.catalog.catalog import Catalog
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.lake.store import Lake, storage_options
from antenna_orchestration.live.store import LiveStore
from antenna_orchestration.queue import connection, storing, streams
from antenna_orchestration.queue.announcements import Announcements
from antenna_orchestration.queue.heartbeats import Heartbeats
from antenna_orchestration.queue.results import ResultFeed
from antenna_orchestration.queue.tasks import TaskQueue


@dataclass(frozen=True, kw_only=True)
class Services:
    """The stores of one deployment, connected."""

    settings: settings_module.Settings
    catalog: Catalog
    queue: TaskQueue
    announcements: Announcements
    heartbeats: Heartbeats
    live: LiveStore
    lake: Lake
    # The queue's connection; only modules of `queue` use it.
    connection: Any

    async def ensure_streams(self, *, update: bool = False) -> None:
        """Create the streams and buckets that are missing; with `update` change limits, too. Raises `Unavailable`."""
        await streams.ensure(
            self.connection,
            tasks_max_bytes=self.settings.tasks_max_bytes,
            results_max_bytes=self.settings.results_max_bytes,
            replicas=self.settings.nats_replicas,
            update=update,
        )

    async def missing_streams(self) -> list[str]:
        """Streams and buckets that `ensure_streams` would create. Raises `Unavailable`."""
        return await streams.missing(self.connection)

    async def queue_answers(self) -> None:
        """Raise `Unavailable` when the queue does not answer."""
        await connection.check(self.connection)

    async def refusing_streams(self) -> list[str]:
        """The queue's streams that store nothing although it answers. Raises `Unavailable`."""
        return await storing.refusing(self.connection)

    async def rejected_callers(self) -> dict[str, int]:
        """Calls that gateways refused in the last day, by address; empty when Redis does not answer."""
        try:
            return await self.live.workers.rejected()
        except errors.Unavailable:
            return {}

    async def reported_reasons(self) -> dict[str, Counter[str]]:
        """Why workers behind the gateway reported errors of late, by their names; empty when Redis does not answer."""
        try:
            records = await self.live.workers.heard_since(0)
            return {
                one.name: await self.live.reports.reasons(one.worker) for one in records if one.counters["reported"]
            }
        except errors.Unavailable:
            return {}

    def results(self, job_run: JobRun) -> ResultFeed:
        """A reader of the job's results; entering it takes over from a reader before."""
        return ResultFeed(self.connection, job_run)


@asynccontextmanager
async def opened(settings: settings_module.Settings, *, max_connections: int = 4) -> AsyncIterator[Services]:
    """Connect to catalog and queue. Redis is connected at its first use, because no result depends on it.

    Raises `InvalidSetting` when a URL is missing and `Unavailable` when a server does not answer.
    """
    settings.require("nats_url", "redis_url", "database_url")
    async with AsyncExitStack() as stack:
        catalog = await stack.enter_async_context(
            catalog_module.opened(settings.database_url, max_connections=max_connections)
        )
        name = f"antenna-{socket.gethostname()}-{os.getpid()}"
        client = await stack.enter_async_context(connection.connected(settings.nats_url, name=name))
        queue = await stack.enter_async_context(TaskQueue(client, ack_wait=settings.task_ack_wait))
        live = await stack.enter_async_context(LiveStore(settings.redis_url))
        yield Services(
            settings=settings,
            catalog=catalog,
            queue=queue,
            announcements=Announcements(client),
            heartbeats=Heartbeats(client),
            live=live,
            lake=Lake(settings.lake, storage_options=storage_options(settings)),
            connection=client,
        )


async def prepare(settings: settings_module.Settings) -> None:
    """Make an empty deployment ready, or bring one up to date: migrations, streams and buckets; idempotent."""
    # Alembic and SQLAlchemy take longer to import than everything else here together, and few processes migrate.
    from antenna_orchestration.catalog.migrate import migrate

    settings.require("nats_url", "redis_url", "database_url")
    migrate(settings.database_url)
    async with opened(settings) as services:
        await services.ensure_streams(update=True)
        await services.live.check()
