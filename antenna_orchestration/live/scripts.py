"""The Lua scripts, each with a typed signature. Redis runs a script as one step.

A script has its keys in `KEYS` and the rest in `ARGV`; only this module knows their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.live import keys

NOBODY: Final = 0
"""Holder of a parked task; no token has this id."""

_HOLD: Final = """
local jobs, leases, parked, confirmed, holding = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local job_run, holder, now, holding_of = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('SADD', jobs, job_run)
for i = 5, #ARGV, 2 do
  local image, value = ARGV[i], ARGV[i + 1]
  local before = redis.call('HGET', leases, image)
  if before then
    redis.call('SREM', string.format(holding_of, cjson.decode(before)[1]), job_run .. ':' .. image)
  end
  redis.call('HDEL', parked, image)
  if holder == '0' then
    redis.call('HDEL', leases, image)
    redis.call('HSET', parked, image, value)
  else
    redis.call('HSET', leases, image, value)
    redis.call('SADD', holding, job_run .. ':' .. image)
  end
  redis.call('ZADD', confirmed, now, image)
end
"""

_TAKE: Final = """
local leases, parked, confirmed, holding = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job_run, holder = ARGV[1], ARGV[2]
local source = holder == '0' and parked or leases
local found = {}
for i = 3, #ARGV do
  local image = ARGV[i]
  local value = redis.call('HGET', source, image)
  if value and tostring(cjson.decode(value)[1]) == holder then
    found[#found + 1] = {image, value, redis.call('ZSCORE', confirmed, image) or '0'}
    redis.call('HDEL', source, image)
    redis.call('ZREM', confirmed, image)
    if holder ~= '0' then redis.call('SREM', holding, job_run .. ':' .. image) end
  end
end
return found
"""

_FORGET_JOB: Final = """
local jobs, leases, parked, confirmed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if redis.call('EXISTS', leases) + redis.call('EXISTS', parked) == 0 then
  redis.call('SREM', jobs, ARGV[1])
  redis.call('DEL', confirmed)
end
"""


class Found(NamedTuple):
    """One lease that `LeaseScripts.take` struck out."""

    image: ImageId
    value: str
    # When the queue was last told that the task is in progress.
    confirmed: float


class LeaseScripts:
    """Changes to the leases of a job. A lease's value is JSON: an array whose first element is the holder."""

    def __init__(self, client: Any) -> None:
        self._hold = client.register_script(_HOLD)
        self._take = client.register_script(_TAKE)
        self._forget_job = client.register_script(_FORGET_JOB)

    async def hold(self, job_run: JobRun, holder: int, values: Mapping[ImageId, str], *, now: float) -> None:
        """Write the leases of one holder, confirmed now. An earlier holder of the same image loses it."""
        await self._hold(
            keys=[
                keys.LEASED_JOBS,
                keys.leases(job_run),
                keys.parked(job_run),
                keys.confirmed(job_run),
                keys.holding(holder),
            ],
            args=[
                keys.job_run_member(job_run),
                holder,
                now,
                keys.HOLDING,
                *(part for image, value in values.items() for part in (str(image), value)),
            ],
        )

    async def take(self, job_run: JobRun, holder: int, images: Iterable[ImageId]) -> list[Found]:
        """Strike out those of the images that this holder has, and return them."""
        found = await self._take(
            keys=[keys.leases(job_run), keys.parked(job_run), keys.confirmed(job_run), keys.holding(holder)],
            args=[keys.job_run_member(job_run), holder, *images],
        )
        return [Found(ImageId(int(image)), value, float(confirmed)) for image, value, confirmed in found]

    async def forget_job(self, job_run: JobRun) -> None:
        """Forget a job run, unless it has leases or parked tasks."""
        await self._forget_job(
            keys=[keys.LEASED_JOBS, keys.leases(job_run), keys.parked(job_run), keys.confirmed(job_run)],
            args=[keys.job_run_member(job_run)],
        )
