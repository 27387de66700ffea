"""`antenna doctor`: what is wrong with an installation, one finding a line.

Every check runs in a thread of its own and has a deadline, because a share or a server that hangs must not hold the
others up. Nothing is changed, and no password is shown.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib.metadata
import importlib.util
import os
import platform
import re
import resource
import shutil
import stat
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from psycopg.rows import dict_row

from antenna_orchestration import __version__, errors, server_urls
from antenna_orchestration import settings as settings_module
from antenna_orchestration.catalog import migrations, queries
from antenna_orchestration.catalog.database import first_line
from antenna_orchestration.domain import redaction
from antenna_orchestration.embedded import environment, network_folders, ports, processes, stack
from antenna_orchestration.embedded.home import ROOM, Home, check_room
from antenna_orchestration.settings import Settings

DEADLINE: Final = 8.0
"""Seconds within which a check ends, or is reported as hanging."""

_ANSWER: Final = 4.0
"""Seconds within which a server answers."""

_SLOW: Final = 0.5
"""Seconds from which on an answer is called slow; on one machine it takes some milliseconds."""

_SKEW: Final = 30.0
"""Seconds by which clocks may differ, as for the health check."""

_CONNECTIONS: Final = 100
"""Connections to PostgreSQL that a stack with a dozen runs and a gateway uses; one with own servers needs as many."""

_FILES: Final = 4096
"""Open files that a worker with many images on their way, and NATS, may need."""

_NOT_SETTINGS: Final = frozenset({processes.STACK_VARIABLE, processes.HOME_VARIABLE})

_SERVERS: Final = ("nats_url", "worker_nats_url", "redis_url", "database_url", "dagster_pg_url")


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    what: str
    level: Level
    text: str

    @classmethod
    def ok(cls, what: str, text: str) -> Finding:
        """All is well."""
        return cls(what, Level.OK, text)

    @classmethod
    def warning(cls, what: str, text: str) -> Finding:
        """It works, and may not for long, or not as somebody thinks."""
        return cls(what, Level.WARNING, text)

    @classmethod
    def wrong(cls, what: str, text: str) -> Finding:
        """It does not work."""
        return cls(what, Level.WRONG, text)


Check = Callable[[Settings], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Examined:
    """All findings, and whether a check hangs still."""

    findings: list[Finding]
    hangs: bool

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return not any(one.level is Level.WRONG for one in self.findings)


def examine(checks: Mapping[str, Check] | None = None, *, deadline: float = DEADLINE) -> Examined:
    """Run all checks at the same time; takes no longer than the deadline, whatever hangs."""
    home = settings_module.find_home()
    findings = [*_settings(home)]
    try:
        settings = settings_module.load()
    except errors.InvalidSetting as error:
        # What the other checks need to know is not settings.
        return Examined([Finding.wrong("settings", str(error)), *findings, *_versions(None)], hangs=False)
    found: dict[str, list[Finding]] = {}
    threads = [
        threading.Thread(target=_run, args=(name, check, settings, found), name=f"doctor-{name}", daemon=True)
        for name, check in (CHECKS if checks is None else checks).items()
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + deadline
    for (name, _), thread in zip((CHECKS if checks is None else checks).items(), threads, strict=True):
        thread.join(max(0.0, until - time.monotonic()))
        if name not in found:
            findings.append(
                Finding.wrong(name, f"no answer within {deadline:.0f} s: a disk, share or server of it hangs")
            )
        findings += found.get(name, [])
    return Examined(findings, hangs=any(thread.is_alive() for thread in threads))


def _run(name: str, check: Check, settings: Settings, found: dict[str, list[Finding]]) -> None:
    try:
        findings = list(check(settings))
    except errors.AntennaError as error:
        findings = [Finding.wrong(name, str(error))]
    except Exception as error:
        # A check that fails is a finding, and keeps no other from being made.
        findings = [Finding.wrong(name, f"this could not be looked at: {type(error).__name__}: {error}")]
    found[name] = [Finding(one.what, one.level, redaction.without_secrets(one.text)) for one in findings]


# Settings


def _settings(home: Path) -> Iterator[Finding]:
    """Variables that are not settings, and what the settings say against each other."""
    names = {f"ANTENNA_{name.upper()}" for name in Settings.model_fields} | _NOT_SETTINGS
    of_file = {}
    try:
        of_file = settings_module.read_env_file(home)
    except errors.InvalidSetting as error:
        yield Finding.wrong("settings", f"{error}: run `antenna up`, which writes it again")
    for name in sorted(name for name in {*os.environ, *of_file} if name.startswith("ANTENNA_") and name not in names):
        meant = difflib.get_close_matches(name, names, n=1)
        yield Finding.warning("settings", f"{name} is not a setting{f': is {meant[0]} meant?' if meant else ''}")
    for name in _SERVERS:
        variable = f"ANTENNA_{name.upper()}"
        ours, stacks = os.environ.get(variable), of_file.get(variable)
        if ours and stacks and server_urls.with_encoded_login(ours) != stacks:
            yield Finding.warning(
                "settings",
                f"{variable} of this shell is not that of the stack in {home}: unset it, or run "
                '`eval "$(antenna env)"`',
            )


def _contradictions(settings: Settings) -> Iterator[Finding]:
    said = []
    if settings.history_days and not 0 < settings.health_history_days <= settings.history_days:
        said.append("ANTENNA_HEALTH_HISTORY_DAYS keeps more than ANTENNA_HISTORY_DAYS, which holds")
    if settings.worker_pools and "autoscale_max_workers" in settings.model_fields_set:
        said.append("ANTENNA_AUTOSCALE_MAX_WORKERS is not read, because ANTENNA_WORKER_POOLS is set")
    if not settings.autoscale and settings.worker_pools:
        said.append("ANTENNA_WORKER_POOLS starts nothing by itself, because ANTENNA_AUTOSCALE is off")
    if settings.s3_anonymous and settings.lake.startswith("s3://"):
        said.append("ANTENNA_S3_ANONYMOUS is set, and the lake is in a bucket, which cannot be written to without keys")
    if settings.s3_requester_pays and settings.s3_anonymous:
        said.append("ANTENNA_S3_REQUESTER_PAYS needs keys, and ANTENNA_S3_ANONYMOUS uses none")
    if settings.gateway_host not in ("127.0.0.1", "localhost", "::1") and not settings.gateway_proxies:
        said.append(
            f"the gateway listens on {settings.gateway_host} in plain HTTP: put TLS before it and name the proxy in "
            "ANTENNA_GATEWAY_PROXIES"
        )
    if settings.task_timeout < settings.load_timeout:
        said.append("ANTENNA_TASK_TIMEOUT is shorter than ANTENNA_LOAD_TIMEOUT: slow images are given up while loading")
    yield from (Finding.warning("settings", one) for one in said)
    if not said:
        changed = len(environment.settings_as_variables(settings))
        yield Finding.ok("settings", f"{changed} set, {len(Settings.model_fields) - changed} as by default")


# This machine


def _versions(settings: Settings | None) -> Iterator[Finding]:
    yield Finding.ok("versions", f"antenna {__version__}, Python {platform.python_version()}, {platform.system()}")
    installed = {name: _version(name) for name in ("dagster", "dagster-postgres", "torch")}
    if not installed["dagster"]:
        yield Finding.wrong("versions", "Dagster is not installed: run `make install` in the checkout")
    elif (shared := _version("dagster-shared")) and shared.split(".")[:2] != installed["dagster"].split(".")[:2]:
        yield Finding.wrong("versions", f"dagster {installed['dagster']} beside dagster-shared {shared}: install again")
    else:
        yield Finding.ok("versions", f"dagster {installed['dagster']}, torch {installed['torch'] or 'not installed'}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _disks(settings: Settings) -> Iterator[Finding]:
    from antenna_orchestration.upkeep import disk_space

    if not settings.home.exists():
        check_room(settings.home, needed=ROOM, what="`antenna up`")
        yield Finding.ok("disk", f"there is room for a new stack in {settings.home}")
    for disk in disk_space.disks_of(settings):
        yield (Finding.wrong if disk.is_low else Finding.ok)("disk", str(disk))
    if warning := network_folders.warning(settings.home):
        yield Finding.wrong("file system", warning)
    else:
        yield Finding.ok("file system", f"{settings.home} is on a disk of this machine")


def _permissions(settings: Settings) -> Iterator[Finding]:
    home = Home(settings.home)
    if not home.path.exists():
        yield Finding.ok("permissions", f"{home.path} is not made yet; `antenna up` makes it")
        return
    before = True
    for path, most in ((home.path, 0o711), (home.env_file, 0o600), (home.credentials_file, 0o600)):
        if not path.exists():
            continue
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & ~(most | 0o700):
            before = False
            yield Finding.wrong("permissions", f"others may read {path} (mode {mode:o}): chmod {most:o} {path}")
        if status.st_uid not in (os.geteuid(), 0) or (status.st_uid == 0 and os.geteuid() != 0):
            before = False
            yield Finding.wrong("permissions", f"{path} belongs to user {status.st_uid}, and you are {os.geteuid()}")
    if not os.access(home.path, os.W_OK):
        before = False
        yield Finding.wrong("permissions", f"{home.path} cannot be written to by this user")
    lake = Path(settings.lake).expanduser()
    if "://" not in settings.lake and lake.exists() and not os.access(lake, os.W_OK):
        before = False
        yield Finding.wrong("permissions", f"the lake {lake} cannot be written to by this user")
    if before:
        yield Finding.ok("permissions", f"{home.path} and its secrets are this user's own")


def _image_roots(settings: Settings) -> Iterator[Finding]:
    for root in settings.image_roots:
        if not root.is_dir():
            yield Finding.wrong("image root", f"{root} is not a folder here: mount it, or change ANTENNA_IMAGE_ROOTS")
        elif not os.access(root, os.R_OK | os.X_OK):
            yield Finding.wrong("image root", f"{root} cannot be read by this user")
        else:
            # Of a share that hangs, only this waits.
            next(os.scandir(root), None)
            yield Finding.ok("image root", f"{root} can be read")
    for path in settings.pipeline_paths:
        if not path.exists():
            yield Finding.wrong("pipelines", f"{path} is not there: change ANTENNA_PIPELINE_PATHS")


def _limits(_: Settings) -> Iterator[Finding]:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        yield Finding.warning("open files", f"at most {hard} files may be open: raise it (`ulimit -Hn`) to {_FILES}")
    else:
        yield Finding.ok("open files", "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard:,}")
    named = sorted(name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy"))
    if named:
        where = {name: server_urls.without_password(os.environ[name]) for name in named}
        text = ", ".join(f"{name}={value}" for name, value in where.items())
        yield Finding.ok("proxy", f"{text}; connections within this machine do not go through it")


def _gpu(_: Settings) -> Iterator[Finding]:
    torch, cuda = _version("torch"), _cuda_of_torch()
    program = shutil.which("nvidia-smi")
    said = ""
    if program:
        try:
            said = subprocess.run([program], capture_output=True, text=True, timeout=_ANSWER, check=False).stdout
        except subprocess.TimeoutExpired:
            yield Finding.wrong("GPU", f"nvidia-smi does not answer within {_ANSWER:.0f} s: the driver hangs")
            return
    match = re.search(r"Driver Version:\s*(\S+)\s+CUDA Version:\s*(\d+)\.(\d+)", said)
    if match is None:
        broken = bool(program) and bool(said or Path("/proc/driver/nvidia/version").exists())
        if broken:
            yield Finding.wrong("GPU", "nvidia-smi sees no GPU although a driver is there: load it again, or reboot")
        else:
            yield Finding.ok("GPU", "none; workers here compute on the CPU")
        return
    seen = f"driver {match[1]}, for CUDA up to {match[2]}.{match[3]}"
    if not torch:
        yield Finding.warning("GPU", f"{seen}; PyTorch is not installed here: run `make install`")
    elif cuda is None:
        yield Finding.warning("GPU", f"{seen}; PyTorch {torch} is a build without CUDA: install one with")
    elif cuda > int(match[2]):
        yield Finding.wrong("GPU", f"{seen}; PyTorch {torch} is for CUDA {cuda}: update the driver")
    else:
        yield Finding.ok("GPU", f"{seen}; PyTorch {torch} for CUDA {cuda}")


def _cuda_of_torch() -> int | None:
    """The major version of CUDA that PyTorch was built for, without importing it, which takes seconds."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    version = Path(found.origin).parent / "version.py"
    text = version.read_text() if version.exists() else ""
    match = re.search(r"^cuda\s*(?::[^=]*)?=\s*['\"](\d+)\.", text, re.MULTILINE)
    return int(match[1]) if match else None


