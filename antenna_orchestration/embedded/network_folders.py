"""Whether a folder lies on another computer: databases there are slow, and may lose their locks with the network."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import psutil

_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "9p", "ncpfs",
     "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs", "fuse.davfs", "davfs"}
)  # fmt: skip


class Mount(NamedTuple):
    """A file system, and where it is mounted."""

    point: str
    kind: str


def warning(folder: Path) -> str:
    """What to tell a user whose stack keeps its data in this folder, which need not exist; empty on a local disk."""
    mounts = [Mount(one.mountpoint, one.fstype) for one in psutil.disk_partitions(all=True)]
    kind = kind_of(Path(os.path.realpath(folder)), mounts)
    if kind not in _NETWORK:
        return ""
    return (
        f"{folder} is on a network file system ({kind}): databases there are slow, and may be damaged when the network "
        "fails. Set ANTENNA_HOME to a folder on a disk of this computer; images may stay where they are"
    )


def kind_of(folder: Path, mounts: Iterable[Mount]) -> str:
    """The kind of the file system that holds an absolute folder; of several mounts at one place the last counts."""
    holding = [mount for mount in mounts if folder.is_relative_to(mount.point)]
    deepest = max((len(Path(mount.point).parts) for mount in holding), default=0)
    return next((mount.kind for mount in reversed(holding) if len(Path(mount.point).parts) == deepest), "")
