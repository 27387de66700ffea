from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from antenna_orchestration.embedded import dagster_processes, stores
from antenna_orchestration.embedded.dagster_instance import Instance
from antenna_orchestration.embedded.home import Home
from tests.homes import temporary_folder


@pytest.fixture
def home() -> Iterator[Path]:
    """The path of a home that does not exist yet."""
    with temporary_folder() as folder:
        yield folder / ".antenna"


@pytest.fixture
def instance(own_stores: stores.EmbeddedStores, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Dagster's instance of ours, on stores of the test's own."""
    for name, value in own_stores.variables.items():
        monkeypatch.setenv(name, value)
    dagster_processes.write_home(Home(own_stores.settings.home), grpc_port=1)
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance, Instance)
        yield instance
