"""HTTP workers as the gateway knows them: last call, speed and counters of each; and the callers that were refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from antenna_orchestration.domain.http_lease import HttpWorkerSpeed
from antenna_orchestration.live import keys
from antenna_orchestration.live.connection import translated

KEEP: Final = 7 * 24 * 3600
"""Seconds without a call after which a worker is forgotten."""

KEEP_REJECTED: Final = 24 * 3600
"""Seconds after the last refused call until all of them are forgotten."""

MOST_LISTED: Final = 2_000
"""Workers in a list, the ones heard last: clients name themselves, and one that is restarted has another name."""

MOST_REJECTED: Final = 1_000
"""Addresses that are counted separately; callers can make up any number of them."""

COUNTERS: Final = (
    "leased", "settled", "failed", "reported", "handed_back", "expired", "late", "rejected", "bytes"
)  # fmt: skip
"""Tasks leased; images with a result, and those of them that failed; errors reported, whatever became of the images;
leases that the worker handed back; leases that ended without a result; results that came after the image was decided;
results refused; bytes of result posts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """One worker as it was last seen."""

    worker: int
    name: str
    # Seconds by Redis' clock; 0 for never.
    heard: float
    first_heard: float
    posted: float
    speed: HttpWorkerSpeed
    pipelines: tuple[str, ...]
    host: str
    # Slugs; empty for all.
    projects: tuple[str, ...] = ()
    # What a push worker posts to, and whether it waits for that.
    service: str = ""
    waiting: bool = False
    # What the worker says of itself, see `contract.client_info`.
    client_info: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)


class HttpWorkers:
    """Keeps records of workers. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    async def hear(
        self,
        worker: int,
        *,
        name: str,
        host: str,
        now: float,
        pipelines: Iterable[str] = (),
        projects: Iterable[str] = (),
        service: str = "",
        waiting: bool = False,
        client_info: Mapping[str, str] | None = None,
    ) -> None:
        """Note a call of this worker; `pipelines` are those that it says it serves, empty when it names none.

        So is `client_info` when it says nothing of itself; what it said before stays.
        """
        key = keys.worker(worker)
        values: dict[str, Any] = {
            "name": name,
            "host": host,
            "heard": now,
            "projects": json.dumps(sorted(projects)),
            "service": service,
            "waiting": int(waiting),
        }
        if served := sorted(set(pipelines)):
            values["pipelines"] = json.dumps(served)
        if client_info:
            values["client_info"] = json.dumps(dict(client_info))
        with translated("noting a worker"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hsetnx(key, "first_heard", str(now))
                pipe.hset(key, mapping=values)
                pipe.expire(key, KEEP)
                pipe.zadd(keys.WORKERS, {str(worker): now})
                pipe.zremrangebyscore(keys.WORKERS, 0, now - KEEP)
                await pipe.execute()

    async def heard(self, worker: int, *, now: float) -> None:
        """Note that a worker that called before is still there, of which another call told."""
        with translated("noting a worker"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(keys.worker(worker), "heard", str(now))
                pipe.expire(keys.worker(worker), KEEP)
                pipe.zadd(keys.WORKERS, {str(worker): now})
                await pipe.execute()

    async def leave(self, worker: int) -> None:
        """Note that the worker ended; its counters stay."""
        with translated("noting a worker"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zrem(keys.WORKERS, str(worker))
                pipe.hdel(keys.worker(worker), "heard", "first_heard")
                await pipe.execute()

    async def count(self, worker: int, **more: int) -> None:
        """Add to the worker's counters."""
        with translated("counting"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, number in more.items():
                    if number:
                        pipe.hincrby(keys.worker(worker), name, number)
                pipe.expire(keys.worker(worker), KEEP)
                await pipe.execute()

    async def measured(self, worker: int, speed: HttpWorkerSpeed, *, now: float) -> None:
        """Note the worker's speed after results that came now."""
        values = {"seconds": speed.seconds, "images": speed.images, "batch": speed.batch, "posted": now}
        with translated("noting a worker's speed"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(keys.worker(worker), mapping={name: str(value) for name, value in values.items()})
                pipe.expire(keys.worker(worker), KEEP)
                await pipe.execute()

    async def get(self, worker: int) -> WorkerRecord:
        """The worker's record; an empty one when it never called."""
        with translated("reading a worker"):
            return _record(worker, await self._redis.hgetall(keys.worker(worker)))

    async def heard_since(self, moment: float) -> list[WorkerRecord]:
        """The workers that called at or after `moment`, at most `MOST_LISTED`; the one heard last is the last."""
        with translated("listing workers"):
            latest = await self._redis.zrevrangebyscore(keys.WORKERS, "+inf", moment, start=0, num=MOST_LISTED)
            ids = [int(worker) for worker in reversed(latest)]
            async with self._redis.pipeline(transaction=False) as pipe:
                for worker in ids:
                    pipe.hgetall(keys.worker(worker))
                found = await pipe.execute()
        return [_record(worker, values) for worker, values in zip(ids, found, strict=True)]

    async def reject(self, address: str, *, now: float) -> None:
        """Count a call from this address that was refused for lack of a valid token."""
        with translated("counting a rejected caller"):
            if await self._redis.hlen(keys.REJECTED) >= MOST_REJECTED:
                address = "elsewhere"
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hincrby(keys.REJECTED, address, 1)
                pipe.hset(keys.REJECTED_AT, address, str(now))
                pipe.expire(keys.REJECTED, KEEP_REJECTED)
                pipe.expire(keys.REJECTED_AT, KEEP_REJECTED)
                await pipe.execute()

    async def rejected(self) -> dict[str, int]:
        """Refused calls of the last day by address, the most frequent first."""
        with translated("reading rejected callers"):
            found = await self._redis.hgetall(keys.REJECTED)
        return dict(sorted(((address, int(count)) for address, count in found.items()), key=lambda item: -item[1]))


def unheard(worker: int) -> WorkerRecord:
    """The record of a worker that never called."""
    return _record(worker, {})


def _record(worker: int, values: Mapping[str, str]) -> WorkerRecord:
    return WorkerRecord(
        worker=worker,
        name=values.get("name", ""),
        heard=float(values.get("heard", 0)),
        first_heard=float(values.get("first_heard", 0)),
        posted=float(values.get("posted", 0)),
        speed=HttpWorkerSpeed(
            seconds=float(values.get("seconds", 0)),
            images=float(values.get("images", 0)),
            batch=float(values.get("batch", 0)),
        ),
        pipelines=tuple(json.loads(values.get("pipelines", "[]"))),
        host=values.get("host", ""),
        projects=tuple(json.loads(values.get("projects", "[]"))),
        service=values.get("service", ""),
        waiting=values.get("waiting") == "1",
        client_info=json.loads(values.get("client_info", "{}")),
        counters={name: int(values.get(name, 0)) for name in COUNTERS},
    )
