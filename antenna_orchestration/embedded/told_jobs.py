"""The daemon looks at its sensors as soon as a job was submitted, in place of every five seconds only.

Changes Dagster's sensor daemon, read at 1.13.27: its loop rests by waiting for the event that ends it. Here that rest
also ends when PostgreSQL tells of a new job, as the catalog has it do. The setting DAGSTER_UNCHANGED leaves this out,
and without a connection the loop is as it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg
from dagster._daemon.daemon import SensorDaemon

from antenna_orchestration.catalog.database import KEEPALIVES, first_line
from antenna_orchestration.catalog.jobs import NEW_JOBS

APART: Final = 2.0
"""Seconds between two looks that were asked for: the sensors that matter rest for one, from when they began."""

PAUSE: Final = 5.0
"""Seconds until the catalog is asked again to tell, after an outage."""

_POLL: Final = 0.5
"""Seconds after which the end of the daemon is noticed."""


class Waking:
    """Stands for the event that ends the daemon: waiting for it also ends when somebody told of a job."""

    def __init__(self, end: threading.Event, told: threading.Event) -> None:
        self._end = end
        self._told = told
        self._looked = time.monotonic()
        self._was_told = False

    def is_set(self) -> bool:
        """Whether the daemon is to end."""
        return self._end.is_set()

    def wait(self, timeout: float) -> bool:
        """Return after `timeout` seconds, when the daemon is to end, or when a job came; whether it is to end."""
        if self._was_told:
            # The look may have passed over a sensor whose tick was under way.
            timeout = min(timeout, APART)
        self._was_told = False
        until = time.monotonic() + timeout
        while not self._end.is_set() and (left := until - time.monotonic()) > 0:
            if self._told.wait(min(left, _POLL)):
                self._was_told = True
                self._end.wait(min(left, max(0.0, self._looked + APART - time.monotonic())))
                break
        # Before the look: of what comes while it lasts there may be nothing in it.
        self._told.clear()
        self._looked = time.monotonic()
        return self._end.is_set()


def install(url: str, say: Callable[[str], None]) -> None:
    """Let this process' sensor daemon be told by the catalog at `url`."""
    told = threading.Event()
    threading.Thread(target=listen, args=(url, told, say), name="told of jobs", daemon=True).start()
    loop: Any = SensorDaemon.core_loop

    def core_loop(daemon: SensorDaemon, context: Any, end: threading.Event) -> Any:
        return loop(daemon, context, Waking(end, told))

    SensorDaemon.core_loop = core_loop  # type: ignore[method-assign, assignment]


def listen(url: str, told: threading.Event, say: Callable[[str], None]) -> None:
    """Set the event at each new job, for ever; after an outage of the catalog, too."""
    said = ""
    while True:
        try:
            with psycopg.connect(
                url, autocommit=True, connect_timeout=5, application_name="antenna told", **KEEPALIVES
            ) as connection:
                connection.execute(f"LISTEN {NEW_JOBS}")
                if said:
                    say("the catalog tells of new jobs again")
                    said = ""
                # Some may have come before.
                told.set()
                for _ in connection.notifies():
                    told.set()
        except (psycopg.Error, OSError) as error:
            why = first_line(error)
            if why != said:
                said = why
                say(f"new jobs are looked for every five seconds only: the catalog does not tell of them: {why}")
        time.sleep(PAUSE)
