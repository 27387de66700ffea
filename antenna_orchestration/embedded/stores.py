"""The three stores of one home: which of them are bundled, their URLs, and how to run them without Dagster."""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from antenna_orchestration import errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded import credentials, environment, moving, ports, processes
from antenna_orchestration.embedded.events import Report, untold
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.nats_server import NatsServer
from antenna_orchestration.embedded.postgres_server import PostgresServer
from antenna_orchestration.embedded.redis_server import RedisServer
from antenna_orchestration.embedded.servers import Recovering, Server

START_TIMEOUT = 60.0
"""Seconds until a store has to answer, not counting those in which it says that it recovers."""
STOP_TIMEOUT = 10.0
_POLL = 0.02


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which servers this home runs itself, and the settings that reach all of them."""

    home: Home
    servers: tuple[Server, ...]
    settings: settings_module.Settings
    """With every URL filled in."""
    variables: dict[str, str]
    """The env file's content."""
    ports: dict[str, int]
    admin_database_url: str = field(repr=False)
    """Superuser of the bundled PostgreSQL; empty when it is the user's."""


def plan(
    settings: settings_module.Settings, *, dagster: bool = True, durable: bool = True, report: Report = untold
) -> Plan:
    """Choose servers, ports and URLs for a home, which is created if missing, and repaired if damaged or moved.

    Starts nothing; the caller holds the home's lock. Raises `InternalError`.
    """
    home = Home(settings.home.absolute())
    home.create()
    moving.follow(home, settings, report=report)
    generated = credentials.load(home, report=report)
    public: dict[str, tuple[int, str]] = {}
    if dagster:
        public["ui"] = (settings.ui_port, "ANTENNA_UI_PORT")
        if settings.gateway:
            public["gateway"] = (settings.gateway_port, "ANTENNA_GATEWAY_PORT")
    names = ("nats", "redis", "postgres", *(("grpc",) if dagster else ()))
    chosen = ports.choose(home, names, public=public, report=report)
    nats = NatsServer(home=home, port=chosen["nats"], credentials=generated, report=report)
    redis = RedisServer(home=home, port=chosen["redis"], credentials=generated)
    postgres = PostgresServer(home=home, port=chosen["postgres"], credentials=generated, durable=durable, report=report)

    own: list[Server] = []
    urls: dict[str, str] = {}

    def take(setting: str, ours: str, password: str, server: Server) -> None:
        theirs = getattr(settings, setting)
        if environment.is_users_own(setting, theirs, home=home, own_password=password):
            urls[setting] = theirs
        else:
            urls[setting] = ours
            if server not in own:
                own.append(server)

    take("nats_url", nats.url, generated.orchestrator, nats)
    if nats in own:
        urls["worker_nats_url"] = nats.worker_url
    else:
        theirs = settings.worker_nats_url
        is_users_own = environment.is_users_own("worker_nats_url", theirs, home=home, own_password=generated.worker)
        urls["worker_nats_url"] = theirs if is_users_own else ""
    take("redis_url", redis.url, generated.redis, redis)
    take("database_url", postgres.catalog_url, generated.catalog, postgres)
    take("dagster_pg_url", postgres.dagster_url, generated.dagster, postgres)
    # Dagster brings psycopg2 only, and SQLAlchemy takes psycopg 3 where the URL does not say which.
    urls["dagster_pg_url"] = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", urls["dagster_pg_url"])

    values = {
        **urls,
        "lake_uri": settings.lake if "://" in settings.lake else str(Path(settings.lake).absolute()),
        "secret_key": settings.secret_key or generated.secret_key,
    }
    if postgres in own:
        _refuse_a_lake_without_catalog(home, values["lake_uri"])
    variables = {"ANTENNA_HOME": str(home.path)}
    variables |= {f"ANTENNA_{name.upper()}": value for name, value in values.items() if value}
    if dagster:
        variables["ANTENNA_UI_URL"] = f"http://127.0.0.1:{chosen['ui']}"
    if "gateway" in public:
        variables["ANTENNA_GATEWAY_URL"] = f"http://127.0.0.1:{chosen['gateway']}"
    variables |= {"DAGSTER_HOME": str(home.dagster), "DAGSTER_DISABLE_TELEMETRY": "1"}
    return Plan(
        home=home,
        servers=tuple(own),
        settings=settings.model_copy(update=values),
        variables=variables,
        ports=chosen,
        admin_database_url=postgres.admin_url if postgres in own else "",
    )


