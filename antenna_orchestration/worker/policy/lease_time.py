"""How long a lease lasts: what the announcements of jobs say, which is what the queue was told. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class LeaseTime:
    """The shortest lease of the announced jobs, in seconds. What this worker has in hand is kept alive by it."""

    def __init__(self, own: float) -> None:
        """`own`: the worker's setting, for jobs announced by a version that did not say it."""
        self._own = own
        self.seconds = own

    def announced(self, leases: Iterable[float]) -> bool:
        """Take over what the announced jobs say now, 0 where they do not; returns whether leases became shorter.

        Without any job it stays: tasks of the last ones may be in hand.
        """
        before = self.seconds
        self.seconds = min((one or self._own for one in leases), default=before)
        return self.seconds < before
