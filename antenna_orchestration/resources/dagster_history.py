"""What Dagster's database keeps of runs that are over, and how it goes in bulk.

Dagster deletes run by run, and leaves a run's checks and logs behind (1.13.27, `sql_event_log.py`, `delete_events`). A
page of runs goes in five statements here, through Dagster's own tables; what then takes its time is PostgreSQL, which
removes 7,000 to 15,000 events a second. Each step may be the last one before a crash: a run's row goes after all that
hangs on it, so that the next round finds what is left. With the setting DAGSTER_UNCHANGED Dagster's own methods do it,
and checks stay.
"""

import contextlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import dagster as dg
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    DynamicPartitionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from sqlalchemy import select

from antenna_orchestration import settings

OVER: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNFINISHED: Final = [status for status in dg.DagsterRunStatus if status not in OVER]

PAGE: Final = 500
"""Runs at once: some 25,000 events."""


class OldRun(NamedTuple):
    """A run that is over."""

    # Rises with the time at which it was created.
    number: int
    run_id: str
    # Its partition's key, if it has one.
    partition: str | None


def old_runs(
    instance: dg.DagsterInstance,
    before: datetime,
    *,
    of: Collection[str] = (),
    not_of: Collection[str] = (),
    after: int = 0,
) -> list[OldRun]:
    """The first runs, by number, that are over and older than a moment: of these Dagster jobs, or of others."""
    wanted = (
        select(RunsTable.c.id, RunsTable.c.run_id, RunsTable.c.partition)
        .where(RunsTable.c.id > after, RunsTable.c.status.in_([status.value for status in OVER]))
        # Dagster writes UTC, without a zone.
        .where(RunsTable.c.create_timestamp < before.astimezone(UTC).replace(tzinfo=None))
        .order_by(RunsTable.c.id)
        .limit(PAGE)
    )
    if of:
        wanted = wanted.where(RunsTable.c.pipeline_name.in_(of))
    if not_of:
        wanted = wanted.where(RunsTable.c.pipeline_name.not_in(not_of))
    with _runs(instance) as connection:
        return [OldRun(*row) for row in connection.execute(wanted)]


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete these runs with their events, checks, tags and logs; idempotent."""
    logs = instance.compute_log_manager
    for run_id in run_ids:
        logs.delete_logs(prefix=[run_id])
    if settings.get().dagster_unchanged:
        for run_id in run_ids:
            instance.delete_run(run_id)
        return
    events, tags, checks = SqlEventLogStorageTable, AssetEventTagsTable, AssetCheckExecutionsTable
    of_assets = select(events.c.id).where(events.c.run_id.in_(run_ids), events.c.asset_key.is_not(None))
    with _events(instance) as connection:
        connection.execute(tags.delete().where(tags.c.event_id.in_(of_assets)))
        connection.execute(checks.delete().where(checks.c.run_id.in_(run_ids)))
        connection.execute(events.delete().where(events.c.run_id.in_(run_ids)))
    with _runs(instance) as connection:
        connection.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id.in_(run_ids)))
        connection.execute(RunsTable.delete().where(RunsTable.c.run_id.in_(run_ids)))


def delete_partitions(instance: dg.DagsterInstance, definition: str, keys: Sequence[str]) -> None:
    """Delete these dynamic partitions; idempotent."""
    if not keys:
        return
    *most, last = keys
    if most and not settings.get().dagster_unchanged:
        partitions = DynamicPartitionsTable
        with _events(instance) as connection:
            connection.execute(
                partitions.delete().where(
                    partitions.c.partitions_def_name == definition, partitions.c.partition.in_(most)
                )
            )
        most = []
    # Dagster's own method for the last, which makes it look again at which are there (`embedded/dagster_instance.py`).
    for key in (*most, last):
        instance.delete_dynamic_partition(definition, key)


def _runs(instance: dg.DagsterInstance) -> contextlib.AbstractContextManager[Any]:
    # Of all storages that keep their runs in a database.
    storage: Any = instance.run_storage
    connection: contextlib.AbstractContextManager[Any] = storage.connect()
    return connection


def _events(instance: dg.DagsterInstance) -> contextlib.AbstractContextManager[Any]:
    storage: Any = instance.event_log_storage
    connection: contextlib.AbstractContextManager[Any] = storage.index_connection()
    return connection
