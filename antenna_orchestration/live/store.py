"""The connection to Redis, and what is kept over it."""

from __future__ import annotations

from antenna_orchestration.live import connection, keys
from antenna_orchestration.live.counters import Counters
from antenna_orchestration.live.leases import HttpLeases
from antenna_orchestration.live.reports import Reports
from antenna_orchestration.live.turns import HttpTurns
from antenna_orchestration.live.workers import HttpWorkers


class LiveStore:
    """All that a deployment keeps in Redis. Use it as an async context manager; it connects at its first use."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._client = connection.connect(redis_url)
        self.counters = Counters(self._client)
        self.leases = HttpLeases(self._client)
        self.workers = HttpWorkers(self._client)
        self.reports = Reports(self._client)
        self.turns = HttpTurns(self._client)

    async def __aenter__(self) -> LiveStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        await connection.close(self._client)

    async def mark(self, proposed: str) -> str:
        """The mark by which a loss of all data is noticed; the proposed one if there was none. Raises `Unavailable`."""
        with connection.translated("reading the mark"):
            await self._client.set(keys.MARK, proposed, nx=True)
            return str(await self._client.get(keys.MARK))

    async def check(self) -> None:
        """Raise `Unavailable` when Redis does not answer."""
        await connection.check(self._client, self._url)
