"""A Docker engine for the tests: the one that answers here, or one of the test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
"""With what `tests/engines/install` puts into the environment."""


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Gives the environment in which `docker` reaches it. Skips the test where there can be none."""
    environment = {**os.environ, "PATH": PATH}
    if _answers(environment):
        yield environment
        return
    if os.geteuid() != 0:
        pytest.skip("no Docker engine answers, and to start one needs root")
    if shutil.which("dockerd", path=PATH) is None:
        pytest.skip("no Docker engine: tests/engines/install, or apt-get install docker.io")
    with tempfile.TemporaryDirectory(prefix="docker-", ignore_cleanup_errors=True) as folder:
        environment["DOCKER_HOST"] = f"unix://{folder}/socket"
        own = [word for name in ("data", "exec") for word in (f"--{name}-root", f"{folder}/{name}")]
        command = ["dockerd", "--host", environment["DOCKER_HOST"], "--pidfile", f"{folder}/pid", *own]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until(
                lambda: _answers(environment) or process.poll() is not None, description="a Docker engine", timeout=60
            )
            if process.poll() is not None:
                last = Path(folder, "log").read_text(errors="replace").splitlines()[-1:]
                pytest.skip(f"dockerd does not start here: {' '.join(last)}")
            yield environment
        finally:
            process.terminate()
            process.wait(timeout=60)


def _answers(environment: dict[str, str]) -> bool:
    try:
        return subprocess.run(["docker", "version"], check=False, capture_output=True, env=environment).returncode == 0
    except OSError:
        return False
