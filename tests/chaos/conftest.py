"""One rig a module, its worker alive from fault to fault; and the table of recoveries at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from antenna_orchestration.embedded.stores import embedded_stores
from tests.chaos.rig import BOUND, Recovery, Rig, rig
from tests.homes import temporary_folder
from tests.stack.conftest import running

__all__ = ["running"]

_recoveries: list[Recovery] = []


@pytest.fixture(scope="module")
def module_rig(template: Path) -> Iterator[Rig]:
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        with rig(stores, folder) as made:
            yield made
        _recoveries.extend(made.recoveries)


@pytest.fixture(name="rig")
def repaired_rig(module_rig: Rig) -> Iterator[Rig]:
    """The module's rig, whole before and after."""
    module_rig.prepare()
    yield module_rig
    module_rig.repair()


@pytest.fixture
def recoveries() -> list[Recovery]:
    """The table, for what is measured without a rig."""
    return _recoveries


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each fault took."""
    if _recoveries:
        terminalreporter.section(
            f"seconds from the fault's end to the job's, and what of it is work (bound: {BOUND:.0f} s)"
        )
        for one in _recoveries:
            terminalreporter.write_line(f"{one.seconds:7.1f} {one.work:7.1f}  {one.fault}")
