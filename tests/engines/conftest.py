"""Engines for a file's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines import slurm_cluster
from tests.engines.slurm_cluster import SlurmCluster
from tests.homes import temporary_folder


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    """A cluster of two nodes with a GPU each that is none."""
    if why := slurm_cluster.missing():
        pytest.skip(why)
    with temporary_folder() as folder, SlurmCluster(folder / "slurm") as cluster:
        yield cluster
