"""Of two daemons of one instance one works: whoever holds a lock in Dagster's database."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from antenna_orchestration.embedded import daemon
from antenna_orchestration.embedded.daemon import DaemonLock
from antenna_orchestration.embedded.stores import EmbeddedStores
from tests.waiting import wait_until

pytestmark = pytest.mark.long


@pytest.fixture
def url(shared_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(daemon, "POLL", 0.05)
    return shared_stores.settings.dagster_pg_url


def sessions(url: str, what: str = "count(*)") -> int:
    """How many daemons hold the lock; or what a function does to their sessions."""
    with closing(psycopg.connect(url.replace("+psycopg2", ""), autocommit=True)) as connection:
        row = connection.execute(
            f"SELECT {what} FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND application_name = 'antenna daemon'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def cut(url: str, lock: DaemonLock) -> None:
    """End its session, as an outage does, if it has one now."""
    with suppress(psycopg.Error), closing(psycopg.connect(url.replace("+psycopg2", ""), autocommit=True)) as connection:
        if (session := lock._connection) is not None:
            connection.execute("SELECT pg_terminate_backend(%s)", [session.info.backend_pid])


def cut_until_taken_over(url: str, lock: DaemonLock, standby: threading.Thread) -> None:
    """Cut it again and again, until the one that stands by is the faster one; the other then ends."""

    def is_over() -> bool:
        if standby.is_alive():
            cut(url, lock)
        return not standby.is_alive()

    wait_until(is_over, description="taken over", poll=0.2)


@contextmanager
def on_a_thread(work: threading.Thread) -> Iterator[threading.Thread]:
    work.start()
    yield work
    work.join(timeout=30)
    assert not work.is_alive()


def test_an_outage_of_the_database_ends_no_turn(url: str) -> None:
    first, second = DaemonLock(url), DaemonLock(url)
    first.wait()
    with on_a_thread(threading.Thread(target=first.keep)):
        held = sessions(url, "max(pid)")
        cut(url, first)
        # By another session: the one that was cut may take a moment to end.
        again = f"count(*) FILTER (WHERE pid <> {held})"
        wait_until(lambda: sessions(url, again) == 1, description="it has the lock again", poll=0.05)
        with on_a_thread(threading.Thread(target=second.wait)) as standby:
            assert standby.is_alive()
            cut_until_taken_over(url, first, standby)
    second.leave()
    wait_until(lambda: sessions(url) == 0, description="the lock is free", poll=0.05)


def test_after_an_outage_that_lasts_the_lock_is_asked_for_again(
    own_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look found a database that answered, and the daemon worked on without the lock."""
    monkeypatch.setattr(daemon, "POLL", 0.05)
    url = own_stores.settings.dagster_pg_url
    first, second = DaemonLock(url), DaemonLock(url)
    first.wait()
    working = threading.Thread(target=first.keep)
    with on_a_thread(working):
        own_stores.kill("postgres")
        wait_until(lambda: first._connection is None, description="it has noticed", poll=0.05)
        own_stores.start("postgres")
        wait_until(lambda: sessions(url) == 1, description="it has the lock again", poll=0.05)
        assert second._why_not() == daemon._ANOTHER and working.is_alive()
        # Until the other one has it, and the first ends.
        second.leave()
        with on_a_thread(threading.Thread(target=second.wait)) as standby:
            cut_until_taken_over(url, first, standby)
    second.leave()


def test_a_daemon_that_stands_by_says_so_and_can_be_ended(url: str, tmp_path: Path) -> None:
    working = DaemonLock(url)
    working.wait()
    log = tmp_path / "daemon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", daemon.__name__, "--workspace", str(tmp_path / "workspace.yaml")],
            env={**os.environ, "ANTENNA_DAGSTER_PG_URL": url}, cwd=tmp_path, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_until(lambda: "standing by" in log.read_text(), description="it stands by")
        assert "another daemon of this instance is at work" in log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=30)
        working.leave()
