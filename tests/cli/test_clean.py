"""B5: deleting a stack's data. It is asked for, told, refused under a running stack, and takes what is the stack's."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from antenna_orchestration.embedded import credentials
from antenna_orchestration.embedded.home import Home
from tests.cli.shells import ANTENNA, Shell

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture
def old_home(tmp_path: Path) -> Home:
    """A home with results, as a stack that was stopped leaves it."""
    home = Home(tmp_path / ".antenna")
    home.create()
    credentials.load(home)
    table = home.path / "lake" / "detections" / "job_id=7"
    table.mkdir(parents=True)
    (table / "part-0.parquet").write_bytes(bytes(300_000))
    (home.path / "notes.txt").write_text("mine")
    (tmp_path / ".env").symlink_to(".antenna/env")
    return home


def typed(words: str, home: Home) -> tuple[int, str]:
    """What `antenna clean` does and says when a person at a terminal types this."""
    master, slave = pty.openpty()
    try:
        os.write(master, words.encode() + b"\n")
        done = subprocess.run(
            [*ANTENNA, "clean"],
            stdin=slave,
            capture_output=True,
            text=True,
            env={**os.environ, "ANTENNA_HOME": str(home.path)},
            check=False,
        )
    finally:
        os.close(slave)
        os.close(master)
    return done.returncode, done.stderr


def test_nothing_is_deleted_unless_the_word_is_typed(old_home: Home) -> None:
    """B5: `make clean` deleted all results and the catalog, unasked."""
    code, said = typed("y", old_home)
    assert code == 2
    assert "0.3 MB" in said
    assert "results: tables and reports of 1 job" in said
    assert f"stays, because no stack made it: {old_home.path}/notes.txt" in said
    assert said.strip().endswith("antenna: error: nothing was deleted")
    assert (old_home.path / "lake/detections/job_id=7/part-0.parquet").exists()
    assert typed("delete", old_home)[0] == 0
    assert [each.name for each in old_home.path.iterdir()] == ["notes.txt"]
    assert not (old_home.path.parent / ".env").is_symlink()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_clean_needs_a_person_or_an_explicit_word(old_home: Home) -> None:
    """B5: through the interface where it was met."""
    make = ["make", "-f", ROOT / "Makefile", "-C", old_home.path.parent, f"VENV={sys.prefix}", "clean"]
    refused = subprocess.run(make, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "nobody is there to ask; `antenna clean --yes`, or `make clean YES=1`, deletes" in refused.stderr
    assert (old_home.path / "lake").is_dir()
    subprocess.run([*make, "YES=1"], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert not (old_home.path / "lake").exists()


def test_a_running_stack_keeps_its_data(old_home: Home, lonely: Shell) -> None:
    """B5: it was deleted under a running stack."""
    with old_home.lock():
        lonely("clean", "--yes").refused(4, f"nothing was deleted: a stack already runs in {old_home.path}: stop that")
    marked = {**os.environ, "ANTENNA_STACK_HOME": str(old_home.path)}
    with subprocess.Popen(["sleep", "600"], env=marked) as left:
        try:
            lonely("clean", "--yes").refused(4, f"still run (pids {left.pid})")
        finally:
            left.kill()
    assert (old_home.path / "lake").is_dir()


def test_only_what_a_stack_made_is_deleted(old_home: Home, lonely: Shell, tmp_path: Path) -> None:
    """B5: a lake on another disk stays, and a folder that never was a stack's is not touched."""
    shutil.move(old_home.path / "lake", tmp_path / "big disk")
    (old_home.path / "lake").symlink_to(tmp_path / "big disk")
    told = lonely("clean", "--dry-run")
    assert "only the link" in told.err
    assert (old_home.path / "lake").is_symlink()
    assert lonely("clean", "--yes").out.startswith("deleted ")
    assert (tmp_path / "big disk/detections/job_id=7/part-0.parquet").exists()
    lonely("clean", "--yes").refused(3, "nothing to delete")
    assert (old_home.path / "notes.txt").exists()
