"""What Dagster does and shows of seasons: the sensor that brings them up to date, the asset, its checks."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.answers import season as verb
from antenna_orchestration.assets.partitions import has_partition, projects, season_key
from antenna_orchestration.assets.season import season
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.ecology.season import KINDS
from antenna_orchestration.processing.services import opened
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.sensors.season_nights import season_nights
from tests.answers.seasons import look_and_process, put, stamps, traps
from tests.processing.watched import Watched

LAST = datetime.now(UTC).date() - timedelta(days=2)


def tick(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"stores": Stores()}, definitions=build_definitions()
    ) as context:
        result = season_nights(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def wanted_by(result: dg.SensorResult | dg.SkipReason) -> list[str]:
    """The projects for which a run is requested."""
    if isinstance(result, dg.SkipReason) or not result.run_requests:
        return []
    [request] = result.run_requests
    return list(request.run_config["ops"]["refresh"]["config"]["projects"])


def metadata_of(instance: dg.DagsterInstance, key: str) -> dict[str, object]:
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=season.key, asset_partitions=[key]), limit=1
    ).records
    return {name: one.value for name, one in found[0].asset_materialization.metadata.items()} if found else {}


def text_of(result: dg.ExecuteInProcessResult) -> str:
    """What the events of a run say."""
    return "\n".join(str(one) for one in result.all_events) + str(
        [one.event_specific_data for one in result.all_events if one.is_step_failure]
    )


@pytest.mark.long
def test_a_season_runs_itself(
    wanted: settings.Settings, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources: dict[str, int] = {}

    async def processed(*nights: date) -> None:
        async with opened(wanted) as services:
            if not sources:
                watched = await traps(services, project, tmp_path, ["pond"])
                sources.update({name: one.number for name, one in watched.items()})
            for night in nights:
                put(tmp_path / "pond" / str(night), stamps(night, 4))
            found = {name: Watched(services=services, project=project, number=one) for name, one in sources.items()}
            await look_and_process(services, project, found)

    async def looked_at() -> None:
        async with opened(wanted) as services:
            assert (await verb.refresh(services, project)).nights == [LAST - timedelta(days=2)]

    asyncio.run(processed(LAST - timedelta(days=1), LAST))
    key = str(season_key(project, LAST))
    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(instance, None)
        assert project in wanted_by(first) and isinstance(first, dg.SensorResult)
        # Nothing of it changed since; of other tests' projects, perhaps.
        again = tick(instance, first.cursor)
        assert project not in wanted_by(again) and isinstance(again, dg.SensorResult)

        job = build_definitions().resolve_job_def("update_season")
        config = {"ops": {"refresh": {"config": {"projects": [project]}}}}
        assert job.execute_in_process(instance=instance, run_config=config).success
        assert project in instance.get_dynamic_partitions(str(projects.name))
        shown = metadata_of(instance, key)
        assert (shown["photographs_found"], shown["photographs_expected"]) == (4, 4)
        assert {"share_empty", "share_failed", "detections", "taxa", "wrong", "nights"} <= set(shown)
        checked = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(season.key, name) for name in KINDS]
        )
        assert len(checked) == len(KINDS)

        # Of two projects one is not there: the run fails and says so, and the other is brought up to date.
        config["ops"]["refresh"]["config"]["projects"] = ["no-such-project", project]
        failed = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        assert not failed.success
        assert "not brought up to date: no-such-project: there is no project" in text_of(failed)

        # Somebody brings the season up to date from elsewhere: the partitions follow, and only those that changed.
        before = season_key(project, LAST - timedelta(days=2))
        asyncio.run(processed(LAST - timedelta(days=2)))
        changed = tick(instance, again.cursor)
        assert project in wanted_by(changed)
        asyncio.run(looked_at())
        config["ops"]["refresh"]["config"]["projects"] = [project]
        assert not metadata_of(instance, str(before))
        made = job.execute_in_process(instance=instance, run_config=config)
        assert [one.partition for one in made.asset_materializations_for_node("refresh")] == [before]
        assert metadata_of(instance, str(before))["photographs_found"] == 4
        made = job.execute_in_process(instance=instance, run_config=config)
        assert not made.asset_materializations_for_node("refresh")

        monkeypatch.setenv("ANTENNA_SEASON", "0")
        settings.get.cache_clear()
        off = tick(instance, again.cursor)
        assert isinstance(off, dg.SkipReason) and off.skip_message == "switched off by ANTENNA_SEASON"
        monkeypatch.delenv("ANTENNA_SEASON")
        settings.get.cache_clear()

        # By hand, one night of it.
        made = dg.materialize(
            [season], instance=instance, partition_key=key, resources={"stores": Stores()}, raise_on_error=False
        )
        assert made.success
        assert metadata_of(instance, key)["photographs_found"] == 4
        assert {one.check_name for one in made.get_asset_check_evaluations()} == set(KINDS)


def test_nights_outside_of_the_partitions_have_none() -> None:
    assert has_partition(LAST)
    assert not has_partition(None) and not has_partition(date(1970, 1, 1)) and not has_partition(date(2090, 1, 1))


def test_the_asset_says_what_its_columns_and_checks_mean() -> None:
    [spec] = season.specs
    shown = spec.metadata["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchema) and all(column.description for column in shown.columns)
    assert "What to look at" in (spec.description or "") and spec.owners == ["team:antenna"]
    checks = {one.name: one.description or "" for one in season.check_specs}
    assert checks == KINDS and all(len(text) > 100 for text in checks.values())
