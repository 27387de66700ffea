"""The assets of exports, materialized in process against the real stores and an ephemeral Dagster instance."""

import asyncio
import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from antenna_orchestration import errors, settings
from antenna_orchestration.answers import recipes
from antenna_orchestration.assets import exports
from antenna_orchestration.assets.derived import derived_tables
from antenna_orchestration.assets.job_assets import image_tasks, manifest, results
from antenna_orchestration.assets.run_session import RunSession
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.job import Job
from antenna_orchestration.ecology.recipes import parsed
from antenna_orchestration.exports.formats import FORMATS
from antenna_orchestration.jobs.export import export_dataset
from antenna_orchestration.processing.services import opened
from antenna_orchestration.resources.stores import Stores
from tests.definitions.test_launchpad import launched, reason
from tests.processing.classified_jobs import LABELS, finished_job

pytestmark = pytest.mark.long

TABLES = exports.EXPORTS["tables"]


async def finished(wanted: settings.Settings, project: str, jobs: int) -> list[Job]:
    async with opened(wanted) as services:
        return [await finished_job(services, project, LABELS, reprocess=True) for _ in range(jobs)]


def exported(
    jobs: list[Job], instance: dg.DagsterInstance, asset: dg.AssetsDefinition = TABLES
) -> dg.ExecuteInProcessResult:
    keys = [ids.partition_key(job.job_id) for job in jobs]
    instance.add_dynamic_partitions("processing_jobs", keys)
    range_ = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    one = len(keys) == 1
    return dg.materialize(
        [asset],
        instance=instance,
        partition_key=keys[0] if one else None,
        tags={} if one else range_,
        resources={"stores": Stores()},
        raise_on_error=False,
    )


def test_an_export_is_stale_once_its_tables_are_made_of_something_else(wanted: settings.Settings, project: str) -> None:
    (job,) = asyncio.run(finished(wanted, project, 1))
    key = ids.partition_key(job.job_id)
    graph = build_definitions().resolve_asset_graph()

    async def use_another_recipe() -> None:
        async with opened(wanted) as services:
            await recipes.use(services, project, parsed("steps: []", "recipe.yaml"), by="anna")

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("processing_jobs", [key])

        def materialize(*assets: dg.AssetsDefinition) -> None:
            for asset in assets:
                stores = Stores()
                resources = {"stores": stores, "run_session": RunSession(stores=stores)}
                assert dg.materialize([asset], instance=instance, partition_key=key, resources=resources).success

        def status() -> StaleStatus:
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            return resolver.get_status(dg.AssetKey("export_tables"), key)

        materialize(manifest, image_tasks, results, derived_tables, TABLES)
        assert status() is StaleStatus.FRESH
        materialize(derived_tables)
        assert status() is StaleStatus.FRESH, "the tables are the same"
        asyncio.run(use_another_recipe())
        materialize(derived_tables)
        assert status() is StaleStatus.STALE
        materialize(TABLES)
        assert status() is StaleStatus.FRESH


def test_a_partition_and_a_range_of_them_are_exported_and_checked(wanted: settings.Settings, project: str) -> None:
    jobs = asyncio.run(finished(wanted, project, 2))
    with dg.DagsterInstance.ephemeral() as instance:
        for some in (jobs[:1], jobs):
            result = exported(some, instance)
            assert result.success
            assert [check.passed for check in result.get_asset_check_evaluations()] == [True]
            for job in some:
                shown = newest(instance, "export_tables", job).metadata
                folder = Path(str(shown["dagster/uri"].value))
                assert folder == Path(wanted.lake, "exports/tables", f"job_id={job.job_id}/tables")
                assert (folder / "observations.csv").is_file()
                assert shown["observations"] == dg.IntMetadataValue(3)
            # One event for each partition, and none without metadata.
            events = result.asset_materializations_for_node("export_tables")
            assert sorted(str(event.partition) for event in events) == [ids.partition_key(job.job_id) for job in some]
            assert all(event.metadata for event in events)


def newest(instance: dg.DagsterInstance, asset: str, job: Job) -> dg.AssetMaterialization:
    partitions = [ids.partition_key(job.job_id)]
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=partitions)
    [record] = instance.fetch_materializations(wanted, limit=1).records
    found = record.asset_materialization
    assert found is not None
    return found


def test_a_range_records_what_was_written_and_names_what_was_not(wanted: settings.Settings, project: str) -> None:
    good = asyncio.run(finished(wanted, project, 2))
    [bad] = asyncio.run(finished(wanted, project, 1))
    shutil.rmtree(Path(wanted.lake, f"captures/job_id={bad.job_id}"))
    jobs = [good[0], bad, good[1]]
    with dg.DagsterInstance.ephemeral() as instance:
        result = exported(jobs, instance)
        assert not result.success
        events = result.asset_materializations_for_node("export_tables")
        assert [event.partition for event in events] == [ids.partition_key(job.job_id) for job in good]
        for job in good:
            assert newest(instance, "export_tables", job).metadata["observations"] == dg.IntMetadataValue(3)
        assert [check.passed for check in result.get_asset_check_evaluations()] == [True]
        [failed] = result.get_step_failure_events()
        why = failed.step_failure_data.user_failure_data
        assert why is not None and why.description is not None
        assert why.description.startswith(f"1 of 3 partitions not exported, the others are: job-{bad.job_id}: ")


def test_a_job_without_results_is_refused_in_one_line(wanted: settings.Settings, project: str, tmp_path: Path) -> None:
    config = {"format": "tables", "project": f"{project}-x", "out": str(tmp_path / "out")}
    result = launched(export_dataset, "export", config)
    assert f"no project {project}-x" in reason(result)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"format": "docx", "project": "p", "out": "/no/such/place"}, "no format 'docx'"),
        ({"format": "tables", "out": "/no/such/place"}, "either jobs or a project"),
        ({"format": "tables", "project": "p", "out": "here"}, "a whole path"),
        ({"format": "tables", "project": "p", "out": "/no/such/place", "first": "June"}, "not a date"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    wanted: settings.Settings, config: dict[str, str], said: str
) -> None:
    assert said in reason(launched(export_dataset, "export", config))


def test_a_data_set_over_jobs_is_exported(wanted: settings.Settings, project: str, tmp_path: Path) -> None:
    jobs = [job.job_id for job in asyncio.run(finished(wanted, project, 2))]
    config = {"format": "tables", "jobs": jobs, "out": str(tmp_path / "traps"), "options": {"as": "parquet"}}
    assert launched(export_dataset, "export", config).success
    assert (tmp_path / "traps/observations.parquet").is_file()


def test_formats_for_each_job_are_named_by_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, names in (("", []), ("tables", ["export_tables"])):
        monkeypatch.setenv("ANTENNA_EXPORT_EACH_JOB", text)
        settings.get.cache_clear()
        assert [one.key.to_user_string() for one in exports.of_each_job()] == names
    monkeypatch.setenv("ANTENNA_EXPORT_EACH_JOB", "tables,docx")
    settings.get.cache_clear()
    with pytest.raises(errors.InvalidSetting, match="no format 'docx'"):
        exports.of_each_job()
    settings.get.cache_clear()


def test_every_format_has_an_asset_with_a_blocking_check() -> None:
    for name, asset in exports.EXPORTS.items():
        [check] = asset.check_specs
        assert check.blocking and asset.key.to_user_string() == exports.asset_name(FORMATS[name])
