"""What an engine can do: start a worker, tell what became of it, and take back a start that still waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain.texts import storable

_HANDED_ON: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH")

_MOST_OUTPUT: Final = 2**24
_PART: Final = 2**16
_POLL: Final = 0.02
_LAST_WORDS: Final = 0.5
"""Seconds until the output of a command that ended is read, as long as others hold it open."""

_MOST_TOLD: Final = 300
"""Characters of a command's error that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A start as the engine knows it."""

    # Also the name of its worker.
    start_id: str
    # What the engine calls it; empty if the process died between the start and the note of it.
    handle: str
    # Seconds since it was asked for.
    age: float
    # Whether its worker was heard at any time, and is heard now.
    was_heard: bool
    is_heard: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a start."""

    state: Literal["waiting", "running", "gone"]
    # Why it waits, or why it ended; empty for one that ended well.
    note: str = ""


class Launcher(Protocol):
    """An engine, for one pool. All methods raise `Unavailable` when the engine does not answer."""

    async def look(self, starts: Sequence[Asked]) -> Mapping[str, Seen]:
        """What became of each of these starts, by its id."""
        ...

    async def others(self, heard: Collection[str | None]) -> Collection[str]:
        """Workers on their way here that a person started, by an id; `heard` are the Dagster runs of those there."""
        ...

    async def start(self, start_id: str) -> str:
        """Start a worker of this name; returns what the engine calls it."""
        ...

    async def cancel(self, start: Asked) -> None:
        """Take back a start that waits; one that runs by now may go on."""
        ...


class Undecided(errors.Unavailable):
    """A command did not say in time whether it did what it was told; it may have."""


def plain_environment(*, names: Collection[str] = (), prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """What a command gets of our environment: what tells it who and where it is, these further names, and no secret.

    Ours holds the URLs of the servers with their passwords, and Slurm hands a job the whole environment of `sbatch`.
    """
    wanted = {*_HANDED_ON, *names}
    return {name: value for name, value in os.environ.items() if name in wanted or name.startswith(("LC_", *prefixes))}


async def output_of(command: Sequence[str], *, timeout: float, environment: Mapping[str, str], stdin: str = "") -> str:
    """What a command prints. Raises `Unavailable` when it is missing or fails, `Undecided` when it takes longer.

    It is killed then, with what it started. A command that ends leaves what it started alone, also where that holds
    its output open.
    """
    name = command[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise errors.Unavailable(f"{name} cannot be run: {error.strerror}") from None
    out, err = _Kept(process.stdout), _Kept(process.stderr)
    reading = [asyncio.create_task(part) for part in (out.read(), err.read(), _write(process.stdin, stdin))]
    try:
        async with asyncio.timeout(timeout):
            await _ended(process)
            await asyncio.wait(reading, timeout=_LAST_WORDS)
    except TimeoutError:
        raise Undecided(f"{name} took longer than {timeout:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await _ended(process)
        await kernel.end(*reading)
        # There is no other way to close our ends of the pipes.
        process._transport.close()  # type: ignore[attr-defined]
    if process.returncode:
        raise errors.Unavailable(told_error(name, process.returncode, err.text))
    if out.is_cut:
        raise errors.Unavailable(f"{name} printed more than {_MOST_OUTPUT:,} bytes")
    return out.text


async def _ended(process: asyncio.subprocess.Process) -> None:
    # Its own `wait` waits for those who hold its output open, too.
    while process.returncode is None:  # noqa: ASYNC110  there is no event of it
        await asyncio.sleep(_POLL)


def told_of(said: str) -> str:
    """What a program said, fit for one line of ours."""
    return "".join(one if one.isprintable() else " " for one in " ".join(storable(said).split()))[:_MOST_TOLD]


def told_error(command: str, status: int, stderr: str) -> str:
    """Why a command failed, in one line: the last that it wrote to its error output."""
    said = [line for line in stderr.splitlines() if line.strip()]
    return f"{command}: {told_of(said[-1]) if said else f'it ended with status {status}'}"


class _Kept:
    """What a command writes into one pipe; it is read to the end, but only so much is kept."""

    def __init__(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        self._stream = stream
        self._bytes = bytearray()
        self.is_cut = False

    @property
    def text(self) -> str:
        return self._bytes.decode(errors="replace")

    async def read(self) -> None:
        while part := await self._stream.read(_PART):
            self._bytes += part
            if len(self._bytes) > _MOST_OUTPUT:
                # Of errors the last lines count.
                del self._bytes[:-_PART]
                self.is_cut = True


async def _write(stream: asyncio.StreamWriter | None, text: str) -> None:
    assert stream is not None
    # A command need not read it.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(text.encode())
        await stream.drain()
    stream.close()
