"""Prepare the stores for this version and clear the past, in a separate process: the supervisor stays small.

`python -m antenna_orchestration.embedded.prepare HOOK` calls HOOK (`module:function`, given the settings; may be
asynchronous) for catalog and queue, brings Dagster's tables to the installed version, and ends the runs in Dagster
whose processes ended with an earlier stack. Its last line says what it found.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import inspect
import os
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import psycopg

from antenna_orchestration import errors, kernel, server_urls
from antenna_orchestration import settings as settings_module
from antenna_orchestration.catalog.database import first_line
from antenna_orchestration.domain import run_tags
from antenna_orchestration.domain.job import ACTIVE
from antenna_orchestration.embedded import credentials
from antenna_orchestration.embedded.home import Home, write_private

# A string, because `embedded` may not import `processing`: the caller of this process chooses the hook, and tests name
# hooks of their own.
DEFAULT_HOOK = "antenna_orchestration.processing.services:prepare"

FOUND: Final = "found: "
"""Begins the last line of a preparation that succeeded."""

_NO_TABLES: Final = "none"
"""Stands for the revision of Dagster's tables in `schema-version` where there are none yet."""


def run_hook(hook: str, settings: settings_module.Settings) -> None:
    """Import a hook named `module:function` and call it with the settings. Raises what the hook raises."""
    module, _, function = hook.partition(":")
    result = getattr(importlib.import_module(module), function)(settings)
    if inspect.isawaitable(result):
        asyncio.run(_finished(result))


async def _finished(awaitable: object) -> None:
    await awaitable  # type: ignore[misc] # only called with an awaitable


def upgrade_dagster(home: Path, url: str) -> None:
    """Migrate Dagster's tables after another version was installed, or if an older database was restored.

    New ones are made by its own processes. The file `schema-version` keeps the version, and the revision of the tables
    that it brought them to. Raises `Unavailable`.
    """
    version = importlib.metadata.version("dagster")
    done = home / "schema-version"
    said = done.read_bytes() if done.exists() else b""
    revision = _revision(url)
    if revision is not None and said == f"{version} {revision}".encode():
        return
    # Those that were not there at the last start were made by this version.
    if revision is not None and said != f"{version} {_NO_TABLES}".encode():
        # Slow to import, and rarely needed.
        from dagster import DagsterInstance

        with DagsterInstance.get() as instance:
            instance.upgrade()
        revision = _revision(url)
    write_private(done, f"{version} {revision or _NO_TABLES}")


def _revision(url: str) -> str | None:
    """The revision of Dagster's tables; None where there are none."""
    with _connected(url) as connection:
        if not _has_table(connection, "alembic_version"):
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def index_checks(url: str) -> None:
    """Add the index of ours to Dagster's tables: a partition's checks are looked up by asset and name, the last first.

    At 50,000 jobs an asset's page takes 0.04 s in place of 0.25 s. Dagster's indexes end before the id (1.13.27). The
    tables of a new stack come later, and their index at its next start. Raises `Unavailable`.
    """
    columns = "asset_key, check_name, id"
    with _connected(url) as connection:
        if _has_table(connection, "asset_check_executions"):
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS antenna_checks_by_asset ON asset_check_executions ({columns})"
            )


@dataclass(frozen=True)
class EarlierRuns:
    """The runs in Dagster that were under way when the last stack ended."""

    ended: list[str] = field(default_factory=list)
    """The ids of those that were ended."""
    going_on: set[str] = field(default_factory=set)
    """The starts of workers whose runs go on."""


def end_lost_runs(settings: settings_module.Settings) -> EarlierRuns:
    """End the runs in Dagster whose processes cannot be alive.

    Call before the code server and the daemon have started any: all runs of our code location then belong to an earlier
    stack, whose processes are gone. Those that are Slurm jobs are not: they run on other nodes, or wait in its queue.
    A run of `dagster job execute` may be alive, and one of another host, too. The sensor `lost_runs` watches them all.
    """
    url, found = settings.dagster_pg_url, EarlierRuns()
    if not _has_held_runs(url):
        return found
    # Slow to import, and rarely needed.
    import dagster as dg

    from antenna_orchestration.resources import run_states

    is_bundled = _is_bundled(settings)
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs(dg.RunsFilter(statuses=list(run_states.HELD))):
            origin = run.remote_job_origin
            # Somebody else's database may hold the runs of a location elsewhere that has our name.
            is_of_this_stack = is_bundled and origin is not None and origin.location_name == run_tags.LOCATION
            is_on_slurm = run_tags.SLURM_JOB in run.tags
            if (is_of_this_stack and not is_on_slurm) or kernel.is_gone(run.tags.get(run_tags.PROCESS, "")):
                run_states.end(instance, run, "its process ended with an earlier `antenna up`")
                found.ended.append(run.run_id)
            elif start := run.tags.get(run_tags.START):
                found.going_on.add(start)
    return found


