"""Point 5: a home folder on NFS."""

from pathlib import Path

import pytest

from antenna_orchestration.embedded import network_folders
from antenna_orchestration.embedded.network_folders import Mount

MOUNTS = [Mount("/", "ext4"), Mount("/home", "autofs"), Mount("/home", "nfs4"), Mount("/home/me/disk", "xfs"),
          Mount("/mnt/nas", "cifs")]  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/home/me/.antenna", "nfs4"), ("/home/me/disk/x", "xfs"), ("/mnt/nas", "cifs"), ("/mnt/nasty", "ext4")],
)
def test_the_deepest_mount_holds_a_folder(folder: str, kind: str) -> None:
    assert network_folders.kind_of(Path(folder), MOUNTS) == kind


def test_a_local_folder_is_no_reason_to_warn(tmp_path: Path) -> None:
    assert network_folders.warning(tmp_path / "not" / "there") == ""
