"""The stack's home folder (`.antenna/`): where everything lies, who may read it, who holds it.

Paths, private files and the lock belong here; what is written into them belongs to the module that writes it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from antenna_orchestration import errors, kernel, settings

# Values of the env file are read by a POSIX shell and by python-dotenv, whose quoting rules differ for these.
_ELSEWHERE = "set ANTENNA_HOME to a folder on another disk"
ROOM = 20 * 10**6
"""Bytes that have to be free when a stack starts: PostgreSQL's next segment, and logs."""

_AWKWARD = "'\"\\$`\n"


@dataclass(frozen=True)
class Home:
    """Paths below one stack's home. Two homes share nothing."""

    path: Path

    @property
    def env_file(self) -> Path:
        """The settings that join this stack, 0600."""
        return self.path / settings.ENV_FILE

    @property
    def credentials_file(self) -> Path:
        """Generated once, 0600."""
        return self.path / "credentials.json"

    @property
    def ports_file(self) -> Path:
        """The ports of the last start."""
        return self.path / "ports.json"

    @property
    def status_file(self) -> Path:
        """What runs now, written by the supervisor."""
        return self.path / "stack.json"

    @property
    def lock_file(self) -> Path:
        """Held (flock) by front and supervisor as long as either lives."""
        return self.path / "lock"

    @property
    def stopping_file(self) -> Path:
        """Exists from an ordered stop until the next start: meanwhile collectors leave their jobs RUNNING."""
        return self.path / "stopping"

    @property
    def logs(self) -> Path:
        """One file per child process."""
        return self.path / "logs"

    @property
    def nats(self) -> Path:
        """Configuration and JetStream's store."""
        return self.path / "nats"

    @property
    def redis(self) -> Path:
        """Configuration of Redis."""
        return self.path / "redis"

    @property
    def postgres(self) -> Path:
        """The database cluster's folder, or a link to it (see `postgres_server`)."""
        return self.path / "postgres"

    @property
    def dagster(self) -> Path:
        """`DAGSTER_HOME`."""
        return self.path / "dagster"

    def create(self) -> None:
        """Create the folder, listable by its owner only.

        Raises `InternalError` for a path that cannot hold a stack, and for a disk that is full or read-only.
        """
        if any(character in str(self.path) for character in _AWKWARD):
            raise errors.InternalError(
                f"the folder {self.path} has quotes, $ or \\ in its name: set ANTENNA_HOME to another folder"
            )
        check_room(self.path, needed=ROOM, what="`antenna up`")
        try:
            # As root, PostgreSQL runs as another user and has to pass through.
            make_folder(self.path, 0o711 if os.geteuid() == 0 else 0o700)
            for folder in (self.logs, self.nats, self.redis, self.dagster):
                folder.mkdir(exist_ok=True, mode=0o700)
            kernel.sync_folder(self.path)
            # Whoever may pass through a folder need not be allowed to open it.
            if os.access(self.path.parent, os.R_OK):
                kernel.sync_folder(self.path.parent)
        except OSError as error:
            raise errors.InternalError(f"cannot write to the stack's home {self.path}: {error.strerror}") from error

    @contextmanager
    def lock(self, *, patience: float = 1.0) -> Iterator[int]:
        """Hold the home; yields the descriptor, which a child that inherits it keeps locked.

        Waits up to thirty seconds for a stack that is stopping. Raises `InternalError` when another stack runs.
        """
        try:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.InternalError(f"cannot write {self.lock_file}: {error.strerror}") from error
        try:
            deadline = time.monotonic() + patience
            while not _try_lock(descriptor):
                patient_until = deadline + (30 if self.stopping_file.exists() else 0)
                if time.monotonic() > patient_until:
                    raise errors.InternalError(f"a stack already runs in {self.path}: stop that one first (Ctrl-C)")
                time.sleep(0.1)
            yield descriptor
        finally:
            os.close(descriptor)


def check_room(path: Path, *, needed: int, what: str) -> None:
    """Raise `InternalError` if a path's disk is read-only, or has fewer than `needed` bytes left for `what`."""
    place = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    disk = os.statvfs(place)
    if disk.f_flag & os.ST_RDONLY:
        raise errors.InternalError(f"the disk that {place} is on is read-only: {_ELSEWHERE}")
    # What is left to root alone is no help to PostgreSQL.
    if (left := disk.f_bavail * disk.f_frsize) < needed:
        raise errors.InternalError(
            f"the disk that {place} is on has {left / 1e6:.0f} MB left, and {what} needs {needed / 1e6:.0f} MB there: "
            f"free some, or {_ELSEWHERE}"
        )


def make_folder(path: Path, mode: int) -> None:
    """Make a folder with this mode, whatever the umask is. One that exists is left as it is."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True, mode=mode)
        path.chmod(mode)


def write_private(path: Path, text: str, *, owner: tuple[int, int] | None = None) -> None:
    """Replace a file so that no power loss tears it; only its owner may read it. Raises `InternalError`."""
    try:
        kernel.replace_file(path, text, owner=owner)
    except OSError as error:
        raise errors.InternalError(f"cannot write {path}: {error.strerror}") from error


def read_json(path: Path) -> dict[str, object]:
    """The object in a file; empty when there is no file, or a torn one."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
