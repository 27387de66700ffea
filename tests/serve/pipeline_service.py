"""`antenna serve` in a process of its own, without a stack."""

from __future__ import annotations

import base64
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from antenna_orchestration.worker.device import process
from tests import forked
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PATIENCE = 60


def photograph(content: bytes = b"no pixels are looked at") -> str:
    """A URL that holds its image."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


class PipelineService:
    """One service, listening on any free port. Made by `serving`."""

    def __init__(self, home: Path, started: forked.Forked, token: str) -> None:
        self.process = started
        self.log = home / "serve.log"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        assert started.stdout is not None
        said = started.stdout.readline()
        found = re.search(r"on (http://\S+)", said)
        assert found, f"{said}\n{self.log.read_text()}"
        self.url = found.group(1)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=PATIENCE, headers=self._headers)

    def post(self, pipeline: str, images: dict[str, str], **config: Any) -> requests.Response:
        """Images are URLs by id."""
        sources = [{"id": name, "url": url} for name, url in images.items()]
        return self.send({"pipeline": pipeline, "source_images": sources, "config": config})

    def send(self, body: Any) -> requests.Response:
        return requests.post(f"{self.url}/process", json=body, timeout=PATIENCE, headers=self._headers)

    def device_processes(self) -> list[psutil.Process]:
        """Those that run pipelines."""
        children = psutil.Process(self.process.pid).children()
        return [one for one in children if process.__name__ in one.cmdline()]

    def ready(self) -> None:
        wait_until(lambda: self.get("/readyz").ok, description="loaded pipelines", timeout=PATIENCE)


@contextmanager
def serving(home: Path, *options: str, token: str = "", **variables: str) -> Iterator[PipelineService]:
    """Start one, and wait until it listens."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ANTENNA_")}
    own = {"ANTENNA_HOME": str(home), "ANTENNA_WORKER_THREADS": "1", "ANTENNA_DEVICE": "cpu", **variables}
    with (home / "serve.log").open("a") as log:
        command = ("serve", "--port", "0", *options)
        started = forked.Forked(forked.antenna, *command, env={**outside, **own}, cwd=home, err=log)
    try:
        yield PipelineService(home, started, token)
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGKILL)
        started.communicate()
