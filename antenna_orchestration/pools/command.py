"""Workers that commands of the deployment's own start: cloud instances, machines over ssh."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from antenna_orchestration.domain.texts import storable
from antenna_orchestration.pools.configuration import CommandPool
from antenna_orchestration.pools.launcher import Asked, Seen, output_of, plain_environment

STARTS_WITHIN: Final = 600.0
"""Seconds in which a worker is heard, where no command lists what is there."""

LISTED_WITHIN: Final = 60.0
"""Seconds after a start in which the command lists it."""

_MOST_CHARACTERS: Final = 200
"""Characters of a name that a command gives."""


class CommandLauncher:
    """One pool whose workers are started by a command."""

    def __init__(self, pool: CommandPool) -> None:
        self._pool = pool

    async def look(self, starts: Sequence[Asked]) -> Mapping[str, Seen]:
        """As `Launcher.look`."""
        if not self._pool.list:
            return {start.start_id: _by_ear(start) for start in starts}
        there = {_name(line) for line in (await self._said(self._pool.list)).splitlines()}
        return {start.start_id: self._seen(start, there) for start in starts}

    def _seen(self, start: Asked, there: Collection[str]) -> Seen:
        if start.handle in there or start.start_id in there:
            return Seen("running")
        # Clouds tell of an instance a while after they were asked for it.
        if start.age < LISTED_WITHIN and not start.was_heard:
            return Seen("running", "it is to be listed")
        return Seen("gone", "" if start.was_heard else f"{self._pool.list[0]} does not list it")

    async def others(self, heard: Collection[str | None]) -> Collection[str]:
        """As `Launcher.others`: they are known once they are heard."""
        return ()

    async def start(self, start_id: str) -> str:
        """As `Launcher.start`."""
        command = [*self._pool.start, *self._pool.worker_arguments(start_id)]
        names = map(_name, (await self._said(command)).splitlines())
        return next(filter(None, names), start_id)

    async def cancel(self, start: Asked) -> None:
        """As `Launcher.cancel`; without a command for it, the worker leaves by itself."""
        if self._pool.cancel:
            await self._said([*self._pool.cancel, start.handle or start.start_id])

    async def _said(self, command: Sequence[str]) -> str:
        environment = plain_environment(names=self._pool.environment)
        return await output_of(command, timeout=self._pool.timeout_seconds, environment=environment)


def _name(line: str) -> str:
    return storable(line.strip())[:_MOST_CHARACTERS]


def _by_ear(start: Asked) -> Seen:
    if start.is_heard:
        return Seen("running")
    if start.was_heard:
        return Seen("gone")
    if start.age > STARTS_WITHIN:
        return Seen("gone", f"its worker was not heard within {STARTS_WITHIN / 60:.0f} min")
    return Seen("running", "its worker is to be heard")
