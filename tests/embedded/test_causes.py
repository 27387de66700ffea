"""B14: a program of the stack that fails says why, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes


def test_a_full_disk_is_named_when_initdb_fails(tmp_path: Path) -> None:
    """B14: the error was the program's last line, which says that it removes its folder."""
    command = processes.Command(
        name="initdb",
        argv=("sh", "-c", "cp /etc/passwd /dev/full || { echo 'initdb: removing data directory'; exit 1; }"),
        folder=tmp_path,
        log=tmp_path / "initdb.log",
        environment={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    with pytest.raises(errors.InternalError, match="initdb failed: the disk is full: free some, or set ANTENNA_HOME"):
        processes.run(command, mark={}, timeout=60)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("FATAL:  could not resize shared memory segment: No space left on device", "there is no room in /dev/shm"),
        ("initdb: error: could not create directory: Permission denied", "it may not write there"),
        ("initdb: error: could not write file: Disk quota exceeded", "the disk quota is used up"),
        ("initdb: error: could not write file: Read-only file system", "the disk is read-only"),
        ("something else", "initdb: removing data directory"),
    ],
)
def test_refusals_of_the_system_have_advice(tmp_path: Path, said: str, expected: str) -> None:
    """B14: its siblings."""
    log = tmp_path / "log"
    log.write_text(f"{said}\ninitdb: removing data directory\n")
    assert processes.cause(log).startswith(expected)
