"""How long faults took: tests enter it, and it is printed as tables at the end of the session.

docs/reference/faults.md is made of these tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import pytest


@dataclass(frozen=True)
class Recovery:
    """How long one fault took: from its end, or the moment it struck, to the job's end with all work that was left."""

    fault: str
    seconds: float
    # How long the work alone takes that was left then.
    work: float = 0.0
    # Of a whole machine only: from the fault's end until its stack was ready, from then until the next image was
    # counted, and from the fault's end until no trace of the fault was left. None: there was nothing to wait for.
    ready: float | None = None
    going_on: float | None = None
    clean: float | None = None


@pytest.fixture
def recoveries(request: pytest.FixtureRequest) -> Iterator[list[Recovery]]:
    """How long the test's faults took, for the table. With the test's report it comes from whatever process ran it."""
    found: list[Recovery] = []
    yield found
    request.node.user_properties += [("recovery", astuple(one)) for one in found]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each fault took."""
    ended = [report for report in terminalreporter.stats.get("", []) if report.when == "teardown"]
    found = [Recovery(*value) for report in ended for name, value in report.user_properties if name == "recovery"]
    found.sort(key=lambda one: one.fault)
    parts = [one for one in found if one.clean is None]
    if parts:
        terminalreporter.section(
            "parts of the system: seconds from the fault's end to the job's, and what of it is work"
        )
        _table(terminalreporter, parts, ("seconds", "work"))
    if len(parts) < len(found):
        terminalreporter.section(
            "whole machines: seconds from the fault's end to the job's, what of it is work, until ready, from then to "
            "the next image, until no trace is left"
        )
        whole = [one for one in found if one.clean is not None]
        _table(terminalreporter, whole, ("seconds", "work", "ready", "going_on", "clean"))


def _table(reporter: pytest.TerminalReporter, found: list[Recovery], columns: Sequence[str]) -> None:
    reporter.write_line(" ".join(f"{name:>8}" for name in columns) + "  fault")
    for one in found:
        cells = [getattr(one, name) for name in columns]
        shown = ["" if cell is None else f"{cell:.1f}" for cell in cells]
        reporter.write_line(" ".join(f"{cell:>8}" for cell in shown) + f"  {one.fault}")
