"""Engines for a file's tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import slurm_cluster
from tests.engines.slurm_cluster import SlurmCluster


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    """A cluster of two nodes with a GPU each that is none."""
    if why := slurm_cluster.missing():
        pytest.skip(why)
    # Slurm's configuration takes no blanks in paths.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, SlurmCluster(Path(folder) / "cluster") as cluster:
        yield cluster
