"""The composition on a real engine: built here, started, killed, stopped and started again, by `docker/try`."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.docker.composition import DOCKER
from tests.engines import docker_engine

pytestmark = [pytest.mark.slow, pytest.mark.engines]


@pytest.mark.timeout(3600)
def test_the_composition_survives_what_docker_try_does_to_it() -> None:
    with docker_engine.running() as environment:
        # Without a registry of images, and without PyTorch in the worker's image, which takes the time of all the rest.
        argv = [sys.executable, str(DOCKER / "try"), "--local-base", "--stand-ins", "--torch-backend", "none"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
    print(done.stdout, done.stderr)
    if done.returncode == 3:
        pytest.skip(re.sub(r"^missing\s+[\d.]+ s\s+", "", done.stdout.splitlines()[-1]))
    assert done.returncode == 0, done.stdout + done.stderr
