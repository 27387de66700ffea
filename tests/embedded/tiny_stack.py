"""`antenna up` of the stack's own tests as a process: its events, its status, its Dagster, and its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from antenna_orchestration.embedded import dagster_processes, processes, stack
from antenna_orchestration.embedded.events import Event, from_line
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def up(home: Path, *arguments: str) -> Iterator[Up]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.embedded.tiny_antenna_up", str(home), *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    running = Up(home, process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
            processes.kill_until_gone(lambda: left(home))
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


class Up:
    def __init__(self, home: Path, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.process = process
        self.events: list[Event] = []

    def until(self, kind: str, process: str = "") -> Event:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = from_line(line)
            self.events.append(event)
            if event.kind == kind and event.process == process:
                return event
        raise AssertionError(f"ended before {kind}: {self.events} {self.process.communicate()}")

    @property
    def status(self) -> stack.StackStatus:
        status = stack.status(self.home)
        assert status is not None
        return status

    def ask(self, query: str, **variables: Any) -> Any:
        """Dagster's answer. Its first ones after PostgreSQL crashed are errors, for each connection that it had."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}

        def answer() -> Any:
            try:
                request = urllib.request.Request(f"{self.status.ui}/graphql", body, headers)
                with urllib.request.urlopen(request, timeout=60) as response:
                    return json.load(response)["data"]
            except urllib.error.HTTPError as error:
                error.close()
                return None

        return wait_until(answer, description="the webserver answers")

    def launch(self, marker: Path, **config: Any) -> str:
        """Launch the waiting job; returns its run id when its op runs."""
        launched = self.ask(
            """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
               __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            params={
                "selector": {
                    "repositoryLocationName": dagster_processes.LOCATION,
                    "repositoryName": "__repository__",
                    "jobName": "waiting",
                },
                "runConfigData": {"ops": {"wait": {"config": {"marker": str(marker), **config}}}},
            },
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        wait_until(marker.exists, description="the op runs")
        return str(launched["run"]["runId"])


def left(home: Path) -> list[psutil.Process]:
    """Processes of the home's stack: by their mark, or because they work in its folders (PostgreSQL's backends)."""
    found = {each.pid: each for each in processes.marked(processes.HOME_VARIABLE, str(home))}
    for each in psutil.process_iter():
        try:
            if each.pid != os.getpid() and Path(each.cwd()).is_relative_to(home):
                found[each.pid] = each
        except psutil.Error:
            continue
    return [each for each in found.values() if not processes.is_zombie(each)]


def gone(home: Path) -> None:
    wait_until(lambda: not left(home), description="no process of the stack is left")