def _refuse_a_lake_without_catalog(home: Home, lake: str) -> None:
    """A new catalog would count jobs from one again, and mix their tables with those of earlier jobs."""
    if (home.postgres / "data").exists() or "://" in lake:
        return
    if table := next(Path(lake).glob("manifest/job_id=*"), None):
        raise errors.InternalError(
            f"{table} is a table of an earlier job, but the catalog, {home.postgres}/data, is gone: "
            f"put it back, or move {lake} away to begin anew or to restore a backup"
        )


class EmbeddedStores:
    """The bundled stores of a home as children of this process. Made by `embedded_stores`."""

    def __init__(self, planned: Plan) -> None:
        self._plan = planned
        self._mark = {
            processes.STACK_VARIABLE: secrets.token_hex(8),
            processes.HOME_VARIABLE: str(planned.home.path),
        }
        self._servers = {server.name: server for server in planned.servers}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def settings(self) -> settings_module.Settings:
        """Settings that reach these stores."""
        return self._plan.settings

    @property
    def variables(self) -> dict[str, str]:
        """The same as environment variables, for child processes."""
        return dict(self._plan.variables)

    @property
    def admin_database_url(self) -> str:
        """PostgreSQL's superuser, for making databases of a test's own."""
        return self._plan.admin_database_url

    def pid(self, name: str) -> int:
        """The process of `nats`, `redis` or `postgres`, for signals and kills."""
        return self._processes[name].pid

    def is_running(self, name: str) -> bool:
        """Whether a server was started and lives."""
        return name in self._processes and self._processes[name].poll() is None

    def start(self, *names: str) -> None:
        """Start the named servers, or all, and wait until each answers as ours. Raises `InternalError`."""
        chosen = [self._servers[name] for name in names or self._servers]
        for server in chosen:
            server.prepare()
            self._processes[server.name] = processes.spawn(server.command(), mark=self._mark)
        for server in chosen:
            self._wait_until_healthy(server)
            server.set_up()

    def stop(self, *names: str) -> None:
        """Stop the named servers, or all, in order; data stay."""
        chosen = [name for name in names or reversed(list(self._processes)) if name in self._processes]
        for name in chosen:
            if self._processes[name].poll() is None:
                self._processes[name].send_signal(self._servers[name].command().stop_signal)
        for name in chosen:
            process = self._processes.pop(name)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self, name: str) -> None:
        """SIGKILL one server, as a crash would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def _wait_until_healthy(self, server: Server) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                return server.check()
            except errors.Unavailable as error:
                log, limit = server.command().log, START_TIMEOUT
                if self._processes[server.name].poll() is not None:
                    raise errors.InternalError(
                        f"{server.name} did not start: {processes.last_line(log)} (log: {log})"
                    ) from error
                if isinstance(error, Recovering):
                    deadline = time.monotonic() + START_TIMEOUT
                if time.monotonic() > deadline:
                    raise errors.InternalError(f"{server.name} does not answer after {limit:.0f} s: {error}") from error
                time.sleep(_POLL)


@contextmanager
def embedded_stores(home: Path, *, template: Path | None = None, durable: bool = False) -> Iterator[EmbeddedStores]:
    """Run the bundled stores of a home for tests and tools, without Dagster and without a supervisor.

    `template` is a home made by `make_template`: its cluster and passwords are copied in place of an initdb.
    The env file is written, so child processes with `ANTENNA_HOME` join. The servers end with the calling thread.
    """
    if template is not None and not Home(home).credentials_file.exists():
        copy_template(Home(template), Home(home))
    # Nothing of the surrounding environment: a developer's own stack must never be mistaken for the test's.
    blank = dict.fromkeys(("nats_url", "worker_nats_url", "redis_url", "database_url", "dagster_pg_url"), "")
    settings = settings_module.load(home=home, lake_uri=str(home / "lake"), **blank)
    Home(home).create()
    with Home(home).lock():
        processes.kill_until_gone(lambda: processes.marked(processes.HOME_VARIABLE, str(home)))
        stores = EmbeddedStores(plan(settings, dagster=False, durable=durable))
        environment.write(Home(home), stores.variables)
        try:
            stores.start()
            yield stores
        finally:
            stores.stop()


def make_template(folder: Path) -> None:
    """Make a home with a finished cluster in it, to be given to `embedded_stores(template=…)`."""
    with embedded_stores(folder):
        pass


def copy_template(template: Home, home: Home) -> None:
    """Give a home that does not exist yet the cluster and the passwords of a template."""
    home.create()
    credentials.copy(template, home)
    # cp keeps owners (root's cluster belongs to another account) and clones blocks where the file system can.
    subprocess.run(["cp", "-a", "--reflink=auto", f"{template.postgres.resolve()}/.", home.postgres], check=True)
