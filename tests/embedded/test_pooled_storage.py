"""Dagster's storage as `dagster.yaml` configures it, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
import sqlalchemy.event
import sqlalchemy.pool
from dagster._serdes import serialize_value
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from sqlalchemy.engine import Engine

from antenna_orchestration import settings
from antenna_orchestration.embedded import dagster_processes, pooled_storage, stores
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.pooled_storage import ASKED_AGAIN, KEPT

pytestmark = pytest.mark.long


@pytest.fixture
def instance(own_stores: stores.EmbeddedStores, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name, value in own_stores.variables.items():
        monkeypatch.setenv(name, value)
    dagster_processes.write_home(Home(own_stores.settings.home), grpc_port=1)
    with dg.DagsterInstance.get() as instance:
        yield instance


@dg.asset
def number() -> int:
    return 1


def work(instance: dg.DagsterInstance) -> None:
    """Use all three storages."""
    assert dg.materialize([number], instance=instance).success
    instance.add_dynamic_partitions("jobs", ["job-1"])
    assert instance.get_dynamic_partitions("jobs") == ["job-1"]
    assert instance.all_instigator_state() == []


def connections(running: stores.EmbeddedStores) -> int:
    with psycopg.connect(running.admin_database_url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'dagster'").fetchone()
    assert row is not None
    return int(row[0])


def test_a_few_connections_serve_all_instances_of_a_process(
    own_stores: stores.EmbeddedStores, instance: dg.DagsterInstance
) -> None:
    for _ in range(3):
        work(instance)
        with dg.DagsterInstance.get() as another:
            assert another.get_dynamic_partitions("jobs") == ["job-1"]
    assert instance.get_runs_count() == 3
    assert 0 < connections(own_stores) <= KEPT

    # Dagster hands its reference to the processes that it starts, in their command lines.
    reference = serialize_value(instance.get_ref())
    assert "ANTENNA_DAGSTER_PG_URL" in reference
    assert own_stores.settings.dagster_pg_url.split("@")[0].rpartition(":")[2] not in reference


@contextmanager
def statements() -> Iterator[list[str]]:
    """All that this process sends to PostgreSQL through SQLAlchemy."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        sent.append(statement)

    sqlalchemy.event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sqlalchemy.event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("unchanged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_is_there_is_looked_up_once(monkeypatch: pytest.MonkeyPatch, unchanged: bool) -> None:
    monkeypatch.setattr(settings, "get", lambda: settings.load(dagster_unchanged=unchanged))
    for is_known in (False, True):
        # As a sensor's tick does.
        with dg.DagsterInstance.get() as instance, statements() as sent:
            work(instance)
            instance.get_backfills()
            assert instance.schedule_storage is not None and instance.schedule_storage.supports_batch_queries
        looked_up = [one for one in sent if "pg_catalog" in one]
        assert bool(looked_up) is (unchanged or not is_known)


def test_a_run_takes_columns_to_be_there(
    own_stores: stores.EmbeddedStores, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(instance)
    assert PostgresRunStorage.has_run_stats_index_cols(instance.run_storage)  # type: ignore[arg-type]
    assert PostgresEventLogStorage.has_asset_key_col(instance.event_log_storage, "cached_status_data")  # type: ignore[arg-type]
    monkeypatch.setattr(pooled_storage, "_there", set())
    monkeypatch.setattr(pooled_storage, "_whole", set())
    pooled_storage.take_tables_to_be_there(own_stores.settings.dagster_pg_url)
    with dg.DagsterInstance.get() as of_run, statements() as sent:
        assert dg.materialize([number], instance=of_run).success
        [record] = of_run.get_asset_records([number.key])
        assert record.asset_entry.last_run_id
    assert not [one for one in sent if "pg_attribute" in one]


def test_what_dagster_asks_again_has_these_names() -> None:
    storages = (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage)
    assert not [name for name in ASKED_AGAIN if not any(hasattr(one, name) for one in storages)]


def test_a_restarted_postgres_goes_unnoticed(own_stores: stores.EmbeddedStores, instance: dg.DagsterInstance) -> None:
    work(instance)
    own_stores.kill("postgres")
    own_stores.start("postgres")
    work(instance)
    assert instance.get_runs_count() == 2


def test_a_connection_is_asked_after_a_rest_only(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy's own ping asks before each statement."""
    work(instance)
    dialect = instance.run_storage._engine.dialect  # type: ignore[attr-defined]
    asks, asked = dialect.do_ping, []
    monkeypatch.setattr(dialect, "do_ping", lambda connection: asked.append(connection) or asks(connection))
    for trusted_for, pings in ((1e9, 0), (0.0, 1)):
        monkeypatch.setattr(pooled_storage, "TRUSTED_FOR", trusted_for)
        asked.clear()
        assert instance.get_runs_count() == 1
        assert len(asked) == pings


def test_another_instance_connects_no_more(
    own_stores: stores.EmbeddedStores, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(instance)
    connected: list[object] = []

    def note(connection: object, *_more: object) -> None:
        connected.append(connection)

    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "connect", note)
    try:
        for _ in range(3):
            with dg.DagsterInstance.get() as another:
                assert another.get_runs_count() == 1
        assert connected == []

        # Dagster's database was wiped: its tables come again, a while later.
        with psycopg.connect(own_stores.settings.dagster_pg_url.replace("+psycopg2", "")) as connection:
            connection.execute("DROP TABLE instance_info")
        monkeypatch.setattr(pooled_storage, "SEEN_FOR", 0.0)
        with dg.DagsterInstance.get() as another:
            assert another.run_storage.get_run_storage_id()
        assert connected
    finally:
        sqlalchemy.event.remove(sqlalchemy.pool.Pool, "connect", note)
