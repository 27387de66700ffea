"""What a clock that is set back would stop in Dagster's daemon for as long as it was set back, and how it goes on.

Read at 1.13.27. A sensor rests until its last tick is long enough ago. One that lies in the future is not for hours,
and it is in PostgreSQL, so that a restart does not help. Here such a sensor is due; the setting DAGSTER_UNCHANGED
leaves that out.

All other rests are in the daemon's memory, by the clock on the wall: those of its loops (run queue, run monitoring), of
its look at the code locations, of its heartbeats. They begin anew with the daemon, which therefore leaves when the
clock is set back, and is started again.

A schedule's last tick is in PostgreSQL, too, and is left alone: the health check on a schedule comes late, while the
sensor `health_watch` looks; and what runs once a night may come late.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from dagster._daemon import sensor

from antenna_orchestration import kernel

POLL: Final = 2.0
"""Seconds between two looks at the clock."""

SET_BACK: Final = 10.0
"""Seconds from which on a clock counts as set back: for so long the run queue can wait."""


def install() -> None:
    """Let sensors be due in this process whose last tick lies in the future."""
    elapsed: Callable[[Any], float | None] = sensor.get_elapsed

    def get_elapsed(state: Any) -> float | None:
        seconds = elapsed(state)
        return None if seconds is not None and seconds < 0 else seconds

    # `is_under_min_interval` asks it, and takes None for a sensor that never ticked.
    sensor.get_elapsed = get_elapsed


def leave_when_set_back(say: Callable[[str], None], *, offset: Callable[[], float] = kernel.clock_offset) -> None:
    """Ask this process to end, as `antenna up` does, once the clock is set back; returns then."""
    before = offset()
    while (by := before - (now := offset())) < SET_BACK:
        before = now
        time.sleep(POLL)
    say(f"leaving, to be started again: the clock was set back by {by:.0f} s")
    os.kill(os.getpid(), signal.SIGTERM)
