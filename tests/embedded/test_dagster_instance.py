"""What Dagster keeps of partitions outlives a new one, and never shows a deleted one; on a real PostgreSQL."""

from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from antenna_orchestration import settings
from antenna_orchestration.embedded import prepare, stores
from antenna_orchestration.embedded.dagster_instance import Instance

pytestmark = pytest.mark.long

BEFORE_DEFAULT_LIMITS = "6b7fb194ff9c"
"""A revision of Dagster's tables before the newest one: the next one adds a column to `concurrency_limits`."""

JOBS = dg.DynamicPartitionsDefinition(name="jobs")


@dg.asset(partitions_def=JOBS)
def results(context: dg.AssetExecutionContext) -> None:
    if context.run.tags.get("fails"):
        raise RuntimeError


def materialize(instance: Instance, key: str, *, fails: bool = False) -> None:
    tags = {"fails": "yes"} if fails else {}
    done = dg.materialize([results], instance=instance, partition_key=key, tags=tags, raise_on_error=False)
    assert done.success is not fails


def shown(instance: Instance) -> tuple[set[str], set[str]]:
    """The partitions that an asset's page shows as there, and as failed."""
    kept = get_and_update_asset_status_cache_value(instance, results.key, JOBS)
    assert kept is not None
    there = kept.deserialize_materialized_partition_subsets(JOBS)
    failed = kept.deserialize_failed_partition_subsets(JOBS)
    return set(there.get_partition_keys()), set(failed.get_partition_keys())


def the_id(instance: Instance) -> str:
    return instance.get_dynamic_partitions_definition_id("jobs")


def test_a_new_partition_leaves_the_id_and_a_deleted_one_does_not(instance: Instance) -> None:
    instance.add_dynamic_partitions("jobs", ["job-1", "job-2"])
    before = the_id(instance)
    materialize(instance, "job-1")
    assert shown(instance) == ({"job-1"}, set())
    instance.add_dynamic_partitions("jobs", ["job-3"])
    materialize(instance, "job-2", fails=True)
    materialize(instance, "job-3")
    assert the_id(instance) == before
    assert shown(instance) == ({"job-1", "job-3"}, {"job-2"})
    # A retry.
    materialize(instance, "job-2")
    assert shown(instance) == ({"job-1", "job-2", "job-3"}, set())
    for deleted, left in (("job-3", {"job-1", "job-2"}), ("job-1", {"job-2"})):
        instance.delete_dynamic_partition("jobs", deleted)
        assert shown(instance) == (left, set())
    # Of another definition.
    before = the_id(instance)
    instance.delete_dynamic_partition("others", "job-2")
    assert the_id(instance) == before


def test_dagster_itself_still_makes_the_id_of_all_keys(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for ours; and the setting that leaves it out."""
    monkeypatch.setattr(settings, "get", lambda: settings.load(dagster_unchanged=True))
    instance.add_dynamic_partitions("jobs", ["job-1"])
    before = the_id(instance)
    instance.add_dynamic_partitions("jobs", ["job-2"])
    assert the_id(instance) != before


def test_checks_get_an_index_of_ours_once_their_table_is_there(own_stores: stores.EmbeddedStores) -> None:
    url = own_stores.settings.dagster_pg_url
    with psycopg.connect(url.replace("+psycopg2", ""), autocommit=True) as connection:

        def names() -> set[str]:
            return {str(name) for (name,) in connection.execute("SELECT indexname FROM pg_indexes")}

        connection.execute("DROP TABLE IF EXISTS asset_check_executions")
        prepare.index_checks(url)
        assert "antenna_checks_by_asset" not in names()
        connection.execute("CREATE TABLE asset_check_executions (id bigserial, asset_key text, check_name text)")
        for _ in range(2):
            prepare.index_checks(url)
            assert "antenna_checks_by_asset" in names()


def test_older_tables_of_dagster_are_migrated_also_where_this_version_was_here(
    own_stores: stores.EmbeddedStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restored backup of the database alone."""
    url = own_stores.settings.dagster_pg_url
    (tmp_path / "dagster.yaml").write_text(
        "storage: {postgres: {postgres_url: {env: ANTENNA_DAGSTER_PG_URL}}}\ntelemetry: {enabled: false}\n"
    )
    monkeypatch.setenv("ANTENNA_DAGSTER_PG_URL", url)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with psycopg.connect(url.replace("+psycopg2", ""), autocommit=True) as connection:

        def revision() -> str:
            ((found,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            return str(found)

        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        prepare.upgrade_dagster(tmp_path, url)
        with dg.DagsterInstance.get():
            newest = revision()
        # Made since, by this version: nothing to migrate.
        connection.execute("UPDATE alembic_version SET version_num = 'kept'")
        prepare.upgrade_dagster(tmp_path, url)
        assert revision() == "kept"
        connection.execute("UPDATE alembic_version SET version_num = %s", [BEFORE_DEFAULT_LIMITS])
        connection.execute("ALTER TABLE concurrency_limits DROP COLUMN using_default_limit")
        prepare.upgrade_dagster(tmp_path, url)
        assert revision() == newest
        connection.execute("SELECT using_default_limit FROM concurrency_limits")
