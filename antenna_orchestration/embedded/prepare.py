"""Prepare the stores for this version, in a separate process, so that the supervisor stays small.

`python -m antenna_orchestration.embedded.prepare HOOK` calls HOOK (`module:function`, given the settings; may be
asynchronous) for catalog and queue, and brings Dagster's tables to the installed version.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import inspect
import os
import sys
from pathlib import Path

import psycopg

from antenna_orchestration import errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded.home import write_private

# A string, because `embedded` may not import `processing`: the caller of this process chooses the hook, and tests name
# hooks of their own.
DEFAULT_HOOK = "antenna_orchestration.processing.services:prepare"


def run_hook(hook: str, settings: settings_module.Settings) -> None:
    """Import a hook named `module:function` and call it with the settings. Raises what the hook raises."""
    module, _, function = hook.partition(":")
    result = getattr(importlib.import_module(module), function)(settings)
    if inspect.isawaitable(result):
        asyncio.run(_finished(result))


async def _finished(awaitable: object) -> None:
    await awaitable  # type: ignore[misc] # only called with an awaitable


def upgrade_dagster(home: Path, url: str) -> None:
    """Migrate Dagster's tables after another version was installed; new ones are made by its own processes.

    Raises `Unavailable`.
    """
    version = importlib.metadata.version("dagster")
    done = home / "schema-version"
    if done.exists() and done.read_bytes() == version.encode():
        return
    try:
        with psycopg.connect(url.replace("+psycopg2", "")) as connection:
            row = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
    except psycopg.OperationalError as error:
        where, why = settings_module.without_password(url), str(error).strip().splitlines()[-1]
        raise errors.Unavailable(f"PostgreSQL at {where} cannot be reached: {why}") from error
    if row and row[0]:
        # Slow to import, and rarely needed.
        from dagster import DagsterInstance

        with DagsterInstance.get() as instance:
            instance.upgrade()
    write_private(done, version)


def main() -> int:
    """Entry point of the process; an error is its last line on stderr."""
    try:
        settings = settings_module.load()
        run_hook(sys.argv[1], settings)
        upgrade_dagster(Path(os.environ["DAGSTER_HOME"]), settings.dagster_pg_url)
    except errors.AntennaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
