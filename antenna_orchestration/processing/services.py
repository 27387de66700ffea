"""The stores that the verbs work with, opened together and handed to them.

A store's client library takes a command longer to import than all the rest (0.1 to 0.3 s each). So the rule: a store's
modules are imported here and where the store is opened, never at the top of this module, and what only looks takes
`Records`, which opens nothing but the catalog until it is asked for more.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antenna_orchestration import errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.catalog import catalog as catalog_module
from antenna_orchestration.catalog.catalog import Catalog
from antenna_orchestration.lake import paths

if TYPE_CHECKING:
    from antenna_orchestration.domain.ids import JobRun
    from antenna_orchestration.lake.folder import Folder
    from antenna_orchestration.lake.store import Lake
    from antenna_orchestration.live.store import LiveStore
    from antenna_orchestration.queue.announcements import Announcements
    from antenna_orchestration.queue.heartbeats import Heartbeats
    from antenna_orchestration.queue.results import ResultFeed
    from antenna_orchestration.queue.tasks import TaskQueue


class _MadeAtFirstUse:
    """The stores that connect by themselves when they are used, and of which many commands need none."""

    def __init__(self, settings: settings_module.Settings) -> None:
        self._settings = settings

    @cached_property
    def live(self) -> LiveStore:
        from antenna_orchestration.live.store import LiveStore

        return LiveStore(self._settings.redis_url)

    @cached_property
    def lake(self) -> Lake:
        from antenna_orchestration.lake.folder import storage_options
        from antenna_orchestration.lake.store import Lake

        lake = self._settings.lake
        return Lake(lake, storage_options=storage_options(self._settings), mark=partial(_mark_of, self._settings))

    @cached_property
    def lake_folder(self) -> Folder:
        from antenna_orchestration.lake.folder import Folder, storage_options

        options = storage_options(self._settings)
        mark = partial(_mark_of, self._settings)
        return Folder(self._settings.lake, storage_options=options, what="lake", mark=mark)

    async def __aenter__(self) -> _MadeAtFirstUse:
        return self

    async def __aexit__(self, *failure: object) -> None:
        if "live" in vars(self):
            await self.live.__aexit__(*failure)


def _mark_of(settings: settings_module.Settings) -> str:
    """The path of the mark of a lake on a disk of its own, which may not be mounted; empty for other lakes. Blocks."""
    if "://" in settings.lake or settings.lake_is_in_home:
        return ""
    return str(Path(settings.lake).expanduser().absolute() / paths.MARK)


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a deployment has recorded: the catalog, connected, and Redis and the lake, which connect at their first use.

    For what only looks and needs no queue.
    """

    settings: settings_module.Settings
    catalog: Catalog
    made_at_first_use: _MadeAtFirstUse = field(repr=False)

    @property
    def live(self) -> LiveStore:
        """What is true right now, in Redis. No result depends on it."""
        return self.made_at_first_use.live

    @property
    def lake(self) -> Lake:
        """The tables. Who does not read what they hold takes `lake_folder`: Arrow takes long to import."""
        return self.made_at_first_use.lake

    @property
    def lake_folder(self) -> Folder:
        """The lake as a folder of files."""
        return self.made_at_first_use.lake_folder

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


@dataclass(frozen=True, kw_only=True)
class Services(Records):
    """The stores of one deployment, the queue among them, connected."""

    queue: TaskQueue
    announcements: Announcements
    heartbeats: Heartbeats
    # The queue's connection; only modules of `queue` use it.
    connection: Any

    async def ensure_streams(self, *, update: bool = False) -> None:
        """Create the streams and buckets that are missing; with `update` change limits, too. Raises `Unavailable`."""
        from antenna_orchestration.queue import streams

        await streams.ensure(
            self.connection,
            tasks_max_bytes=self.settings.tasks_max_bytes,
            results_max_bytes=self.settings.results_max_bytes,
            replicas=self.settings.nats_replicas,
            update=update,
        )

    async def missing_streams(self) -> list[str]:
        """Streams and buckets that `ensure_streams` would create. Raises `Unavailable`."""
        from antenna_orchestration.queue import streams

        return await streams.missing(self.connection)

    async def queue_answers(self) -> None:
        """Raise `Unavailable` when the queue does not answer."""
        from antenna_orchestration.queue import connection

        await connection.check(self.connection)

    async def still_answer(self) -> None:
        """Raise `Unavailable` when the queue, or Redis if it was used, answers no more over its connection.

        Of PostgreSQL's connections the pool takes care before each statement.
        """
        await self.queue_answers()
        if "live" in vars(self.made_at_first_use):
            await self.live.check()

    async def refusing_streams(self) -> list[str]:
        """The queue's streams that store nothing although it answers. Raises `Unavailable`."""
        from antenna_orchestration.queue import storing

        return await storing.refusing(self.connection)

    def results(self, job_run: JobRun) -> ResultFeed:
        """A reader of the job's results; entering it takes over from a reader before."""
        from antenna_orchestration.queue.results import ResultFeed

        return ResultFeed(self.connection, job_run)


@asynccontextmanager
async def opened(settings: settings_module.Settings, *, max_connections: int = 4) -> AsyncIterator[Services]:
    """Connect to catalog and queue. Redis is connected at its first use, because no result depends on it.

    Raises `InvalidSetting` when a URL is missing and `Unavailable` when a server does not answer.
    """
    async with (
        opened_records(settings, max_connections=max_connections) as records,
        joined_by_queue(records) as services,
    ):
        yield services


@asynccontextmanager
async def opened_records(settings: settings_module.Settings, *, max_connections: int = 4) -> AsyncIterator[Records]:
    """Connect to the catalog. Raises as `opened` does."""
    settings.require("nats_url", "redis_url", "database_url")
    async with (
        catalog_module.opened(settings.database_url, max_connections=max_connections) as catalog,
        _MadeAtFirstUse(settings) as made,
    ):
        yield Records(settings=settings, catalog=catalog, made_at_first_use=made)


@asynccontextmanager
async def joined_by_queue(records: Records) -> AsyncIterator[Services]:
    """The same stores and the queue, connected. Raises `Unavailable` when it does not answer."""
    from antenna_orchestration.queue import connection
    from antenna_orchestration.queue.announcements import Announcements
    from antenna_orchestration.queue.heartbeats import Heartbeats
    from antenna_orchestration.queue.tasks import TaskQueue

    name = f"antenna-{socket.gethostname()}-{os.getpid()}"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connection.connected(records.settings.nats_url, name=name))
        yield Services(
            settings=records.settings,
            catalog=records.catalog,
            made_at_first_use=records.made_at_first_use,
            queue=await stack.enter_async_context(TaskQueue(client, ack_wait=records.settings.task_ack_wait)),
            announcements=Announcements(client),
            heartbeats=Heartbeats(client),
            connection=client,
        )


async def prepare(settings: settings_module.Settings) -> None:
    """Make an empty deployment ready, or bring one up to date: migrations, the lake's mark, streams and buckets.

    Idempotent. Raises as `opened` and `lake_mark.claim` do.
    """
    # Alembic and SQLAlchemy take longer to import than everything else here together, and few processes migrate.
    from antenna_orchestration.catalog.migrate import migrate
    from antenna_orchestration.processing import lake_mark

    settings.require("nats_url", "redis_url", "database_url")
    migrate(settings.database_url)
    async with opened(settings) as services:
        await lake_mark.claim(services)
        await services.ensure_streams(update=True)
        await services.live.check()
