"""Disk space: the folders that a deployment writes to, how much room each has left, and whether the queue still stores.

Only disks of this machine can be looked at. Of servers elsewhere one sees no more than that they refuse to store.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from antenna_orchestration.processing import lake_watch
from antenna_orchestration.processing.services import Services
from antenna_orchestration.settings import Settings

GIB: Final = 2**30

LOW: Final = GIB
"""Free bytes below which people are told: soon nothing can be stored, and every job waits."""

LOW_SHARE: Final = 0.05
"""Of a small disk, the share that counts instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """A disk, and what of the deployment lies on it."""

    # Such as `lake, home`.
    holds: str
    folder: Path
    # Bytes.
    free: int
    size: int

    @property
    def is_low(self) -> bool:
        """Whether people have to make room."""
        return self.free < min(LOW, LOW_SHARE * self.size)

    def __str__(self) -> str:
        amount = f"{self.free / GIB:.1f} GiB" if self.free >= GIB else f"{self.free / 2**20:.0f} MiB"
        room = f"{amount} free for {self.holds} ({self.folder})"
        return f"{room}: make room; work that must be stored waits meanwhile" if self.is_low else room


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskSpace:
    """All disks, and the streams of the queue that store nothing."""

    disks: tuple[Disk, ...]
    refusing: tuple[str, ...]

    @property
    def troubles(self) -> list[str]:
        """What a person has to do something about; empty if nothing."""
        found = [str(disk) for disk in self.disks if disk.is_low]
        if self.refusing:
            streams = " and ".join(self.refusing)
            found.append(
                f"the queue stores nothing in {streams}: if the disk of NATS is or was full, make room; `antenna up` "
                "then restarts its own server within a minute, a server of your own has to be restarted by you"
            )
        return found

    @property
    def lines(self) -> list[str]:
        """One line a disk, and one for the queue if it refuses."""
        return [*(str(disk) for disk in self.disks if not disk.is_low), *self.troubles]


async def look(services: Services) -> DiskSpace:
    """Look at the disks, and store and remove one message in each stream. Raises `Unavailable`."""
    # A drive that does not answer would keep the thread that looks at it.
    lake = await lake_watch.answers(services)
    disks, refusing = await asyncio.gather(
        asyncio.to_thread(disks_of, services.settings, lake=lake), services.refusing_streams()
    )
    return DiskSpace(disks=tuple(disks), refusing=tuple(refusing))


def disks_of(settings: Settings, *, lake: bool = True) -> list[Disk]:
    """The disks of this machine that the deployment writes to, each once; without the `lake`'s if so said."""
    found: dict[int, Disk] = {}
    for name, folder in _places(settings, lake=lake):
        try:
            device, usage = folder.stat().st_dev, shutil.disk_usage(folder)
        except OSError:
            # Not on this machine, or not made yet.
            continue
        known = found.get(device)
        found[device] = Disk(
            holds=f"{known.holds}, {name}" if known else name,
            folder=known.folder if known else folder,
            free=usage.free,
            size=usage.total,
        )
    return list(found.values())


def _places(settings: Settings, *, lake: bool) -> Iterator[tuple[str, Path]]:
    if lake and "://" not in settings.lake:
        root = Path(settings.lake).expanduser()
        yield "lake", root if root.exists() else root.parent
    yield "home", settings.home
    # Each may be a link to another disk.
    for name, folder in (("PostgreSQL", "postgres"), ("NATS", "nats"), ("Dagster", "dagster")):
        yield name, settings.home / folder
    yield "undelivered results", settings.home / "spool"
