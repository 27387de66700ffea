"""Runs: which of Dagster's runs are under way, and when each was last heard of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from antenna_orchestration.catalog.database import Database


class Runs:
    """The heartbeats of runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, run_id: str) -> None:
        """Record that the run is alive, and with it the collector of the job that it works for."""
        await self._database.rows("beat_run", run_id=run_id)

    async def silent_for(self) -> Mapping[str, float]:
        """Seconds since the last heartbeat of each run that is not known to be over, by the database's clock."""
        return {row["run_id"]: row["silent_for"] for row in await self._database.rows("heard_runs")}

    async def forget(self, runs: Iterable[str]) -> None:
        """Delete the heartbeats of runs that are over; idempotent."""
        await self._database.rows("forget_runs", runs=list(runs))
