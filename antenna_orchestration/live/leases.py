"""The leases that the gateway keeps for HTTP workers, in Redis: any gateway extends them, and a restart loses none.

When Redis is wiped they end by themselves, after the queue's own short lease, and their images are done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId
from antenna_orchestration.live import keys
from antenna_orchestration.live.connection import translated

NOBODY: Final = 0
"""Holder of a parked task; no token has this id."""

# Arguments: `<job>:<generation>`, holder, now, then image and value by turns. An earlier holder loses the image.
_HOLD: Final = """
local place, holder, now = ARGV[1], ARGV[2], ARGV[3]
redis.call('SADD', KEYS[1], place)
for i = 4, #ARGV, 2 do
  local image, value = ARGV[i], ARGV[i + 1]
  local before = redis.call('HGET', KEYS[2], image)
  if before then
    redis.call('SREM', 'antenna:http:worker:' .. cjson.decode(before)[1] .. ':holding', place .. ':' .. image)
  end
  redis.call('HDEL', KEYS[3], image)
  if holder == '0' then
    redis.call('HDEL', KEYS[2], image)
    redis.call('HSET', KEYS[3], image, value)
  else
    redis.call('HSET', KEYS[2], image, value)
    redis.call('SADD', KEYS[5], place .. ':' .. image)
  end
  redis.call('ZADD', KEYS[4], now, image)
