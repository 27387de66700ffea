"""A shell beside running stores, and a shell beside none."""

import asyncio
from pathlib import Path

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import services
from tests.cli.shells import Shell


@pytest.fixture(scope="session")
def prepared(shared_stores: EmbeddedStores) -> EmbeddedStores:
    """Stores with their tables and streams."""
    asyncio.run(services.prepare(shared_stores.settings))
    return shared_stores


@pytest.fixture
def antenna(prepared: EmbeddedStores, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Commands that reach the stores."""
    return Shell(prepared.variables, monkeypatch, capsys)


@pytest.fixture
def lonely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Commands in an empty folder, with no stack anywhere."""
    monkeypatch.chdir(tmp_path)
    return Shell({"ANTENNA_HOME": str(tmp_path / ".antenna")}, monkeypatch, capsys)
