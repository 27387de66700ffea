"""Child processes: started so that none outlives us, found again by a mark in their environment, ended for good.

What a particular server needs is not decided here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from antenna_orchestration import errors, kernel

STACK_VARIABLE = "ANTENNA_STACK_ID"
"""Carried by every process of one `up`, inherited by what they start; random."""
HOME_VARIABLE = "ANTENNA_STACK_HOME"
"""The home of that `up`. Neither is ever in the env file: a user's own shell must not look like part of the stack."""

_ROTATE_AT = 8 * 2**20
"""A log larger than this is moved to `<name>.log.1` when its process starts, or copied there while it runs."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """An operating system user that a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """One child process: what, where, as whom."""

    name: str
    argv: tuple[str | Path, ...]
    folder: Path
    """Its working directory."""
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Its whole environment, apart from the mark."""
    account: Account | None = None
    input: bytes = field(default=b"", repr=False)
    """What its standard input says: little, and no command line shows it."""
    umask: int = -1
    stop_signal: signal.Signals = signal.SIGTERM
    """Asks it to leave in order; also what the kernel sends it when its parent dies."""


def spawn(command: Command, *, mark: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a child that the kernel signals when the calling *thread* ends: call from one that stays.

    Raises `InternalError` when it cannot be executed.
    """
    account = command.account
    try:
        rotate(command.log)
        log_file = command.log.open("ab")
    except OSError as error:
        raise errors.InternalError(f"cannot write {command.log}: {error.strerror}") from error
    with log_file as log:
        try:
            process = subprocess.Popen(
                command.argv,
                cwd=command.folder,
                env={**command.environment, **mark},
                stdin=subprocess.PIPE if command.input else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                umask=command.umask,
                preexec_fn=_in_child(os.getpid(), command.stop_signal),  # noqa: PLW1509 - it only calls the kernel
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as error:
            raise errors.InternalError(f"cannot start {command.name} ({command.argv[0]}): {error.strerror}") from error
    if process.stdin is not None:
        # Less than a pipe holds. What cannot read it has ended, and its end is seen.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(command.input)
    return process


def run(command: Command, *, mark: Mapping[str, str], timeout: float) -> None:
    """Start a child and wait for its end. Raises `InternalError` with its last line when it fails."""
    process = spawn(command, mark=mark)
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise errors.InternalError(f"{command.name} did not finish within {timeout:.0f} s: see {command.log}") from None
    if status:
        raise errors.InternalError(f"{command.name} failed: {cause(command.log)} (log: {command.log})")


def marked(name: str, value: str) -> list[psutil.Process]:
    """All processes whose environment has `name=value`, our own excepted."""
    entry = f"{name}={value}".encode()
    found = []
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue  # another user's, or just gone
        if entry in environment.split(b"\0"):
            try:
                found.append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                continue
    return found


def kill_until_gone(find: Callable[[], Iterable[psutil.Process]], *, timeout: float = 10.0) -> int:
    """SIGKILL what `find` returns until it returns nothing (they may be forking); returns how many there were."""
    killed: set[int] = set()
    deadline = time.monotonic() + timeout
    while processes := [process for process in find() if not is_zombie(process)]:
        for process in processes:
            killed.add(process.pid)
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if time.monotonic() > deadline:
            raise errors.InternalError(
                f"processes {sorted(p.pid for p in processes)} do not end, not even after SIGKILL: end them by hand"
            )
        psutil.wait_procs(processes, timeout=0.2)
    return len(killed)


def end_stack(stack: str) -> int:
    """End everything that carries the mark of one `up`; returns how many processes that were.

    PostgreSQL may finish its own way, which spares the next start a recovery.
    """

    def remaining(*, postgres: bool) -> list[psutil.Process]:
        found = [each for each in marked(STACK_VARIABLE, stack) if not is_zombie(each)]
        return [each for each in found if postgres or _name(each) != "postgres"]

    count = kill_until_gone(lambda: remaining(postgres=False))
    servers = remaining(postgres=True)
    for server in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            server.send_signal(signal.SIGINT)
    psutil.wait_procs(servers, timeout=5)
    kill_until_gone(lambda: remaining(postgres=True))
    return count + len(servers)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def is_zombie(process: psutil.Process) -> bool:
    """Dead, and only waiting for a parent to notice."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the port: another program there would also answer."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)


def listener(port: int) -> str:
    """Who listens on a port, for messages: other users' processes are seen by root only."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        found = []
    for each in found:
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                return f"{psutil.Process(each.pid).name()} (pid {each.pid})"
    return "another process"


def last_line(log: Path) -> str:
    """The last line of a log that says something, for an error of one line."""
    try:
        tail = log.read_bytes()[-8192:].decode("utf-8", "replace")
    except OSError:
        return "no log"
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


_ADVICE: Final = {
    "resize shared memory": "there is no room in /dev/shm: make it larger (docker run --shm-size=256m)",
    "No space left on device": "the disk is full: free some, or set ANTENNA_HOME to a folder on another disk",
    "Disk quota exceeded": "the disk quota is used up: free some, or set ANTENNA_HOME to a folder on another disk",
    "Read-only file system": "the disk is read-only: set ANTENNA_HOME to a folder on another disk",
    "File too large": "a limit on the size of files is in the way: ulimit -f unlimited",
    "Permission denied": "it may not write there: set ANTENNA_HOME to a folder of your own",
}
"""What to do about what a server's log says when it ended."""


def cause(log: Path) -> str:
    """Why a program failed, for an error of one line: what it said of the system's refusal, or else its last line.

    The last words of `initdb` say only that it cleans up after itself.
    """
    try:
        lines = log.read_bytes()[-8192:].decode("utf-8", "replace").splitlines()
    except OSError:
        return last_line(log)
    for sign, advice in _ADVICE.items():
        if said := next((line.strip() for line in reversed(lines) if sign in line), ""):
            return f"{advice} ({said[:200]})"
    return last_line(log)


def rotate(log: Path) -> None:
    """Keep one earlier file, so that logs stay bounded across starts."""
    if log.exists() and log.stat().st_size > _ROTATE_AT:
        log.replace(log.with_name(log.name + ".1"))


def shorten(log: Path) -> None:
    """The same for a log that a process is writing: it goes on in an empty file, because it appends.

    A line that it writes in the milliseconds between may be lost. Raises `OSError`, and then the log is as it was.
    """
    if not log.exists() or log.stat().st_size <= _ROTATE_AT:
        return
    earlier = log.with_name(log.name + ".1")
    earlier.unlink(missing_ok=True)
    try:
        shutil.copyfile(log, earlier)
    except OSError:
        earlier.unlink(missing_ok=True)
        raise
    os.truncate(log, 0)


def plain_environment() -> dict[str, str]:
    """What a bundled server needs of ours, and no secret of it."""
    return {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR") if name in os.environ}


def _in_child(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    resettable = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]

    def prepare() -> None:
        # A shell starts background jobs with SIGINT ignored, and Dagster copies that to SIGTERM: they would never stop.
        for number in resettable:
            if signal.getsignal(number) is not None:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        kernel.die_with_parent(parent, death_signal)

    return prepare