def _is_bundled(settings: settings_module.Settings) -> bool:
    """Whether Dagster's database is this home's own; another orchestrator may be at work on the servers of others."""
    home = Home(settings.home)
    known = credentials.load(home).dagster if home.credentials_file.exists() else None
    return known is not None and urlsplit(settings.dagster_pg_url).password == known


def _has_held_runs(url: str) -> bool:
    held = "SELECT 1 FROM runs WHERE status IN ('NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING') LIMIT 1"
    with _connected(url) as connection:
        return _has_table(connection, "runs") and connection.execute(held).fetchone() is not None


def _connected(url: str) -> psycopg.Connection[tuple[object, ...]]:
    try:
        return psycopg.connect(url.replace("+psycopg2", ""))
    except psycopg.OperationalError as error:
        where, why = server_urls.without_password(url), str(error).strip().splitlines()[-1]
        raise errors.Unavailable(f"PostgreSQL at {where} cannot be reached: {why}") from error


def _has_table(connection: psycopg.Connection[tuple[object, ...]], name: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
    return bool(row and row[0])


class Found(NamedTuple):
    """What an earlier stack had left: how many of each."""

    # Rows with times in the future.
    redated: int
    # Runs that were ended.
    runs: int
    # Leftovers of jobs that are over.
    cleared: int = 0
    # Jobs that go on.
    unfinished: int = 0

    @property
    def in_words(self) -> str:
        """The rest of a line; empty if that is nothing."""
        found = []
        if self.redated:
            rows = f"{self.redated} row{'s' if self.redated > 1 else ''}"
            found.append(f"set {rows} to now that a clock which was ahead left in the future")
        if self.runs:
            found.append(f"ended {self.runs} run{'s' if self.runs > 1 else ''} whose process is gone")
        if self.cleared:
            found.append(f"cleared {self.cleared} leftover{'s' if self.cleared > 1 else ''} of jobs that are over")
        if self.unfinished:
            found.append(f"{self.unfinished} unfinished job{'s go' if self.unfinished > 1 else ' goes'} on")
        return ", ".join(found)


async def clear_jobs(settings: settings_module.Settings, runs: EarlierRuns) -> Found:
    """Delete the heartbeats of ended runs, and what jobs that are over left on the queue, in Redis and in the lake.

    Workers would do such tasks again: NATS' files may be older than the catalog. Before that, what an earlier stack
    wrote by a clock that was ahead is dated now.
    """
    with _connected(settings.database_url) as connection:
        if not _has_table(connection, "run_heartbeats"):
            return Found(redated=0, runs=len(runs.ended))
    # Slow to import, as above.
    from antenna_orchestration.processing import run_heartbeat, scale
    from antenna_orchestration.processing.services import opened
    from antenna_orchestration.upkeep import health

    async with opened(settings) as services:
        redated = await health.redate(services)
        await run_heartbeat.forget(services, runs.ended)
        if _is_bundled(settings):
            await scale.forget_here(services, but=runs.going_on)
        cleared = await health.clear_leftovers(services)
        unfinished = await services.catalog.jobs.list(statuses=ACTIVE, limit=health.MANY)
        return Found(redated, len(runs.ended), cleared.fixed, len(unfinished))


def main() -> int:
    """Entry point of the process; an error is its last line on stderr."""
    try:
        settings = settings_module.load()
        run_hook(sys.argv[1], settings)
        upgrade_dagster(Path(os.environ["DAGSTER_HOME"]), settings.dagster_pg_url)
        if not settings.dagster_unchanged:
            index_checks(settings.dagster_pg_url)
        found = asyncio.run(clear_jobs(settings, end_lost_runs(settings)))
    except errors.AntennaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        # Some libraries' texts end in a line that says nothing.
        print(f"{type(error).__name__}: {first_line(error)}", file=sys.stderr)
        return errors.InternalError.exit_code
    print(FOUND + found.in_words, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
