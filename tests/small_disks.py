"""Disks that are full, without filling the machine's: a limit on a process' files, and a small file system."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest


@contextmanager
def no_room_for(pid: int) -> Iterator[None]:
    """Nothing that a process writes to a file fits, for the length of a block: the kernel refuses it like a full disk.

    Needs no rights, and the process' own folder looks as if it had room.
    """
    process = psutil.Process(pid)
    before = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount a small file system of its own on a folder; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True, parents=True)
    size = f"size={megabytes}m,mode=711"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a small disk to its last byte, for the length of a block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for block in (2**20, 2**12, 1):
            try:
                while file.write(os.urandom(block)):
                    continue
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()
