"""A shell beside running stores, and a shell beside none."""

from pathlib import Path

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from tests.cli.shells import Shell


@pytest.fixture
def antenna(
    shared_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Commands that reach the stores."""
    return Shell(shared_stores.variables, monkeypatch, capsys)


@pytest.fixture
def lonely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Commands in an empty folder, with no stack anywhere."""
    monkeypatch.chdir(tmp_path)
    return Shell({"ANTENNA_HOME": str(tmp_path / ".antenna")}, monkeypatch, capsys)
