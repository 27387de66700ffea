"""Dagster's three processes: code server, webserver, daemon. Not `dagster dev`: killed, it leaves them behind."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from antenna_orchestration import errors
from antenna_orchestration.domain.run_tags import LOCATION, ROLE, WORKER
from antenna_orchestration.embedded import processes, servers
from antenna_orchestration.embedded.home import Home, write_private
from antenna_orchestration.ui import rules

# Strings, because Dagster's code server loads the definitions in a process of its own: importing them here would bring
# all of Dagster into the supervisor.
DEFINITIONS = "antenna_orchestration.definitions"
CODE_SERVER = "antenna_orchestration.embedded.code_server"
UI_SERVER = "antenna_orchestration.ui"
DAEMON = "antenna_orchestration.embedded.daemon"
INSTANCE = Path(__file__).with_name("dagster.yaml")
SLURM_LAUNCHER: Final = {"module": "antenna_orchestration.resources.slurm_launcher", "class": "SlurmRunLauncher"}
SLURM_WAITS: Final = 7 * 24 * 3600
"""Seconds that a run may wait in Slurm's queue; the sensor lost_runs ends those that will not start before."""

ANSWER_TIMEOUT = 3.0
"""Seconds for the webserver to answer a health check; it is busy while it loads."""

_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name
    locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
_RELOAD = "mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"


def write_home(home: Home, *, grpc_port: int, elsewhere: Iterable[str] = (), slurm_options: str = "") -> None:
    """Fill DAGSTER_HOME: the instance, and a workspace that points to the code server and to those `elsewhere`.

    The latter as the setting `worker_locations` names them, `name=host:port`; `slurm_options` is that setting.
    """
    entries = [_location(LOCATION, "127.0.0.1", grpc_port)]
    for location in elsewhere:
        name, _, address = location.partition("=")
        host, _, port = address.rpartition(":")
        entries.append(_location(name, host, int(port)))
    instance = INSTANCE.read_text()
    if slurm_options or len(entries) > 1:
        instance = _changed(instance, locations=len(entries), slurm=shlex.split(slurm_options))
    write_private(home.dagster / "dagster.yaml", instance)
    # JSON is YAML.
    write_private(_workspace(home), json.dumps({"load_from": entries}) + "\n")


def _changed(instance: str, *, locations: int, slurm: list[str]) -> str:
    """The instance for workers elsewhere: each code location has room for so many, and Slurm has a queue of its own.

    With Slurm it is the instance of docs/howto/workers.md: runs of workers are its jobs, and may wait in its queue.
    Counted in Dagster's, four that wait there would keep out a fifth that has a place.
    """
    said = yaml.safe_load(instance)
    runs = said["concurrency"]["runs"]
    limits = runs["tag_concurrency_limits"]
    [workers] = [limit for limit in limits if (limit["key"], limit["value"]) == (ROLE, WORKER)]
    if slurm:
        said["run_launcher"] = {**SLURM_LAUNCHER, "config": {"options": slurm}}
        said["run_monitoring"]["start_timeout_seconds"] = SLURM_WAITS
        limits.remove(workers)
    else:
        workers["limit"] *= locations
    # JSON is YAML.
    return json.dumps(said, indent=2) + "\n"


def _location(name: str, host: str, port: int) -> dict[str, Any]:
    return {"grpc_server": {"host": host, "port": port, "location_name": name}}


def _workspace(home: Home) -> Path:
    return home.dagster / "workspace.yaml"


@dataclass(frozen=True, kw_only=True)
class _DagsterProcess:
    home: Home
    environment: Mapping[str, str] = field(repr=False)
    """All of ours: definitions read settings from it."""

    def prepare(self) -> None:
        """Nothing of its own: `write_home` has been called."""

    def set_up(self) -> None:
        """Nothing to set up."""

    def ailment(self) -> str | None:
        """None: its data are in PostgreSQL."""
        return None

    def _python(self, name: str, *arguments: str) -> processes.Command:
        return processes.Command(
            name=name,
            argv=(sys.executable, "-m", *arguments),
            # Dagster imports from its working directory first: in the user's, a file redis.py would hide the library.
            folder=self.home.dagster,
            log=self.home.logs / f"{name}.log",
            environment=self.environment,
        )


@dataclass(frozen=True, kw_only=True)
class Webserver(_DagsterProcess):
    """The Dagster UI and its GraphQL endpoint."""

    port: int
    name: str = "webserver"

    def command(self) -> processes.Command:
        """On loopback only; behind the guard of `ui/`."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-w", str(_workspace(self.home)))
        return self._python(self.name, UI_SERVER, *where, "--suppress-warnings")

    def check(self) -> None:
        """It answers and has our code location loaded."""
        entries = self._ask(_LOCATIONS)["workspaceOrError"].get("locationEntries", [])
        entry = next((each for each in entries if each["name"] == LOCATION), None)
        found = (entry or {}).get("locationOrLoadError") or {}
        if found.get("__typename") != "RepositoryLocation":
            raise errors.Unavailable(f"the code location is not loaded: {found.get('message', 'loading')}".strip())

    def reload(self) -> None:
        """Load the code location again; by itself it does so a good while after the code server is back."""
        self._ask(_RELOAD, name=LOCATION)

    def _ask(self, query: str, **variables: str) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT)
        try:
            password = self.environment.get("ANTENNA_UI_PASSWORD", "")
            headers = {"Content-Type": "application/json", **rules.authorization(password)}
            connection.request("POST", "/graphql", body, headers)
            data: dict[str, Any] = json.load(connection.getresponse())["data"]
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise errors.Unavailable(f"the webserver does not answer: {error}") from error
        finally:
            connection.close()
        return data


@dataclass(frozen=True, kw_only=True)
class CodeServer(_DagsterProcess):
    """`dagster api grpc`: holds the definitions, evaluates sensors, and has the runs forked."""

    port: int
    webserver: Webserver
    """Told when the code server is back."""
    definitions_module: str = DEFINITIONS
    name: str = "code-server"

    def command(self) -> processes.Command:
        """Without `--heartbeat`: starved by inference it would shut itself down."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "--location-name", LOCATION)
        what = ("-m", self.definitions_module, "--empty-working-directory", "--use-python-environment-entry-point")
        return self._python(self.name, CODE_SERVER, *where, *what, "--log-level", "warning")

    def check(self) -> None:
        """It listens once the definitions are loaded; the webserver asks it the rest."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=servers.CHECK_TIMEOUT)):
                return
        except OSError as error:
            raise errors.Unavailable(f"the code server does not listen yet: {error}") from error

    def set_up(self) -> None:
        """At the first start there is no webserver yet."""
        with suppress(errors.Unavailable):
            self.webserver.reload()


@dataclass(frozen=True, kw_only=True)
class Daemon(_DagsterProcess):
    """Sensors, schedules, the run queue and run monitoring."""

    port: None = None
    name: str = "daemon"

    def command(self) -> processes.Command:
        """It reloads its workspace once a minute only, so the code server has to be there first."""
        where = ("-w", str(_workspace(self.home)))
        return self._python(self.name, DAEMON, *where, "--log-level", "warning")

    def check(self) -> None:
        """It listens nowhere; that it stays alive is all there is to see."""
