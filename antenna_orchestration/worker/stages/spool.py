"""Results that could not be delivered, kept on disk until the next start."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain import messages
from antenna_orchestration.queue.names import AckSubject

logger = logging.getLogger(__name__)

_ENDING: Final = ".results"


class Spooled(msgspec.Struct, frozen=True, array_like=True):
    """One result with the acknowledgement that it earns its task."""

    ack: str
    result: bytes


class Spool:
    """A folder of undelivered results, one file a batch. Several workers may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, results: Sequence[tuple[messages.Result, AckSubject]]) -> Path:
        """Write results to a file that survives a power failure. The folder is made when it is first needed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{secrets.token_hex(8)}{_ENDING}"
        spooled = [Spooled(ack.subject, messages.encode(result)) for result, ack in results]
        kernel.replace_file(path, msgspec.msgpack.encode(spooled))
        for job, count in sorted(Counter(result.job for result, _ in results).items()):
            logger.warning("job %d: %d results could not be delivered and are kept in %s", job, count, path)
        return path

    @contextmanager
    def waiting(self) -> Iterator[list[Path]]:
        """The files that wait, each locked against other workers for the length of the block."""
        handles: list[int] = []
        paths: list[Path] = []
        try:
            for path in sorted(self._folder.glob(f"*{_ENDING}")):
                try:
                    handles.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                    fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (FileNotFoundError, BlockingIOError):
                    continue
                except PermissionError:
                    logger.warning("%s is another user's: these results wait for a worker of theirs", path)
                    continue
                # Another worker may have delivered it between our opening and our locking it.
                if path.exists():
                    paths.append(path)
            yield paths
        finally:
            for handle in handles:
                os.close(handle)

    def read(self, path: Path) -> list[tuple[messages.Result, AckSubject]]:
        """The results in a file. Raises `InvalidInput` when it is not one of ours or cannot be read."""
        try:
            spooled = msgspec.msgpack.decode(path.read_bytes(), type=list[Spooled])
            return [(messages.decode(messages.Result, one.result), AckSubject.parse(one.ack)) for one in spooled]
        except (OSError, msgspec.DecodeError, ValueError, IndexError) as error:
            raise errors.InvalidInput(f"{path} holds no results: {error}") from error
