"""The schemas of archives, which are not copied into the project: in `../shared`, or where a setting says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from antenna_orchestration import settings

_BESIDE = Path(__file__).parents[3] / "shared" / "formats" / "schemas"


@contextmanager
def usual_validators(*modules: str) -> Iterator[None]:
    """Let checks find the schemas; skips the test, and says so, where they or these modules are not there."""
    folder = Path(os.environ.get("ANTENNA_EXPORT_SCHEMAS") or _BESIDE)
    if not folder.is_dir():
        pytest.skip(f"no schemas of archives in {folder}; ANTENNA_EXPORT_SCHEMAS may name another folder")
    for module in modules:
        pytest.importorskip(module)
    with schemas_in(str(folder)):
        yield


@contextmanager
def schemas_in(folder: str) -> Iterator[None]:
    """Let checks look for schemas in this folder; empty: in none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ANTENNA_EXPORT_SCHEMAS", raising=False)
        if folder:
            patch.setenv("ANTENNA_EXPORT_SCHEMAS", folder)
        settings.get.cache_clear()
        yield
    settings.get.cache_clear()
