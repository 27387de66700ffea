"""What a tick of each sensor costs when nothing happens: CPU time of the code server's part, and of the stores.

Dagster's own part is not in it: `idle` measures a stack whose sensors do nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg

from antenna_orchestration import settings
from antenna_orchestration.definitions import defs
from antenna_orchestration.embedded import dagster_processes
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import services
from antenna_orchestration.resources.stores import Stores
from benchmarks import rig
from benchmarks.figures import Figure, cpu_seconds

WARM: Final = 3
"""Ticks before those that are measured: the first one imports modules."""

TICKS: Final = 40

SENSORS: Final = {
    "queued_jobs": 0.02,
    "worker_autoscaler": 0.02,
    "lost_runs": 0.02,
    "health_watch": 0.06,
    "new_captures": 0.02,
    "season_nights": 0.02,
    "alerts": 0.05,
}
"""CPU seconds of a tick at most, stores included. `job_run_status` asks nobody as long as no run is canceled."""


def run() -> list[Figure]:
    """Ticks of each sensor, one after the other, on an empty deployment with alerts."""
    with rig.stores() as running, _configured(running), dg.DagsterInstance.get() as instance:
        asyncio.run(services.prepare(running.settings))
        return [_measure(running, instance, name, at_most) for name, at_most in SENSORS.items()]


@contextmanager
def _configured(running: EmbeddedStores) -> Iterator[None]:
    """The environment in which the code server finds the stores, Dagster's database and a file of alerts."""
    home = Home(running.settings.home)
    alerts = home.path / "alerts.yaml"
    alerts.write_text(json.dumps({"targets": {"log": {"kind": "command", "command": ["true"]}}}))
    before = dict(os.environ)
    os.environ.update(running.variables)
    os.environ |= {"ANTENNA_ALERTS": str(alerts), "ANTENNA_HOME": str(home.path), "DAGSTER_HOME": str(home.dagster)}
    settings.get.cache_clear()
    dagster_processes.write_home(home, grpc_port=1)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.get.cache_clear()


def _measure(running: EmbeddedStores, instance: dg.DagsterInstance, name: str, at_most: float) -> Figure:
    sensor = defs.resolve_sensor_def(name)
    stores = [running.pid(server) for server in ("nats", "redis", "postgres")]
    before = 0.0
    for number in range(WARM + TICKS):
        if number == WARM:
            before = time.process_time() + cpu_seconds(stores)
        with dg.build_sensor_context(instance=instance, resources={"stores": Stores()}, definitions=defs) as context:
            said = sensor.evaluate_tick(context)
        if said.run_requests:
            raise AssertionError(f"{name} requests runs: {said}")
    spent = time.process_time() + cpu_seconds(stores) - before
    return Figure(f"{name}, CPU", 1000 * spent / TICKS, "ms", at_most=1000 * at_most)