# The stack and the servers


def _stack(settings: Settings) -> Iterator[Finding]:
    home = Home(settings.home)
    running = stack.status(home.path)
    if running is not None:
        state = "is ready" if running.ready else "is starting"
        yield Finding.ok("stack", f"runs in {home.path} and {state}; UI {running.ui or 'off'}")
        for name, url, path in (("UI", running.ui, "/server_info"), ("gateway", running.gateway, "/livez")):
            if url and running.ready:
                yield _answer(name, url, path)
        return
    if left := [one for one in processes.marked(processes.HOME_VARIABLE, str(home.path)) if _is_alive(one)]:
        yield Finding.warning("stack", f"{len(left)} processes of an earlier stack run still: `antenna up` ends them")
    if home.env_file.exists():
        yield Finding.warning("stack", f"none runs in {home.path}: start it with `antenna up`")
    else:
        yield Finding.ok("stack", f"none was started in {home.path}")
    for name, port in (("UI", settings.ui_port), ("gateway", settings.gateway_port)):
        if port and not ports.is_free(port):
            yield Finding.warning("ports", f"{port} is taken by {processes.listener(port)}: the {name} gets another")


def _is_alive(process: psutil.Process) -> bool:
    return not processes.is_zombie(process)


def _answer(name: str, url: str, path: str) -> Finding:
    began = time.monotonic()
    # Not through a proxy: it is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}{path}", timeout=_ANSWER):
            pass
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            return Finding.wrong(name, f"{url} answers with {error.code}: see the log in the home's folder `logs`")
    except OSError as error:
        return Finding.wrong(name, f"{url} does not answer ({error}): see the log in the home's folder `logs`")
    return _took(name, url, time.monotonic() - began)


