"""`prune_history`: what Dagster keeps of jobs that were over long ago goes, whole; tables and the catalog stay."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy

from antenna_orchestration import settings
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.job import Job
from antenna_orchestration.embedded import dagster_processes
from antenna_orchestration.embedded.dagster_instance import Instance
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.jobs.operations import prune_history
from antenna_orchestration.processing import cancel
from antenna_orchestration.processing.services import opened
from antenna_orchestration.resources import dagster_history
from antenna_orchestration.resources.stores import Stores
from tests.processing.jobs_by_hand import claimed, make_job

PARTITIONS = "processing_jobs"


@dg.asset(
    partitions_def=dg.DynamicPartitionsDefinition(name=PARTITIONS),
    check_specs=[dg.AssetCheckSpec("whole", asset="of_a_job")],
)
def of_a_job(context: dg.AssetExecutionContext) -> Iterator[object]:
    context.log.info("at work")
    yield dg.MaterializeResult(tags={"kind": "test"})
    yield dg.AssetCheckResult(check_name="whole", passed=True)


@pytest.fixture
def instance(wanted: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Dagster on the shared database, with a home of its own."""
    monkeypatch.setenv("ANTENNA_HOME", str(tmp_path))
    home = Home(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    home.dagster.mkdir()
    dagster_processes.write_home(home, grpc_port=1)
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance, Instance)
        yield instance


def a_run(instance: dg.DagsterInstance, job: Job) -> str:
    key = ids.partition_key(job.job_id)
    instance.add_dynamic_partitions(PARTITIONS, [key])
    done = dg.materialize([of_a_job], instance=instance, partition_key=key)
    assert done.success
    return done.run_id


def aged(instance: dg.DagsterInstance, runs: Sequence[str]) -> None:
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(
            sqlalchemy.text(
                "UPDATE runs SET create_timestamp = now() - interval '100 days' WHERE run_id = ANY (:runs)"
            ),
            {"runs": list(runs)},
        )


def over_for_100_days(wanted: settings.Settings, *jobs: Job) -> None:
    with psycopg.connect(wanted.database_url) as connection:
        connection.execute(
            "UPDATE jobs SET finished_at = now() - interval '100 days' WHERE job_id = ANY (%s)",
            [[job.job_id for job in jobs]],
        )


def left(instance: dg.DagsterInstance, run: str) -> dict[str, int]:
    """How much is left of a run, by table of Dagster's; and folders of logs."""
    found = {"logs": sum(path.name == run for path in Path(instance.storage_directory()).iterdir())}
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        for table in ("runs", "run_tags", "event_logs", "asset_check_executions"):
            count = sqlalchemy.text(f"SELECT count(*) FROM {table} WHERE run_id = :run")
            found[table] = connection.execute(count, {"run": run}).scalar()
    return {table: count for table, count in found.items() if count}


def tags_without_events(instance: dg.DagsterInstance) -> int:
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        orphans = "SELECT count(*) FROM asset_event_tags WHERE event_id NOT IN (SELECT id FROM event_logs)"
        return int(connection.execute(sqlalchemy.text(orphans)).scalar())


def pruned(instance: dg.DagsterInstance, **config: object) -> dict[str, int]:
    """Run it; what it says it removed."""
    done = prune_history.execute_in_process(
        instance=instance, resources={"stores": Stores()}, run_config={"ops": {"prune": {"config": config}}}
    )
    assert done.success
    [said] = [event for event in done.all_node_events if event.is_successful_output]
    metadata = said.event_specific_data.metadata  # type: ignore[union-attr]
    return {name: value.value for name, value in metadata.items() if name != "dry_run"}


def partitions(instance: dg.DagsterInstance, *jobs: Job) -> list[bool]:
    there = instance.get_dynamic_partitions(PARTITIONS)
    return [ids.partition_key(job.job_id) in there for job in jobs]


@pytest.mark.long
def test_what_is_old_goes_whole_and_the_record_stays(
    instance: Instance, wanted: settings.Settings, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def jobs() -> tuple[Job, ...]:
        async with opened(wanted) as services:
            over = [await make_job(services, project, 4) for _ in range(4)]
            active = await claimed(services, await make_job(services, project + "-b", 1))
            for job in over:
                await cancel.cancel(services, job.job_id, reason="a test")
            for job in (over[0], active):
                await services.catalog.job_log.add(job.job_id, "told", "a line of long ago")
            return (*over, active)

    async def told(job: Job) -> bool:
        async with opened(wanted) as services:
            return "told" in [line.action for _, line in await services.catalog.job_log.read(job.job_id)]

    async def record(job: Job) -> tuple[Job, object]:
        async with opened(wanted) as services:
            return await services.catalog.jobs.get(job.job_id), await services.catalog.images.count(job.job_id)

    old, young, half, emptied, active = asyncio.run(jobs())
    runs = [a_run(instance, job) for job in (old, young, active, half, emptied)]
    # As a round leaves them that is killed after a run's events, and before the partition.
    instance.event_log_storage.delete_events(runs[3])
    dagster_history.delete_runs(instance, runs[4:])
    checks = build_definitions().resolve_job_def("jobs_health_check")
    health = instance.create_run_for_job(checks, status=dg.DagsterRunStatus.SUCCESS).run_id
    aged(instance, [*runs, health])
    over_for_100_days(wanted, old, half, emptied)
    with psycopg.connect(wanted.database_url) as connection:
        connection.execute(
            "UPDATE job_log SET at = now() - interval '100 days' WHERE action = 'told' AND job_id = ANY (%s)",
            [[old.job_id, active.job_id]],
        )
    before = asyncio.run(record(old))
    whole = left(instance, runs[0])
    assert whole.keys() == {"logs", "runs", "run_tags", "event_logs", "asset_check_executions"}

    with monkeypatch.context() as kept:
        kept.setenv("ANTENNA_HISTORY_DAYS", "0")
        settings.get.cache_clear()
        assert pruned(instance, dry_run=True)["runs"] == 0
    settings.get.cache_clear()
    would = pruned(instance, dry_run=True)
    assert (left(instance, runs[0]), partitions(instance, old)) == (whole, [True])
    did = pruned(instance)
    assert did == would
    assert (did["runs"], did["partitions"], did["health_runs"]) == (2, 3, 1)
    assert [left(instance, run) for run in (runs[0], runs[3], health)] == [{}, {}, {}]
    assert all(left(instance, run).keys() == whole.keys() for run in runs[1:3]), "the jobs of these are not old"
    assert partitions(instance, old, half, emptied, young, active) == [False, False, False, True, True]
    assert tags_without_events(instance) == 0
    assert asyncio.run(record(old)) == before
    assert not asyncio.run(told(old))
    assert asyncio.run(told(active)), "the story of a job at work is whole"
    assert pruned(instance)["runs"] == 0
