"""Workers that were started for a backlog: starts, what was decided for each pool, and how fast workers were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Database
from antenna_orchestration.domain.scaling import Past, PoolDecision
from antenna_orchestration.domain.texts import storable


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStart:
    """A start that is not known to have ended."""

    start_id: str
    pool: str
    # What the engine calls it; empty while it is not known.
    handle: str
    # Seconds since it was asked for.
    age: float
    # Seconds since the engine said that it runs; 0 if it did not yet.
    running_for: float
    # Whether its worker was heard at any time.
    was_heard: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """What was decided for a pool."""

    pool: str
    # Whether workers are on their way, or held up.
    is_waited_for: bool
    why: str


class WorkerStarts:
    """The starts of workers. Times are by the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lock(self) -> AbstractAsyncContextManager[bool]:
        """Be the only one that starts workers, for the length of the block; False when another process does now."""
        return self._database.only_one("worker starts")

    async def add(self, pool: str, starts: Sequence[str]) -> None:
        """Record that these workers are about to be started."""
        await self._database.rows("add_worker_starts", pool=pool, starts=list(starts))

    async def note_handle(self, start: str, handle: str) -> None:
        """Record what the engine calls the start."""
        await self._database.rows("handle_of_worker_start", start=start, handle=handle)

    async def hear(self, starts: Iterable[str], worked: Iterable[str]) -> None:
        """Record that the workers of these starts were heard just now, and which of them have finished an image."""
        await self._database.rows("hear_worker_starts", starts=list(starts), worked=list(worked))

    async def note_running(self, starts: Iterable[str]) -> None:
        """Record that the engine says that these starts run."""
        await self._database.rows("note_running_starts", starts=list(starts))

    async def note_useless(self, reasons: Mapping[str, str]) -> None:
        """Record why the workers of these starts do nothing; for those that never work it counts as a bad end."""
        await self._database.rows(
            "note_useless_starts", starts=list(reasons), reasons=list(map(storable, reasons.values()))
        )

    async def end(self, errors_: Mapping[str, str]) -> None:
        """Record that starts ended; each with the reason if it did not end well, else with an empty one."""
        async with self._database.transaction() as connection:
            for start, error in errors_.items():
                await connection.execute(queries.load("end_worker_start"), {"start": start, "error": error})

    async def open(self) -> list[OpenStart]:
        """The starts that are not known to have ended, the oldest first."""
        return [OpenStart(**row) for row in await self._database.rows("open_worker_starts")]

    async def past(self) -> dict[str, Past]:
        """What pools did in the last days; those that did nothing are left out."""
        rows = await self._database.rows("past_of_worker_pools")
        return {
            row["pool"]: Past(
                failures=row["failures"],
                failed_ago=row["failed_ago"] or 0.0,
                error=(row["error"] or "") if row["failures"] else "",
                used=row["used"],
            )
            for row in rows
        }

    async def note_decisions(self, decisions: Iterable[PoolDecision]) -> None:
        """Record what was decided, for people, and forget old starts.

        Those are over that ended eight days ago; those of pools that nobody has looked after for a day end.
        """
        async with self._database.transaction() as connection:
            for one in decisions:
                await connection.execute(
                    queries.load("put_worker_pool"),
                    {
                        "pool": one.pool,
                        "needed": one.needed,
                        "on_their_way": one.on_their_way + one.start,
                        "is_short": one.is_short,
                        "why": one.why,
                    },
                )
            await connection.execute(queries.load("forget_worker_starts"))

    async def states(self, *, within: float) -> list[PoolState]:
        """What was decided within so many seconds."""
        return [PoolState(**row) for row in await self._database.rows("worker_pools", within=within)]

    async def note_speeds(self, speeds: Mapping[tuple[str, str], float]) -> None:
        """Record seconds per image, by pool and pipeline."""
        async with self._database.transaction() as connection:
            for (pool, pipeline), seconds in speeds.items():
                await connection.execute(
                    queries.load("put_pipeline_speed"), {"pool": pool, "pipeline": pipeline, "seconds": seconds}
                )

    async def speeds(self) -> dict[tuple[str, str], float]:
        """Seconds per image, by pool and pipeline; the pool is empty for workers that others started."""
        return {(row["pool"], row["pipeline"]): row["seconds"] for row in await self._database.rows("pipeline_speeds")}
