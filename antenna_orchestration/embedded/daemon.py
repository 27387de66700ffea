"""`python -m antenna_orchestration.embedded.daemon`: `dagster-daemon run`, with its options, one at a time.

Dagster takes two daemons of an instance for a mistake, and lets both evaluate every sensor and launch every queued run.
Here the second one stands by, and takes over when the first is gone. Which one works is decided by a lock of a session
in Dagster's database: the server lets it go with the connection, and when nothing was heard through that for a while.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Final

import psycopg
from dagster._daemon import cli

from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded import clock_set_back, told_jobs

POLL: Final = 2.0
"""Seconds between looks at the lock, of who holds it and of who waits for it."""

SILENT_AFTER: Final = 20
"""Seconds without a look after which the server takes the lock from a daemon: its machine lost its power or its line,
or the process was stopped."""

_ANOTHER: Final = "another daemon of this instance is at work"
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('antenna daemon', 0))"


class DaemonLock:
    """The right to be the daemon that works."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("+psycopg2", "")
        self._connection: psycopg.Connection[tuple[bool]] | None = None

    def wait(self) -> None:
        """Return when this is the daemon that works, however long that takes."""
        said = ""
        while (why := self._why_not()) != "":
            if why != said:
                _say(f"standing by: {why}")
                said = why
            time.sleep(POLL)
        if said:
            _say("taking over")

    def keep(self) -> None:
        """Return when another daemon has taken over. An outage of the database alone takes the lock from nobody."""
        while True:
            time.sleep(POLL)
            if not self._has_lock() and self._why_not() == _ANOTHER:
                return self.leave()

    def _has_lock(self) -> bool:
        """Whether its session is still there, and with it the lock: a new session has none."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self.leave()
            return False
        return True

    def _why_not(self) -> str:
        try:
            if self._session().execute(_LOCK).fetchone() == (True,):
                return ""
        except psycopg.Error as error:
            self.leave()
            return f"Dagster's database does not answer: {str(error).strip().splitlines()[-1]}"
        return _ANOTHER

    def _session(self) -> psycopg.Connection[tuple[bool]]:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=5,
                application_name="antenna daemon",
                # A look that hangs for longer than the server waits is one that failed.
                tcp_user_timeout=SILENT_AFTER * 1000,
            )
            self._connection.execute(f"SET idle_session_timeout = '{SILENT_AFTER}s'")
        return self._connection

    def leave(self) -> None:
        """Let another one work."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None


def main() -> None:
    """Stand by, then work until told to stop, or until another daemon has taken over."""
    settings = settings_module.get()
    lock = DaemonLock(settings.dagster_pg_url)
    try:
        lock.wait()
    except KeyboardInterrupt:
        return
    threading.Thread(target=_leave_when_over, args=(lock,), name="lock", daemon=True).start()
    threading.Thread(target=clock_set_back.leave_when_set_back, args=(_say,), name="clock", daemon=True).start()
    if not settings.dagster_unchanged:
        clock_set_back.install()
    if settings.database_url and not settings.dagster_unchanged:
        told_jobs.install(settings.database_url, _say)
    else:
        _say("new jobs are looked for every five seconds")
    cli.run_command(sys.argv[1:])


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} daemon: {text}", file=sys.stderr, flush=True)


def _leave_when_over(lock: DaemonLock) -> None:
    try:
        lock.keep()
        _say("leaving: another daemon took over while this one was not heard")
    finally:
        # At once: by now the other one does what this one's threads are doing.
        os._exit(1)


if __name__ == "__main__":
    main()
