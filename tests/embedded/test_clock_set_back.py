"""Dagster's daemon goes on after the clock was set back."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorType, SensorInstigatorData
from dagster._core.test_utils import instance_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon import daemon as daemons
from dagster._daemon import sensor

from antenna_orchestration.embedded import clock_set_back, daemon, prepare
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import sensor_ticks
from tests.chaos.wall_clock import jumping
from tests.processing.jobs_by_hand import make_job
from tests.waiting import wait_until

BACK = 7200.0


@dg.sensor(name="watcher", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def watcher() -> dg.SkipReason:
    return dg.SkipReason("nothing to do")


defs = dg.Definitions(sensors=[watcher])


def look(instance: dg.DagsterInstance) -> int:
    """One look of Dagster's own loop at the sensors; how many ticks there are then."""
    origin = LoadableTargetOrigin(executable_path=sys.executable, python_file=__file__)
    with WorkspaceProcessContext(
        instance, InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, location_name="here"))
    ) as workspace:
        failures = [one for one in sensor.execute_sensor_iteration(workspace, logging.getLogger(), None, None) if one]
    assert failures == []
    [state] = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    return len(instance.get_ticks(state.instigator_origin_id, state.selector_id))


def set_clock_back(instance: dg.DagsterInstance) -> None:
    """Let the last tick be of before the clock was set back."""
    [state] = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    data = state.instigator_data
    assert isinstance(data, SensorInstigatorData)
    assert data.last_tick_timestamp and data.last_tick_start_timestamp and data.last_tick_success_timestamp
    times = ("last_tick_timestamp", "last_tick_start_timestamp", "last_tick_success_timestamp")
    instance.update_instigator_state(
        state.with_data(data._replace(**{name: getattr(data, name) + BACK for name in times}))
    )


def test_a_sensor_with_a_tick_in_the_future_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nothing is claimed, found lost, checked or told for two hours, whatever is restarted."""
    monkeypatch.setattr(sensor, "get_elapsed", sensor.get_elapsed)
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        assert look(instance) == 1
        set_clock_back(instance)
        assert look(instance) == 1, "Dagster's own way: it rests for two hours, so the change is still needed"
        clock_set_back.install()
        assert look(instance) == 2
        assert look(instance) == 2, "it rests as before"


def test_a_tick_in_the_future_is_not_the_last_one(tmp_path: Path) -> None:
    """Else the metrics showed for two hours that the sensor ticks, whether it did or not."""
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        look(instance)
        [now] = sensor_ticks.latest(instance)
        [state] = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        [tick] = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        instance.create_tick(tick.tick_data._replace(timestamp=tick.timestamp + BACK))
        assert sensor_ticks.latest(instance) == [now]


@pytest.mark.long
async def test_the_preparation_sets_future_times_to_now(own_services: Services, project: str) -> None:
    job = await make_job(own_services, project, 1)
    with psycopg.connect(own_services.settings.database_url) as connection:
        connection.execute("UPDATE jobs SET created_at = now() + interval '2 hours' WHERE job_id = %s", [job.job_id])
    found = await prepare.clear_jobs(own_services.settings, prepare.EarlierRuns())
    assert found == prepare.Found(redated=1, runs=0, unfinished=1)
    assert (await own_services.catalog.jobs.get(job.job_id)).created_at <= await own_services.catalog.now()
    assert (
        found.in_words == "set 1 row to now that a clock which was ahead left in the future, 1 unfinished job goes on"
    )


def test_the_daemon_asks_for_the_time_since_as_it_is_changed() -> None:
    """Read at 1.13.27: fails when its internals move."""
    source = inspect.getsource(sensor.is_under_min_interval)
    assert "elapsed = get_elapsed(state)\n    if elapsed is None:\n        return False" in source
    assert inspect.getsource(sensor.execute_sensor_iteration).count("is_under_min_interval(sensor_state, sensor)") == 1


def test_loops_of_the_daemon_rest_by_the_wall_clock() -> None:
    """Why it leaves when that is set back; without this it would not need to."""
    assert "while time.time() - start_time < interval:" in inspect.getsource(daemons.IntervalDaemon.core_loop)


def test_the_daemon_leaves_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A little back, as time services do, and forward is nothing; nor is what came of a drift over days."""
    killed: list[tuple[int, int]] = []
    said: list[str] = []
    offsets = iter([100.0, 95.0, 90.0, 85.0, 9_000.0, 9_000.0, 1_800.0, 0.0])
    monkeypatch.setattr(clock_set_back, "POLL", 0.0)
    monkeypatch.setattr(os, "kill", lambda *how: killed.append(how))
    clock_set_back.leave_when_set_back(said.append, offset=lambda: next(offsets))
    assert said == ["leaving, to be started again: the clock was set back by 7200 s"]
    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert next(offsets) == 0.0


@pytest.mark.long
def test_a_daemon_whose_clock_is_set_back_ends_in_order(shared_stores: EmbeddedStores, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    workspace, log = tmp_path / "workspace.yaml", tmp_path / "daemon.log"
    workspace.write_text("load_from: []\n")
    ours = {"DAGSTER_HOME": str(tmp_path), "ANTENNA_DAGSTER_PG_URL": shared_stores.settings.dagster_pg_url}
    with jumping() as clock, log.open("wb") as output:
        clock.jump(int(BACK))
        process = subprocess.Popen(
            [sys.executable, "-m", daemon.__name__, "--workspace", str(workspace)],
            env={**os.environ, **ours, **clock.environment}, cwd=tmp_path, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            wait_until(lambda: "Instance is configured" in log.read_text(), description="its loops have begun")
            clock.jump(0)
            assert process.wait(timeout=60) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
    assert "leaving, to be started again: the clock was set back by 7200 s" in log.read_text()
    assert "Daemon threads shut down." in log.read_text()
