"""Following a stack that comes back at another address, for commands that run for long.

A command that joined the stack of a home (its addresses are those of the home's env file) leaves in order when that
stack is up again at other addresses, and starts again there. One that was given other addresses keeps to them.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from antenna_orchestration.settings import Settings

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 2.0
"""Seconds between looks at the env file."""

PROBE: Final = 1.0
"""Seconds within which a server of the stack accepts a connection."""


class JoinedStack:
    """The stack of a home, as a command found it when it started."""

    def __init__(self, settings: Settings, *needed: str) -> None:
        """`needed` are the URL settings that the command uses."""
        from antenna_orchestration.embedded import environment
        from antenna_orchestration.embedded.home import Home

        self._home = Home(settings.home)
        self._read = environment.read
        found = self._read(self._home)
        ours = {f"ANTENNA_{name.upper()}": str(getattr(settings, name)) for name in needed}
        self._joined = {name: url for name, url in ours.items() if url and found.get(name) == url}
        self._looked = time.monotonic()
        self._moved = False

    def has_moved(self) -> bool:
        """Whether the stack is up at other addresses than when the command started. Quick enough to be asked often."""
        if not self._moved and self._joined and time.monotonic() - self._looked >= LOOK_EVERY:
            self._moved = self._look()
            self._looked = time.monotonic()
        return self._moved

    def _look(self) -> bool:
        from antenna_orchestration.embedded import stack

        found = self._read(self._home)
        fresh = {name: found[name] for name, url in self._joined.items() if found.get(name, url) != url}
        if not fresh:
            return False
        known = stack.status(self._home.path)
        if known is not None and not known.ready:
            return False
        if not all(map(_answers, fresh.values())):
            return False
        where = ", ".join(sorted(urlsplit(url).netloc.rpartition("@")[2] for url in fresh.values()))
        logger.warning("the stack of %s is at another address now (%s): starting again there", self._home.path, where)
        return True

    def follow(self) -> None:
        """Start this command again in the same process, with the stack's present addresses; does not return."""
        found = self._read(self._home)
        # Variables that a shell took from the env file would hide the new ones.
        fresh = {name: found[name] for name in os.environ if name in self._joined and name in found}
        sys.stdout.flush()
        argv = [sys.executable, "-m", "antenna_orchestration.cli.main", *sys.argv[1:]]
        os.execve(sys.executable, argv, {**os.environ, **fresh})  # noqa: S606  our own interpreter


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 0), timeout=PROBE):
            return True
    except OSError:
        return False
