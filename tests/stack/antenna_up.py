"""`antenna up` in a process of its own, and the commands of a second shell beside it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
from dotenv import dotenv_values

from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.stores import copy_template
from tests import forked
from tests.waiting import wait_until

ANTENNA = [sys.executable, "-m", "antenna_orchestration.cli.main"]
DAGSTER = [sys.executable, "-W", "ignore", "-m", "dagster"]
DEFINITIONS = "antenna_orchestration.definitions"


class RunningStack:
    """A stack and its second shell."""

    def __init__(self, home: Path, *, template: Path | None) -> None:
        """`template`: a home whose cluster is copied; without it the stack makes everything itself."""
        if template is not None:
            copy_template(Home(template), Home(home))
        self.home = home
        self.log = home.parent / "up.log"
        self._said_before = 0
        # A developer's own stack must not be joined.
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("ANTENNA_", "DAGSTER_"))}
        self.environment = outside | {
            "ANTENNA_HOME": str(home),
            "ANTENNA_TASK_ACK_WAIT": "2",
            "ANTENNA_WORKER_IDLE_EXIT": "20",
            "ANTENNA_UI_PORT": "0",
            "ANTENNA_GATEWAY_PORT": "0",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start, and wait until it says that it is ready."""
        self.start()
        self.wait_until_ready()

    def start(self) -> None:
        """Type the command, whose output is appended to `up.log` beside the home."""
        with self.log.open("ab") as output:
            self._said_before = output.tell()
            self.process = subprocess.Popen(
                [*ANTENNA, "up"], env=self.environment, cwd=self.home.parent, stdout=output, stderr=output
            )

    def said(self) -> str:
        """What the command of the last start has said."""
        return self.log.read_bytes()[self._said_before :].decode()

    def wait_until_ready(self, *, timeout: float = 180) -> None:
        """Wait until it says so."""
        process = self.process
        assert process is not None

        def is_ready() -> bool:
            assert process.poll() is None, self.said()
            return " ready: " in self.said()

        try:
            wait_until(is_ready, description="ready", timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None

    def down(self) -> None:
        """Ctrl-C, and wait for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=120)

    def joined(self) -> dict[str, str]:
        """The environment of another shell that evaluated `antenna env`."""
        return self.environment | {name: value or "" for name, value in dotenv_values(self.home / "env").items()}

    def background(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start an `antenna` command in another shell, its output in the home."""
        with (self.home / f"{arguments[0]}.log").open("ab") as output:
            return subprocess.Popen(
                [*ANTENNA, *arguments], env=self.joined(), cwd=self.home.parent, stdout=output, stderr=output
            )

    def shell(self, *command: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command as another shell would that evaluated `antenna env`."""
        done = subprocess.run(
            command,
            env=self.joined(),
            # Away from the checkout: `dagster` reads the `.env` that a developer's own stack left there.
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def antenna(self, *arguments: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run an `antenna` command."""
        done = forked.ended(*arguments, env=self.joined(), cwd=self.home.parent, timeout=timeout)
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def execute(
        self, job: str, *options: str, check: bool = True, prefix: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`dagster job execute`, perhaps run by another command."""
        return self.shell(*prefix, *DAGSTER, "job", "execute", "-m", DEFINITIONS, "-j", job, *options, check=check)

    def submit(self, source: Path | str, *options: str) -> int:
        """Submit, without waiting; the job's id."""
        return int(json.loads(self.antenna("submit", str(source), *options, "--json").stdout)["job_id"])

    def job(self, job: int) -> dict[str, Any]:
        """`antenna jobs show --json`."""
        shown: dict[str, Any] = json.loads(self.antenna("jobs", "show", str(job), "--json").stdout)
        return shown

    def wait_for(self, job: int, status: str = "SUCCESS", *, timeout: float = 120) -> dict[str, Any]:
        """Wait until the job is over, and check how."""
        # In the catalog: a command costs seconds of CPU, which a job that is waited for needs.
        url = self.joined()["ANTENNA_DATABASE_URL"]

        def over() -> bool:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
                row = connection.execute("SELECT status FROM jobs WHERE job_id = %s", [job]).fetchone()
                return row is not None and JobStatus(row[0]).is_terminal
            return False

        wait_until(over, description=f"job {job} over", timeout=timeout, poll=0.1)
        shown = self.job(job)
        assert shown["status"] == status, f"{shown}\n{self.antenna('jobs', 'logs', str(job)).stdout}"
        return shown

    def graphql(self, query: str, **variables: object) -> dict[str, Any]:
        """Ask the UI's server."""
        url = (dotenv_values(self.home / "env")["ANTENNA_UI_URL"] or "") + "/graphql"
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            answered: dict[str, Any] = json.load(answer)
        assert "errors" not in answered, answered
        return dict(answered["data"])

    def runs(self, job_name: str, **tags: str) -> list[dict[str, Any]]:
        """Runs of a Dagster job, newest first."""
        found = self.graphql(
            """query ($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results { runId status
                   tags { key value } eventConnection { events { ... on MessageEvent { message } } } } } } }""",
            filter={"pipelineName": job_name, "tags": [{"key": key, "value": tags[key]} for key in tags]},
        )
        return list(found["runsOrError"]["results"])

    def run_over(self, job: int) -> dict[str, Any]:
        """The newest `process_job` run of a job, once it is over: the report comes after the job's end."""

        def over() -> dict[str, Any] | None:
            run = self.runs("process_job", **{"dagster/partition": f"job-{job}"})[0]
            return run if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        return wait_until(over, description=f"the run of job {job} is over", poll=0.3)

    def run_of(self, job: int) -> dict[str, Any]:
        """The newest `process_job` run of a job, once it executes; with its `pid`."""

        def executing() -> dict[str, Any] | None:
            for run in self.runs("process_job", **{"dagster/partition": f"job-{job}"})[:1]:
                for event in run["eventConnection"]["events"]:
                    if found := re.search(r"process \(pid: (\d+)\)", event.get("message") or ""):
                        return {**run, "pid": int(found[1])}
            return None

        return wait_until(executing, description=f"a run of job {job} executes", poll=0.3)


def blank_images(folder: Path, count: int) -> Path:
    """Files for the null pipeline, which opens none of them."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"20260612{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}.jpg").write_bytes(
            b"not opened"
        )
    folder.chmod(0o755)
    return folder
