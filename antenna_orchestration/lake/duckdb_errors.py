"""What an error of DuckDB says to people: that there is no room for temporary files, or what is wrong with the lake."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Final

from antenna_orchestration import errors

_FULL: Final = ("max_temp_directory_size", os.strerror(errno.ENOSPC))
"""What DuckDB says where it sorts and joins, which is in temporary files, as it writes none in the lake."""


def unavailable(error: Exception, where: str) -> errors.LakeUnavailable:
    """The error in one line; `where` is what was read, such as `lake /data/lake`."""
    said = str(error)
    if any(one in said for one in _FULL):
        return errors.LakeFull(
            f"no space is left for temporary files in {tempfile.gettempdir()}: free some, or name another folder with "
            "TMPDIR"
        )
    return errors.LakeUnavailable(f"{where}: {said.splitlines()[0]}")
