"""Dagster's storage as `dagster.yaml` configures it, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest
from dagster._serdes import serialize_value

from antenna_orchestration.embedded import dagster_processes, stores
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.pooled_storage import KEPT
from tests.waiting import wait_until


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


def test_a_few_connections_serve_all_and_close_with_the_instance(
    own_stores: stores.EmbeddedStores, instance: dg.DagsterInstance
) -> None:
    for _ in range(3):
        work(instance)
    assert instance.get_runs_count() == 3
    assert 0 < connections(own_stores) <= KEPT
    instance.dispose()
    # A server process takes a moment to end.
    wait_until(lambda: connections(own_stores) == 0, description="no connection is left")

    # Dagster hands its reference to the processes that it starts, in their command lines.
    reference = serialize_value(instance.get_ref())
    assert "ANTENNA_DAGSTER_PG_URL" in reference
    assert own_stores.settings.dagster_pg_url.split("@")[0].rpartition(":")[2] not in reference


def test_a_restarted_postgres_goes_unnoticed(own_stores: stores.EmbeddedStores, instance: dg.DagsterInstance) -> None:
    work(instance)
    own_stores.kill("postgres")
    own_stores.start("postgres")
    work(instance)
    assert instance.get_runs_count() == 2
