"""Unfinished files: those of a writer that died are found, those of a living one are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from antenna_orchestration.lake.folder import DRAFT_REST, Folder

WRITER = """
import sys, time
from antenna_orchestration.lake.folder import Folder
def half(sink):
    sink.write(b"half"); sink.flush(); print("half", flush=True); sys.stdin.read()
Folder(sys.argv[1]).write("a/1", half)
"""


def make_old(root: Path) -> list[str]:
    """Let time pass for the drafts; their names."""
    drafts = sorted((root / ".drafts").iterdir())
    then = time.time() - DRAFT_REST - 1
    for draft in drafts:
        os.utime(draft, (then, then))
    return [f".drafts/{draft.name}" for draft in drafts]


def test_a_draft_is_lost_when_its_writer_dies(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert folder.lost_drafts() == []
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        drafts = make_old(tmp_path)
        assert len(drafts) == 1 and folder.lost_drafts() == []
        writer.kill()
    assert folder.lost_drafts() == drafts
    folder.remove(drafts)
    assert folder.lost_drafts() == [] and not list((tmp_path / ".drafts").iterdir())


def test_a_fresh_draft_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".drafts").mkdir()
    (tmp_path / ".drafts" / "1.parquet.0123abcd").write_bytes(b"half")
    assert Folder(str(tmp_path)).lost_drafts() == []
    assert make_old(tmp_path) == Folder(str(tmp_path)).lost_drafts()
