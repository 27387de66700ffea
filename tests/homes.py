"""Folders for test stacks that PostgreSQL's own account reaches when root runs the tests: pytest's are private."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder, with a space in its name, that disappears with everything in it, whoever owns it."""
    folder = Path(tempfile.mkdtemp(prefix="antenna test "))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
