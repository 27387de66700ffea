"""Files that a person names to be imported, such as a table of deployments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from antenna_orchestration import errors


def allowed(file: str, roots: Sequence[Path]) -> Path:
    """The path of a file, wherever links lead. Raises `InvalidInput` for one outside `roots`, if there are any.

    People at the launchpad are not users of this host: if folders are set, only those are read.
    """
    path = Path(os.path.realpath(Path(file).expanduser()))
    if roots and not any(path.is_relative_to(os.path.realpath(root)) for root in roots):
        raise errors.InvalidInput(f"{file} lies outside ANTENNA_IMAGE_ROOTS")
    return path


def content_of(path: Path, most: int) -> bytes:
    """The bytes of a file, and one more than `most` if it is too large, so that its reader says so.

    Raises `InvalidInput` if it cannot be read.
    """
    try:
        with path.open("rb") as opened:
            return opened.read(most + 1)
    except OSError as error:
        raise errors.InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
