"""What the verbs of `dispatch` work with, beyond the services that all verbs have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from antenna_orchestration import settings as settings_module
from antenna_orchestration.dispatch.lease_log import LeaseLog
from antenna_orchestration.dispatch.looks import Looks
from antenna_orchestration.dispatch.open_questions import OpenQuestions
from antenna_orchestration.domain.http_lease import Signer
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.listening import Listening
from antenna_orchestration.live.remembered import RememberedStore
from antenna_orchestration.processing import services as services_module
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.queue.publisher import Publisher
from antenna_orchestration.queue.remote_leases import RemoteLeases
from antenna_orchestration.queue.results import ResultSender


@dataclass(frozen=True, kw_only=True)
class HttpServices:
    """The stores of one deployment as a gateway uses them, connected."""

    services: Services
    # The leases and the records of HTTP workers: in Redis, and what this process remembers while Redis is away.
    live: RememberedStore
    leaser: Leaser
    sender: ResultSender
    remote_leases: RemoteLeases
    open_attempts: OpenAttempts
    signer: Signer
    looks: Looks
    open_questions: OpenQuestions
    listening: Listening = field(default_factory=Listening)
    lease_log: LeaseLog = field(default_factory=LeaseLog)
    _pulls: WeakValueDictionary[JobId, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _givings: WeakValueDictionary[int, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def pulling(self, job: JobId) -> asyncio.Lock:
        """A lock to hold while pulling tasks of the job: there may be one pull per consumer at a time."""
        lock = self._pulls.get(job)
        if lock is None:
            lock = self._pulls[job] = asyncio.Lock()
        return lock

    def leasing(self, holder: int) -> asyncio.Lock:
        """A lock to hold while a worker is given tasks: else parallel calls each give it what it may hold."""
        lock = self._givings.get(holder)
        if lock is None:
            lock = self._givings[holder] = asyncio.Lock()
        return lock

    @property
    def settings(self) -> settings_module.Settings:
        """The deployment's settings."""
        return self.services.settings


@asynccontextmanager
async def opened(settings: settings_module.Settings, *, max_connections: int = 8) -> AsyncIterator[HttpServices]:
    """Connect. Raises `InvalidSetting` when a URL or the secret key is missing, `Unavailable` when a server is."""
    settings.require("nats_url", "redis_url", "database_url")
    signer = Signer(settings.secret_key)
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(services_module.opened(settings, max_connections=max_connections))
        looks = Looks(settings)
        stack.push_async_callback(looks.close)
        http = HttpServices(
            services=services,
            live=await stack.enter_async_context(RememberedStore(services.live)),
            leaser=await stack.enter_async_context(Leaser(services.connection, ack_wait=settings.task_ack_wait)),
            sender=await stack.enter_async_context(ResultSender(services.connection)),
            remote_leases=RemoteLeases(services.connection),
            open_attempts=OpenAttempts(
                services.connection, await stack.enter_async_context(Publisher(services.connection))
            ),
            signer=signer,
            looks=looks,
            open_questions=OpenQuestions(),
        )
        yield http
        await http.lease_log.write(services.catalog.job_log)
