"""A lake on each kind of store: the local disk, and one that fsspec reaches like any remote one."""

import secrets
from pathlib import Path

import fsspec
import pytest

from antenna_orchestration.lake.store import Lake


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A root whose name holds what patterns are made of."""
    name = f"a [b] *c? {secrets.token_hex(4)}"
    return str(tmp_path / name) if request.param == "local" else f"memory://{name}"


@pytest.fixture
def lake(root: str) -> Lake:
    return Lake(root)


def files(root: str) -> list[str]:
    """Every file below a root, as paths below it."""
    fs, path = fsspec.core.url_to_fs(root)
    return sorted(found.removeprefix(f"{path}/") for found in fs.find(path))


def change(root: str, path: str, content: bytes) -> None:
    fs, base = fsspec.core.url_to_fs(root)
    fs.pipe_file(f"{base}/{path}", content)


def content_of(root: str, path: str) -> bytes:
    fs, base = fsspec.core.url_to_fs(root)
    return fs.cat_file(f"{base}/{path}")
