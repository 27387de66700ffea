"""Asking a worker to leave, from a signal handler or from another thread."""

from __future__ import annotations


class StopRequest:
    """Asked once, the worker finishes what is inferring and leaves; asked twice, it leaves that, too.

    The engine looks at it several times a second, so asking is a plain assignment: safe in any thread and handler.
    """

    def __init__(self) -> None:
        self._times = 0

    def ask(self) -> None:
        """Ask the worker to leave."""
        self._times += 1

    @property
    def asked(self) -> bool:
        """Whether the worker is to leave."""
        return self._times > 0

    @property
    def hurried(self) -> bool:
        """Whether it is to leave without finishing anything."""
        return self._times > 1
