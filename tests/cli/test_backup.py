"""`antenna rebuild`, `backup` and `restore` as commands: what they print, and the one line when they refuse."""

import json
from pathlib import Path

from tests.cli.shells import Shell
from tests.cli.test_jobs import queued


def test_rebuild(antenna: Shell, project: str, tmp_path: Path) -> None:
    number = queued(antenna, project, tmp_path)
    assert antenna("rebuild", number, "--json").json["reopened"] is False
    assert antenna("rebuild", number).out == f"job {number}: nothing was missing\n"
    antenna("jobs", "cancel", number)
    antenna("rebuild", number).refused(4, f"job {number} is CANCELED: there is nothing of it to put back")
    antenna("rebuild", 4_000_000_000).refused(3, "there is no job 4000000000; `antenna jobs list` shows all")


def test_backup_and_what_restore_refuses(antenna: Shell, project: str, tmp_path: Path) -> None:
    queued(antenna, project, tmp_path)
    copy = tmp_path / "copy"
    made = antenna("backup", copy, "--json").json
    assert made["jobs"] >= 1 and json.loads((copy / "backup.json").read_text())["jobs"] == made["jobs"]
    antenna("backup", copy).refused(4, f"{copy} is not empty: give each backup a folder of its own")
    assert "restore into an empty one" in antenna("restore", copy).err
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    antenna("restore", nothing).refused(2, f"{nothing} holds no backup, or one that was not finished (no backup.json)")