end
"""

# Arguments: `<job>:<generation>`, holder, images. Gives value and confirmation of those that this holder had.
_TAKE: Final = """
local place, holder = ARGV[1], ARGV[2]
local source = holder == '0' and KEYS[2] or KEYS[1]
local found = {}
for i = 3, #ARGV do
  local image = ARGV[i]
  local value = redis.call('HGET', source, image)
  if value and tostring(cjson.decode(value)[1]) == holder then
    found[#found + 1] = {image, value, redis.call('ZSCORE', KEYS[3], image) or '0'}
    redis.call('HDEL', source, image)
    redis.call('ZREM', KEYS[3], image)
    if holder ~= '0' then redis.call('SREM', KEYS[4], place .. ':' .. image) end
  end
end
return found
"""

_FORGET_JOB: Final = """
if redis.call('EXISTS', KEYS[2]) + redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('SREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[4])
end
"""


class KeptLease(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One lease as it is kept."""

    holder: int
    """Token of the worker; `NOBODY` for a parked task."""
    epoch: Epoch
    sequence: int
    place: int
    delivery: int
    since: float
    """When the worker got it; seconds by Redis' clock, like all times here."""
    uri: str = ""
    """For parked tasks, which are still to be handed out."""
    confirmed: float = 0.0
    """When the queue was last told that the task is in progress; kept beside the rest."""


class HttpLeases:
    """Keeps leases. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, client: Any) -> None:
        self._redis = client
        self._hold = client.register_script(_HOLD)
        self._take = client.register_script(_TAKE)
        self._forget_job = client.register_script(_FORGET_JOB)

    async def now(self) -> float:
        """Seconds by Redis' clock, the one that all gateways share."""
        with translated("reading the clock"):
            seconds, micros = await self._redis.time()
        return float(seconds) + float(micros) / 1e6

    async def hold(
        self, job: JobId, generation: Generation, holder: int, kept: Mapping[ImageId, KeptLease], *, now: float
    ) -> None:
        """Write leases down, confirmed now; an earlier holder of the same image loses it."""
        if not kept:
            return
        pairs = [part for image, lease in kept.items() for part in (str(image), _text(lease))]
        with translated("keeping leases"):
            await self._hold(
                keys=[
                    keys.LEASED_JOBS,
                    keys.leases(job, generation),
                    keys.parked(job, generation),
                    keys.confirmed(job, generation),
                    keys.holding(holder),
                ],
                args=[f"{job}:{generation}", holder, now, *pairs],
            )

    async def take(
        self, job: JobId, generation: Generation, holder: int, images: Iterable[ImageId]
    ) -> dict[ImageId, KeptLease]:
        """Strike out those of the images that this holder has, and return them. Of two callers one gets each."""
        with translated("settling leases"):
            found = await self._take(
                keys=[
                    keys.leases(job, generation),
                    keys.parked(job, generation),
                    keys.confirmed(job, generation),
                    keys.holding(holder),
                ],
                args=[f"{job}:{generation}", holder, *images],
            )
        return {ImageId(int(image)): _lease(value, float(confirmed)) for image, value, confirmed in found}

    async def find(self, job: JobId, generation: Generation, images: Iterable[ImageId]) -> dict[ImageId, KeptLease]:
        """Who holds which of the images; parked ones are not among them."""
        wanted = list(images)
        if not wanted:
            return {}
        with translated("looking for leases"):
            values = await self._redis.hmget(keys.leases(job, generation), [str(image) for image in wanted])
        return {image: _lease(value) for image, value in zip(wanted, values, strict=True) if value}

    async def take_parked(self, job: JobId, generation: Generation) -> tuple[ImageId, KeptLease] | None:
        """Take one parked task of the job out, or None."""
        with translated("looking for parked tasks"):
            for image in await self._redis.hkeys(keys.parked(job, generation)):
                taken = await self.take(job, generation, NOBODY, [ImageId(int(image))])
                if taken:
                    return next(iter(taken.items()))
        return None

    async def has_parked(self, job: JobId, generation: Generation) -> bool:
        """Whether a task of the job waits to be given out alone."""
        with translated("looking for parked tasks"):
            return bool(await self._redis.exists(keys.parked(job, generation)))

    async def held_by(self, worker: int) -> int:
        """How many tasks the worker has in hand."""
        with translated("counting leases"):
            return int(await self._redis.scard(keys.holding(worker)))

    async def of_worker(self, worker: int) -> dict[tuple[JobId, Generation], list[ImageId]]:
        """What the worker has in hand, by job and generation."""
        with translated("listing leases"):
            places = await self._redis.smembers(keys.holding(worker))
        found: dict[tuple[JobId, Generation], list[ImageId]] = {}
        for place in places:
            job, generation, image = (int(part) for part in place.split(":"))
            found.setdefault((JobId(job), Generation(generation)), []).append(ImageId(image))
        return found

    async def jobs(self) -> list[tuple[JobId, Generation]]:
        """The jobs with leases or parked tasks."""
        with translated("listing leases"):
            places = await self._redis.smembers(keys.LEASED_JOBS)
        pairs = (place.split(":") for place in places)
        return [(JobId(int(job)), Generation(int(generation))) for job, generation in pairs]

    async def of_job(self, job: JobId, generation: Generation) -> dict[ImageId, KeptLease]:
        """All leases of a job, parked tasks among them. A job that has none is forgotten."""
        with translated("listing leases"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hgetall(keys.leases(job, generation))
                pipe.hgetall(keys.parked(job, generation))
                pipe.zrange(keys.confirmed(job, generation), 0, -1, withscores=True)
                leased, parked, confirmed = await pipe.execute()
            if not leased and not parked:
                places = [keys.leases(job, generation), keys.parked(job, generation), keys.confirmed(job, generation)]
                await self._forget_job(keys=[keys.LEASED_JOBS, *places], args=[f"{job}:{generation}"])
        times = dict(confirmed)
        return {
            ImageId(int(image)): _lease(value, times.get(image, 0.0)) for image, value in {**parked, **leased}.items()
        }

    async def confirm(self, job: JobId, generation: Generation, images: Iterable[ImageId], *, now: float) -> None:
        """Note that the queue was told of these; one that was settled meanwhile stays out."""
        if marks := {str(image): now for image in images}:
            with translated("confirming leases"):
                await self._redis.zadd(keys.confirmed(job, generation), marks, xx=True)


def _text(lease: KeptLease) -> str:
    return msgspec.json.encode(lease).decode()


def _lease(value: str, confirmed: float = 0.0) -> KeptLease:
    try:
        lease = msgspec.json.decode(value, type=KeptLease)
    except msgspec.DecodeError as error:
        raise errors.InternalError(f"a lease in Redis cannot be read: {error}") from error
    return msgspec.structs.replace(lease, confirmed=confirmed)