def _took(name: str, where: str, seconds: float, more: str = "") -> Finding:
    text = f"{where} answers in {seconds * 1000:.0f} ms{more}"
    return Finding.warning(name, f"{text}, which is slow") if seconds > _SLOW else Finding.ok(name, text)


@contextmanager
def _known_url(settings: Settings, name: str) -> Iterator[str]:
    """The URL of a server; what connecting to it raises names the server without its password."""
    url = getattr(settings, name)
    try:
        yield url
    except TimeoutError:
        where = server_urls.without_password(url)
        raise errors.Unavailable(
            f"{where} does not answer within {_ANSWER:.0f} s: is it overloaded, or hung?"
        ) from None


def _catalog(settings: Settings) -> Iterator[Finding]:
    if not settings.database_url:
        yield Finding.ok("PostgreSQL", "not known yet; `antenna up` starts one")
        return

    try:
        with _connected(settings.database_url) as connection:
            began = time.monotonic()
            facts = connection.cursor(row_factory=dict_row).execute(queries.load("server_facts")).fetchone()
            seconds, now = time.monotonic() - began, datetime.now(UTC)
    except psycopg.errors.UndefinedTable:
        yield Finding.wrong("catalog", "it has no tables yet: `antenna up` makes them")
        return
    assert facts is not None
    where = server_urls.without_password(settings.database_url)
    yield _took("PostgreSQL", where, seconds, f", version {facts['version']}")
    yield from _catalog_findings(facts, now)


