from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homes import temporary_folder


@pytest.fixture
def home() -> Iterator[Path]:
    """The path of a home that does not exist yet."""
    with temporary_folder() as folder:
        yield folder / ".antenna"
