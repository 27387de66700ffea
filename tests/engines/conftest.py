"""Engines for a file's tests."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import slurm_cluster
from tests.engines.slurm_cluster import SlurmCluster


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    """A cluster of two nodes with a GPU each that is none."""
    if why := slurm_cluster.missing():
        pytest.skip(why)
    # Slurm's configuration takes no blanks in paths.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, SlurmCluster(Path(folder) / "cluster") as cluster:
        yield cluster


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what ran of each file of engines, and what could not, and why."""
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.nodeid.startswith("tests/engines/") and (report.when == "call" or outcome != "passed"):
                # Of a skip: file, line and reason.
                why = str(report.longrepr[2]).removeprefix("Skipped: ") if outcome == "skipped" else ""
                rows[report.nodeid.split("::")[0]].append(f"{outcome}: {why}" if why else outcome)
    if not rows:
        return
    terminalreporter.section("engines")
    for file in sorted(rows):
        for said in dict.fromkeys(rows[file]):
            terminalreporter.write_line(f"{file:36} {rows[file].count(said):3} {said}")
