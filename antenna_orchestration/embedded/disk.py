"""Whether a server's disk has room: a full one explains why a server ended, and restarting it then helps nobody."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

ROOM: Final = 24 * 2**20
"""Bytes that must be free: a segment of PostgreSQL's log (16 MiB) or a block of JetStream's (8 MiB), and some more."""


def is_full(*folders: Path) -> bool:
    """Whether one of the folders lies on a disk without room. What cannot be looked at is not called full."""
    return any(_free(folder) < ROOM for folder in folders)


def _free(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return float("inf")