def _catalog_findings(facts: Mapping[str, object], now: datetime) -> Iterator[Finding]:
    here, there = migrations.newest(), str(facts["level"])
    if there < here:
        yield Finding.wrong("catalog", f"its tables are of version {there}, this code needs {here}: `antenna up`")
    elif there > here:
        yield Finding.wrong("catalog", f"its tables are of version {there}, this code is older ({here}): upgrade it")
    else:
        yield Finding.ok("catalog", f"its tables are of version {here}, as this code needs")
    most = int(str(facts["most"])) - int(str(facts["reserved"]))
    used = int(str(facts["used"]))
    text = f"{used} of {most} connections are in use"
    if most < _CONNECTIONS:
        yield Finding.warning("PostgreSQL", f"{text}; a stack may need {_CONNECTIONS}: raise max_connections")
    elif used > 0.9 * most:
        yield Finding.wrong("PostgreSQL", f"{text}: raise max_connections, or see who holds them (pg_stat_activity)")
    else:
        yield Finding.ok("PostgreSQL", text)
    if not facts["fsync"]:
        yield Finding.warning("PostgreSQL", "fsync is off: after a power loss the catalog may be damaged")
    at = facts["now"]
    assert isinstance(at, datetime)
    ahead = (at - now).total_seconds()
    if abs(ahead) > _SKEW:
        how = "ahead of" if ahead > 0 else "behind"
        yield Finding.wrong("clocks", f"PostgreSQL's is {abs(ahead):.0f} s {how} this machine's: set them by NTP")
    else:
        yield Finding.ok("clocks", f"PostgreSQL's and this machine's differ by {abs(ahead):.1f} s")


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to PostgreSQL without a pool, which would wait for its connections when it is given up."""
    options = f"-c statement_timeout={_ANSWER * 1000:.0f}"
    address = url.replace("+psycopg2", "")
    try:
        with psycopg.connect(address, connect_timeout=max(1, int(_ANSWER)), options=options) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise errors.Unavailable(f"{server_urls.without_password(url)}: {first_line(error)}") from error


def _dagster(settings: Settings) -> Iterator[Finding]:
    if not settings.dagster_pg_url:
        return
    began = time.monotonic()
    with _connected(settings.dagster_pg_url) as connection:
        connection.execute("SELECT 1")
    yield _took("Dagster's database", server_urls.without_password(settings.dagster_pg_url), time.monotonic() - began)


def _nats(settings: Settings) -> Iterator[Finding]:
    if not settings.nats_url:
        yield Finding.ok("NATS", "not known yet; `antenna up` starts one")
        return
    from antenna_orchestration.queue import connection, streams

    async def look() -> tuple[float, streams.Storage, list[str]]:
        async with asyncio.timeout(_ANSWER), connection.connected(settings.nats_url, name="antenna-doctor") as client:
            began = time.monotonic()
            await connection.check(client)
            seconds = time.monotonic() - began
            return seconds, await streams.storage(client), await streams.missing(client)

    with _known_url(settings, "nats_url") as url:
        seconds, storage, missing = asyncio.run(look())
    yield _took("NATS", server_urls.without_password(url), seconds, f", version {storage.version}")
    wanted = settings.tasks_max_bytes + settings.results_max_bytes
    text = f"{storage.used / 1e9:.1f} GB stored"
    if missing:
        yield Finding.wrong("JetStream", f"{', '.join(missing)} missing: `antenna health` makes them again")
    if 0 < storage.most < wanted:
        yield Finding.warning(
            "JetStream",
            f"{text}; it may store {storage.most / 1e9:.0f} GB, and the streams {wanted / 1e9:.0f} GB: raise max_file, "
            "or lower ANTENNA_TASKS_MAX_BYTES and ANTENNA_RESULTS_MAX_BYTES",
        )
    else:
        yield Finding.ok("JetStream", text)


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        yield Finding.ok("Redis", "not known yet; `antenna up` starts one")
        return
    from antenna_orchestration.live.store import LiveStore

    async def look() -> float:
        async with asyncio.timeout(_ANSWER), LiveStore(settings.redis_url) as live:
            began = time.monotonic()
            await live.check()
            return time.monotonic() - began

    with _known_url(settings, "redis_url") as url:
        yield _took("Redis", server_urls.without_password(url), asyncio.run(look()))


def _lake(settings: Settings) -> Iterator[Finding]:
    """A lake in a bucket is listed; one on a disk was looked at with the disks."""
    if "://" not in settings.lake:
        return
    from antenna_orchestration.lake.folder import Folder, storage_options

    began = time.monotonic()
    Folder(settings.lake, storage_options=storage_options(settings), what="lake").names("")
    yield _took("lake", settings.lake, time.monotonic() - began)


def _work(settings: Settings) -> Iterator[Finding]:
    """The health checks that only look: jobs and runs that stand still, workers, sources, pipelines, clocks."""
    if not (settings.database_url and settings.nats_url and settings.redis_url):
        return
    from antenna_orchestration.processing.services import opened
    from antenna_orchestration.upkeep import health

    async def look() -> health.HealthReport:
        async with asyncio.timeout(_ANSWER), opened(settings, max_connections=2) as services:
            return await health.watch(services)

    try:
        with _connected(settings.database_url):
            report = asyncio.run(look())
    except (errors.Unavailable, TimeoutError):
        # Said for the server that does not answer.
        yield Finding.warning("work", "not looked at: a server does not answer")
        return
    told = [one for one in report.results if one.unfixable]
    for one in told:
        shown = "; ".join(one.details[:3])
        yield Finding.wrong(one.name, f"{shown}{' …' if len(one.details) > 3 else ''} (`antenna health`)")
    if not told:
        yield Finding.ok("work", "no job, run, worker or source stands still")


CHECKS: Final[Mapping[str, Check]] = {
    "versions": _versions,
    "settings": _contradictions,
    "disk": _disks,
    "permissions": _permissions,
    "image roots": _image_roots,
    "limits": _limits,
    "GPU": _gpu,
    "stack": _stack,
    "PostgreSQL": _catalog,
    "Dagster's database": _dagster,
    "NATS": _nats,
    "Redis": _redis,
    "lake": _lake,
    "work": _work,
}
"""All checks by their names, in the order in which they are shown."""
