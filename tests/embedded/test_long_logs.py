"""Logs stay short while their processes run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from antenna_orchestration.embedded import processes
from tests.waiting import wait_until


def test_a_process_goes_on_in_a_shortened_log(tmp_path: Path) -> None:
    """M4: a log was moved when its process started, so that clients could fill the disk of a running stack."""
    log = tmp_path / "gateway.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=stream)
    assert process.stdin is not None
    line = b"rejected a caller\n"

    def write(times: int) -> None:
        assert process.stdin is not None
        process.stdin.write(line * times)
        process.stdin.flush()

    write(1)
    wait_until(lambda: log.stat().st_size == len(line), description="the first line")
    processes.shorten(log)
    assert log.stat().st_size == len(line)
    times = 9 * 2**20 // len(line)
    write(times)
    wait_until(lambda: log.stat().st_size == len(line) * (times + 1), description="nine megabytes of lines")
    processes.shorten(log)
    assert log.stat().st_size == 0
    assert (tmp_path / "gateway.log.1").stat().st_size == len(line) * (times + 1)
    write(1)
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert log.read_bytes() == line
