"""`tables`: what ecologists open first. Observations, nights, counts, deployments and failures, one file each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import Material

TABLES: Final = ("observations", "nights", "counts", "deployments", "failures")


def write(material: Material, out: Path, **options: Any) -> Written:
    """Write the tables into a new folder."""
    raise NotImplementedError


def check(path: Path) -> Checked:
    """Check the files of a folder."""
    raise NotImplementedError
