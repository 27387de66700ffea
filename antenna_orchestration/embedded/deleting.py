"""Deleting a stack's home: what lies in it and how large it is, and its end. What a stack did not make stays."""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes
from antenna_orchestration.embedded.home import Home, read_json
from antenna_orchestration.embedded.postgres_server import PRIVATE_HOMES

_MADE: Final = {
    "lake": "results: tables and reports",
    "postgres": "catalog: jobs, photographs, tokens, and Dagster's history of runs",
    "nats": "queue: tasks and results on their way",
    "redis": "counters",
    "dagster": "what Dagster's runs printed and stored",
    "spool": "results that a worker could not deliver yet",
    "gateway": "what HTTP clients had sent and was not taken yet",
    "gateway-metrics": "what the gateway's processes counted",
    "demo": "photographs that `antenna demo` drew",
    "logs": "logs of the servers",
    "env": "settings",
    "credentials.json": "passwords, and the key that tokens were made with",
    "ports.json": "ports",
    "stack.json": "state",
    "stopping": "state",
    "lock": "state",
}
"""What a stack makes in its home, in the order in which people are told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Something of a stack's that is deleted."""

    path: Path
    what: str
    bytes: int
    # Where a link leads whose content is not ours to delete.
    leads_to: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What deleting a home means."""

    parts: tuple[Part, ...]
    # Files and folders in the home that no stack made.
    kept: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """What the disk gets back."""
        return sum(part.bytes for part in self.parts)


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Keep stacks from starting in a home meanwhile.

    Raises `NotFound` when no stack was ever there, `Conflict` when one runs or left processes, and `InternalError` when
    the home cannot be written to.
    """
    if not home.credentials_file.exists():
        raise errors.NotFound(f"there is no stack's data in {home.path}: nothing to delete")
    with contextlib.ExitStack() as holding:
        try:
            holding.enter_context(home.lock(patience=0))
        except errors.InternalError as error:
            raise errors.Conflict(f"nothing was deleted: {error}") from error
        if left := processes.marked(processes.HOME_VARIABLE, str(home.path)):
            pids = ", ".join(str(each.pid) for each in left[:5])
            raise errors.Conflict(
                f"nothing was deleted: processes of a stack in {home.path} still run (pids {pids}): end them first"
            )
        yield


def plan(home: Home) -> Plan:
    """What there is to delete, with sizes on the disk."""
    parts = [_part(home, home.path / name, what) for name, what in _MADE.items() if _is_there(home.path / name)]
    kept = sorted(each for each in home.path.iterdir() if each.name not in _MADE)
    dotenv = home.path.parent / ".env"
    if dotenv.is_symlink() and dotenv.readlink() == Path(home.path.name) / home.env_file.name:
        parts.append(Part(path=dotenv, what="link to the settings", bytes=0))
    return Plan(parts=tuple(parts), kept=tuple(kept))


def delete(home: Home, planned: Plan) -> None:
    """Delete what was planned, and the home if nothing is left in it. Raises `InternalError`, naming what remains."""
    # The marks of a home come last: an interrupted deletion can be repeated.
    last = ("credentials.json", "lock")
    for part in sorted(planned.parts, key=lambda part: part.path.name in last):
        try:
            if part.path.is_symlink() and part.leads_to is None and part.path.name == "postgres":
                shutil.rmtree(part.path.resolve())
            if part.path.is_dir() and not part.path.is_symlink():
                shutil.rmtree(part.path)
            else:
                part.path.unlink(missing_ok=True)
        except OSError as error:
            raise errors.InternalError(
                f"cannot delete {error.filename or part.path}: {error.strerror}; what comes after it is still there"
            ) from error
    if not any(home.path.iterdir()):
        home.path.rmdir()


def _part(home: Home, path: Path, what: str) -> Part:
    if path.name == "lake" and (jobs := {each.name for each in path.glob("*/job_id=*")}):
        what += f" of {len(jobs)} job{'s' if len(jobs) > 1 else ''}"
    if not path.is_symlink():
        return Part(path=path, what=what, bytes=size_of(path))
    real = path.resolve()
    identity = str(read_json(home.credentials_file).get("identity", ""))
    # Put there by the stack itself, because PostgreSQL's account does not reach the home.
    if path == home.postgres and identity and real == PRIVATE_HOMES / identity:
        return Part(path=path, what=what, bytes=size_of(real))
    return Part(path=path, what=what, bytes=0, leads_to=real)


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def size_of(path: Path) -> int:
    """Bytes on the disk of a file or of all below a folder; links are not followed."""
    try:
        status = path.lstat()
        below = list(path.iterdir()) if stat.S_ISDIR(status.st_mode) else []
    except OSError:
        return 0
    return status.st_blocks * 512 + sum(map(size_of, below))
