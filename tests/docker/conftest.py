from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docker import composition
from tests.docker.composition_processes import Deployment, deployed, make_env
from tests.homes import temporary_folder
from tests.submission.s3_store import s3_store


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """A fresh env file, written by the script that users run."""
    return make_env(tmp_path)


@pytest.fixture(scope="session")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What Compose reads from one."""
    return composition.read_env(make_env(tmp_path_factory.mktemp("env")))


@pytest.fixture(scope="session")
def deployment() -> Iterator[Deployment]:
    """The composition with its stores running; the S3 gateway is not a wheel, so the tests' own S3 store stands in."""
    with (
        temporary_folder() as folder,
        s3_store() as endpoint,
        deployed(folder, store=urlsplit(endpoint).port or 0) as deployment,
    ):
        deployment.stores.start("postgres", "redis", "nats")
        yield deployment
