"""What only the kernel knows or can promise, and the interpreter below us; no other module speaks to either.

What Linux alone offers does nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import getpass
import os
import resource
import signal
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_MOST_FILES: Final = 65_536
"""Open files that a process is allowed by itself; old programs close all that they might have."""

CANCEL_AGAIN: Final = 5.0
"""Seconds after which a task that still runs is cancelled again: as long as one may take to clean up."""

# Loaded here: between fork and exec nothing may be.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Be signalled when the parent is gone; leave at once when it already is. For a child, before anything else."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def become_subreaper() -> None:
    """Orphans among our descendants become our children instead of init's."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def be_the_first_to_die() -> None:
    """When memory runs out, the kernel is to end this process before those around it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")


def data_bytes() -> int:
    """The address space that this process uses for data, as `RLIMIT_DATA` counts it; 0 where that is not known."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    return 0


def raise_file_limit() -> int:
    """Let this process and its children have as many open files as the system allows; how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, _MOST_FILES) if hard != resource.RLIM_INFINITY else _MOST_FILES
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(soft, most)


def most_memory() -> int:
    """Bytes of memory that this process held at most since its program began.

    The figure of `getrusage` begins with what its parent held.
    """
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024


def threads() -> int:
    """Threads of this process, of whatever library; on systems other than Linux only Python's."""
    if sys.platform == "linux":
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    return threading.active_count()


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def replace_file(path: Path, content: str | bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write a small file that a power loss at any moment leaves as it was or as it is now, whole. Raises `OSError`.

    `owner` is a uid and a gid. One writer at a time; what an interrupted one left beside the file is overwritten.
    """
    fresh = path.with_name(f".{path.name}.new")
    # Made anew, because a link that somebody put there must not be followed.
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path | str) -> None:
    """Make a folder's entries durable: a file's own fsync does not cover its name. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def keep_what_is_imported() -> None:
    """Leave the objects of all modules imported so far out of Python's cycle collector; once per process and its forks.

    There are hundreds of thousands of them, and they stay: they need not be walked again, nor copied by forks. A fork
    that imports much itself, and is forked again, clears the cache of this function before.
    """
    gc.collect()
    gc.freeze()


def this_process() -> str:
    """A name for this process that no other has, on any machine and after any restart of this one.

    It is `PID SINCE NAMESPACE BOOT`: the process id, when the process started (in clock ticks since the machine did),
    the process-id namespace (a container has its own), and the kernel's id of its start.
    """
    return f"{os.getpid()} {_since(os.getpid())} {_pid_namespace()} {_boot()}"


def is_gone(process: str) -> bool | None:
    """Whether a process, named by `this_process`, has ended. None if this machine, or this container, cannot tell."""
    try:
        pid, since, namespace, boot = process.split()
        number = int(pid)
    except ValueError:
        return None
    if not _boot() or (boot, namespace) != (_boot(), _pid_namespace()):
        return None
    return _since(number) != since


def clock_offset() -> float:
    """When this machine started, in seconds since the epoch by its clock: changes only if the clock is set or jumps."""
    return time.time() - time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _since(pid: int) -> str:
    """When a process started; empty if there is none, or if it is dead and waits for its parent to notice."""
    try:
        # The command's name, in parentheses, may hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "-"


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def user_of_this_process() -> str:
    """The name of the user who runs this process, or its number where it has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def is_cancelled() -> bool:
    """Whether the calling task was cancelled. Every loop has to check this once per round.

    Up to Python 3.11 `asyncio.wait_for`, which all clients use, swallows a cancellation that arrives together with the
    result it waits for.
    """
    # Not at the top: a process without an event loop, such as one that draws, needs none of it.
    import asyncio

    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks, again every few seconds, until they have ended: one that swallowed it would never end."""
    import asyncio

    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN)
    # Retrieved, or asyncio would log what they raised.
    await asyncio.gather(*tasks, return_exceptions=True)
