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


@pytest.fixture(scope="module")
def module_rig(template: Path) -> Iterator[Rig]:
    with (
        temporary_folder() as folder,
        embedded_stores(folder / ".antenna", template=template) as stores,
        rig(stores, folder) as made,
    ):
        yield made


@pytest.fixture
def recoveries(request: pytest.FixtureRequest) -> Iterator[list[Recovery]]:
    """How long the test's faults took, for the table. With the test's report it comes from whatever process ran it."""
    found: list[Recovery] = []
    yield found
    request.node.user_properties += [("recovery", (one.fault, one.seconds, one.work)) for one in found]


@pytest.fixture(name="rig")
def repaired_rig(module_rig: Rig, recoveries: list[Recovery]) -> Iterator[Rig]:
    """The module's rig, whole before and after."""
    module_rig.prepare()
    module_rig.recoveries = recoveries
    yield module_rig
    module_rig.repair()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each fault took."""
    ended = [report for report in terminalreporter.stats.get("", []) if report.when == "teardown"]
    found = sorted(value for report in ended for name, value in report.user_properties if name == "recovery")
    if found:
        terminalreporter.section(
            f"seconds from the fault's end to the job's, and what of it is work (bound: {BOUND:.0f} s)"
        )
        for fault, seconds, work in found:
            terminalreporter.write_line(f"{seconds:7.1f} {work:7.1f}  {fault}")
