"""Definitions for the stack's own tests: small enough to load fast, with a job that runs until it is interrupted."""

import time
from pathlib import Path

import dagster as dg
import psycopg

from antenna_orchestration import errors, settings


def prepare(known: settings.Settings) -> None:
    """The hook that `up` calls before Dagster starts."""
    try:
        with psycopg.connect(known.database_url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS prepared (at timestamptz DEFAULT now())")
            connection.execute("INSERT INTO prepared DEFAULT VALUES")
    except psycopg.OperationalError as error:
        raise errors.Unavailable(f"PostgreSQL cannot be reached: {error}") from error


class Config(dg.Config):
    marker: str
    """A file that says how far the op is."""
    stubborn: bool = False


@dg.op
def wait(context: dg.OpExecutionContext, config: Config) -> None:
    """Like a collector: runs on until it is interrupted, and writes down what it saw then."""
    marker = Path(config.marker)
    marker.write_text("running")
    while True:
        try:
            time.sleep(0.1)
        except dg.DagsterExecutionInterruptedError:
            stopping = (settings.load().home / "stopping").exists()
            marker.write_text(f"interrupted, stopping={stopping}")
            if not config.stubborn:
                raise


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    wait()


defs = dg.Definitions(jobs=[waiting])
