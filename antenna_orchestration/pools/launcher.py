"""What an engine can do: start a worker, tell what became of it, and take back a start that still waits."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from antenna_orchestration import errors
from antenna_orchestration.domain.texts import storable

_MOST_OUTPUT: Final = 2**20
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

    async def others(self, heard: Collection[str | None]) -> int:
        """Workers on their way here that a person started; `heard` are the Dagster runs of those that are there."""
        ...

    async def start(self, start_id: str) -> str:
        """Start a worker of this name; returns what the engine calls it."""
        ...

    async def cancel(self, start: Asked) -> None:
        """Take back a start that waits; one that runs by now may go on."""
        ...


async def output_of(
    command: Sequence[str], *, timeout: float, stdin: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """What a command prints. Raises `Unavailable` when it is missing, fails, or takes longer; it is killed then."""
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
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        raise errors.Unavailable(f"{name} took longer than {timeout:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise errors.Unavailable(told_error(name, process.returncode, err.decode(errors="replace")))
    return out[:_MOST_OUTPUT].decode(errors="replace")


def told_error(command: str, status: int, stderr: str) -> str:
    """Why a command failed, in one line: the last that it wrote to its error output."""
    said = [line for line in stderr.splitlines() if line.strip()]
    told = storable(said[-1].strip())[:_MOST_TOLD] if said else f"it ended with status {status}"
    return f"{command}: {told}"
