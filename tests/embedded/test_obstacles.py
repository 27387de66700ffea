"""What stands in a stack's way: a database that stands still, strangers on its ports, disks without room."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded import environment, processes, restarting, stores
from antenna_orchestration.embedded.children import Children
from antenna_orchestration.embedded.events import Event
from antenna_orchestration.embedded.home import Home
from tests import small_disks
from tests.embedded.tiny_stack import Up, gone, up
from tests.homes import temporary_folder
from tests.waiting import eventually

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def obstructed_home(template: Path) -> Iterator[Path]:
    """One home for all of these tests."""
    with temporary_folder() as folder:
        home = folder / ".antenna"
        with stores.embedded_stores(home, template=template):
            pass
        yield home


@pytest.mark.slow
def test_up_waits_for_a_database_that_stands_still(obstructed_home: Path) -> None:
    with up(obstructed_home) as running:
        running.until("started", "postgres")
        postgres = running.status.pids["postgres"]
        os.kill(postgres, signal.SIGSTOP)
        # The preparation connects anew; the stores had answered before.
        waiting = running.until("problem")
        assert "waiting: PostgreSQL cannot be reached" in waiting.text
        os.kill(postgres, signal.SIGCONT)
        running.until("ready")
        stopped(running)


@pytest.mark.slow
def test_a_server_killed_while_others_start_is_started_again(obstructed_home: Path) -> None:
    with up(obstructed_home) as running:
        running.until("started", "postgres")
        postgres = running.status.pids["postgres"]
        os.kill(postgres, signal.SIGKILL)
        running.until("ready")
        assert running.status.pids["postgres"] != postgres
        stopped(running)


async def test_a_database_that_recovers_is_given_the_time(
    home: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the replay of the log took longer, was killed, and began again, for ever."""
    with stores.embedded_stores(home, template=template) as running:
        wanted = running.settings
        write_answer(home)
        with psycopg.connect(wanted.database_url, autocommit=True) as connection:
            # Something to replay, so that the process that does it can be met.
            connection.execute("CREATE TABLE much (number bigint)")
            connection.execute("INSERT INTO much SELECT generate_series(1, 1000000)")
        running.kill("postgres")
    monkeypatch.setattr(restarting, "START_TIMEOUT", 5.0)
    [postgres] = [one for one in stores.plan(wanted, dagster=False).servers if one.name == "postgres"]
    children = Children({processes.HOME_VARIABLE: str(home)})
    said: list[Event] = []
    children.listen()
    restarter = restarting.Restarter(server=postgres, children=children, report=said.append, quiet=2.0)
    start = asyncio.create_task(restarter.start())

    async def replaying() -> psutil.Process | None:
        below = psutil.Process(restarter.child.pid).children() if restarter.child else []
        found = [one for one in below if "startup" in " ".join(one.cmdline())]
        return found[0] if found else None

    async def told_twice() -> bool:
        if start.done():
            start.result()
        return len(said) == 2

    try:
        # As if it had more to replay.
        replay = await eventually(replaying, description="the replay of the log", poll=0.001)
        replay.suspend()
        # The second time after eight seconds.
        await eventually(told_twice, description="what is waited for")
        assert all("postgres: PostgreSQL replays its log after a crash" in event.text for event in said)
        replay.resume()
        await start
        with psycopg.connect(wanted.database_url) as connection:
            assert connection.execute("SELECT 42 FROM kept").fetchone() == (42,)
    finally:
        start.cancel()
        await restarter.stop(patience=30)


def test_a_stranger_that_stays_on_a_port_moves_the_stack(obstructed_home: Path) -> None:
    with up(obstructed_home, "--stores-only") as running:
        running.until("ready")
        write_answer(obstructed_home)
        before = running.status.ports
        with stranger_in_place_of(running, "nats"):
            who = f"is taken by {psutil.Process().name()} (pid {os.getpid()})"
            assert running.until("problem", "nats").text.endswith("starting it again")
            assert who in running.until("problem", "nats").text
            assert "the whole stack is started again, with another port" in running.until("problem").text
            running.until("ready")
            after = running.status.ports
            assert after["nats"] != before["nats"]
            assert after["postgres"] == before["postgres"]
            assert f":{after['nats']}" in environment.read(Home(obstructed_home))["ANTENNA_NATS_URL"]
        assert any(who in event.text and "it gets" in event.text for event in running.events)
        with psycopg.connect(settings.load(home=obstructed_home).database_url) as connection:
            assert connection.execute("SELECT 42 FROM kept").fetchone() == (42,)
        stopped(running)


def test_a_stranger_that_passes_leaves_the_port_to_us(obstructed_home: Path) -> None:
    with up(obstructed_home, "--stores-only") as running:
        running.until("ready")
        before = running.status.ports
        with stranger_in_place_of(running, "redis"):
            running.until("problem", "redis")
            assert running.until("problem", "redis").text.endswith("trying again")
        running.until("started", "redis")
        assert running.status.ports == before
        stopped(running)


def test_up_goes_on_where_no_dotenv_can_be_made(template: Path) -> None:
    """A volume for the home alone, in a folder that only root may write to."""
    with (
        temporary_folder() as folder,
        small_disks.small_disk(folder / "project", megabytes=1) as project,
        small_disks.small_disk(project / ".antenna", megabytes=500) as home,
    ):
        stores.copy_template(Home(template), Home(home))
        subprocess.run(["mount", "-o", "remount,ro", project], check=True)
        with up(home, "--stores-only") as running:
            assert f"{project}/.env cannot be made (Read-only file system)" in running.until("problem").text
            running.until("ready")
            stopped(running)


def write_answer(home: Path) -> None:
    with psycopg.connect(settings.load(home=home).database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")


def stopped(running: Up) -> None:
    """Ctrl-C, and a clean end."""
    running.process.send_signal(signal.SIGINT)
    running.until("stopped")
    assert running.process.wait() == 0
    gone(running.home)


@contextmanager
def stranger_in_place_of(running: Up, server: str) -> Iterator[None]:
    """Kill a server and take its port, before the supervisor can start it again."""
    status = running.status
    os.kill(status.supervisor, signal.SIGSTOP)
    killed = psutil.Process(status.pids[server])
    killed.kill()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                stranger.bind(("127.0.0.1", status.ports[server]))
            except OSError:
                continue
            break
        stranger.listen()
        os.kill(status.supervisor, signal.SIGCONT)
        yield


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of sixty megabytes."""
    with temporary_folder() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=60m,mode=711", "tmpfs", folder]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)


def test_a_disk_without_room_or_right_is_named(small_disk: Path) -> None:
    home = small_disk / ".antenna"
    no_room = (
        rf"the disk that {home}/postgres is on has \d\d MB left, and a new database cluster needs 150 MB there: free"
    )
    with pytest.raises(errors.InternalError, match=no_room), stores.embedded_stores(home):
        pass
    assert not (home / "postgres/data").exists()
    (small_disk / "full").write_bytes(bytes(50 * 10**6))
    nothing = rf"the disk that {home} is on has \d+ MB left, and `antenna up` needs 20 MB there: free some, or set"
    with pytest.raises(errors.InternalError, match=nothing), stores.embedded_stores(home):
        pass
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(errors.InternalError, match=f"the disk that {home} is on is read-only: set ANTENNA_HOME"):
        Home(home).create()
