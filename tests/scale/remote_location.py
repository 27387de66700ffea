"""A GPU host's `dagster api grpc` with `worker_definitions`, as a process with nothing but what such a host gets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.stack.antenna_up import RunningStack
from tests.waiting import wait_until

PASSED_ON = ("PATH", "HOME", "PYTHONPATH", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
"""Of the shell that starts it; the stack's own variables are not among them."""

GIVEN = ("ANTENNA_WORKER_NATS_URL", "ANTENNA_DAGSTER_PG_URL")
"""All that the how-to tells to set."""


class RemoteLocation:
    """The code server of the host `name`. Made by `remote_location`."""

    def __init__(self, stack: RunningStack, *, name: str, port: int, folder: Path) -> None:
        self._stack = stack
        self._name = name
        self._port = port
        self._folder = folder
        self._process: psutil.Popen | None = None

    def start(self) -> None:
        """Start it; it listens a few seconds later."""
        joined = self._stack.joined()
        environment = {name: value for name, value in os.environ.items() if name in PASSED_ON}
        environment |= {name: joined[name] for name in GIVEN}
        environment |= {"ANTENNA_HOME": str(self._folder), "ANTENNA_TASK_ACK_WAIT": joined["ANTENNA_TASK_ACK_WAIT"]}
        what = ("-m", "antenna_orchestration.worker_definitions", "--use-python-environment-entry-point")
        where = ("-h", "127.0.0.1", "-p", str(self._port), "--location-name", self._name)
        with (self._folder / "grpc.log").open("ab") as log:
            self._process = psutil.Popen(
                [sys.executable, "-m", "dagster", "api", "grpc", *what, *where],
                env=environment,
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return int(self._process.pid)

    def wait_until_shown(self) -> None:
        """Wait until the UI's server has the location loaded."""

        def loaded() -> bool:
            self._stack.graphql(
                "mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }",
                name=self._name,
            )
            entries = self._stack.graphql(
                """{ workspaceOrError { ... on Workspace { locationEntries { name
                       locationOrLoadError { __typename } } } } }"""
            )["workspaceOrError"]["locationEntries"]
            found = {entry["name"]: (entry["locationOrLoadError"] or {}).get("__typename") for entry in entries}
            return found.get(self._name) == "RepositoryLocation"

        wait_until(loaded, description=f"location {self._name} is loaded", timeout=60, poll=0.5)

    def launch(self) -> str:
        """Launch `inference_worker` of this location, as the launchpad does; the run."""
        launched = self._stack.graphql(
            """mutation ($location: String!) { launchRun(executionParams: {selector: {repositoryLocationName: $location,
                   repositoryName: "__repository__", jobName: "inference_worker"}, runConfigData: {}}) {
                   __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            location=self._name,
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def kill(self) -> None:
        """SIGKILL it with all that it started, as a host that loses its power."""
        if self._process is None or not self._process.is_running():
            return
        doomed = [self._process, *self._process.children(recursive=True)]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


@contextlib.contextmanager
def remote_location(stack: RunningStack, *, name: str, port: int, folder: Path) -> Iterator[RemoteLocation]:
    """A code server for the length of a block."""
    folder.mkdir()
    location = RemoteLocation(stack, name=name, port=port, folder=folder)
    try:
        location.start()
        yield location
    finally:
        location.kill()
