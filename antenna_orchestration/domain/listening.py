"""Since when a process has been there to hear workers. Pure."""

from __future__ import annotations


class Listening:
    """Tells the silence of a worker from a time in which nobody could have heard it.

    While the process, or a store that it needs, is away, every worker seems silent. So silence counts only from the end
    of such a gap. Rounds follow one another; a gap is a time without a round that came to its end.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._last: float | None = None

    def begin(self, now: float, *, gap: float) -> float:
        """Begin a round: since when workers can have been heard, if rounds are at most `gap` seconds apart."""
        # A clock that was set back tells nothing of the time before, and who was heard then would never be silent.
        if self._last is None or not 0 <= now - self._last <= gap:
            self._since = now
        return self._since

    def end(self, now: float) -> None:
        """A round that began `now` came to its end."""
        self._last = now
