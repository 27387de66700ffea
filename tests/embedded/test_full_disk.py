"""A full disk under the stack's servers: once there is room again, they work again, and nobody had to help."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from nats.aio.client import Client

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded import restarting, stores
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.queue import connection, names, storing, streams
from antenna_orchestration.queue.publisher import Message, Publisher
from tests.embedded.tiny_stack import Up, up
from tests.homes import temporary_folder
from tests.small_disks import filled, no_room_for, small_disk
from tests.waiting import eventually, lasts, wait_until

PATIENCE = 180.0
"""Seconds: a server is looked at every five, three times, and a busy machine is slow."""


@pytest.fixture
def fresh_home(template: Path) -> Iterator[Path]:
    with temporary_folder() as folder:
        stores.copy_template(Home(template), Home(folder / ".antenna"))
        yield folder / ".antenna"


@asynccontextmanager
async def queue_of(home: Path) -> AsyncIterator[Client]:
    """The queue of a home, with its streams made."""
    async with connection.connected(settings.load(home=home).nats_url, name="test") as client:
        await streams.ensure(client, tasks_max_bytes=2**30, results_max_bytes=2**30)
        yield client


async def stores_one(client: Client, subject: str) -> bool:
    """Whether the queue confirms a message."""
    async with Publisher(client) as publisher:
        with contextlib.suppress(errors.Unavailable):
            return bool((await publisher.publish([Message(subject, b"x" * 4096)], timeout=5)).stored)
    return False


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_nats_that_stores_nothing_after_a_full_disk_is_restarted(fresh_home: Path) -> None:
    with up(fresh_home, "--stores-only") as running:
        running.until("ready")
        ill = running.status.pids["nats"]
        async with queue_of(fresh_home) as client:
            with no_room_for(ill):
                assert not await stores_one(client, "results.1.1.1")
            # It has room again, and takes nothing all the same.
            assert names.RESULTS in await storing.refusing(client)
            running.until("started", "nats")
            assert running.status.pids["nats"] != ill
            assert any(event.process == "nats" and "is ill" in event.text for event in running.events)

            async def stores_again() -> bool:
                with contextlib.suppress(errors.Unavailable):
                    return not await storing.refusing(client)
                return False

            await eventually(stores_again, description="the queue stores again", timeout=PATIENCE)
            assert await stores_one(client, "results.1.1.2")


@pytest.mark.slow
async def test_nats_that_stands_still_is_not_restarted(fresh_home: Path) -> None:
    with up(fresh_home, "--stores-only") as running:
        running.until("ready")
        slow = running.status.pids["nats"]
        os.kill(slow, signal.SIGSTOP)
        await lasts(2 * restarting.ILL_LOOKS * restarting.LOOK_EVERY)
        os.kill(slow, signal.SIGCONT)
        async with queue_of(fresh_home) as client:
            assert await stores_one(client, "results.1.1.1")
        assert running.status.pids["nats"] == slow


def kept(home: Path) -> int:
    """Rows that the catalog took."""
    with psycopg.connect(settings.load(home=home).database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (text text)")
        connection.execute("INSERT INTO kept SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    return row[0] if row else 0


def takes_rows(running: Up) -> bool:
    with contextlib.suppress(psycopg.Error):
        return bool(kept(running.home))
    return False


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_server_that_ends_on_a_full_disk_waits_for_room(template: Path) -> None:
    with temporary_folder() as folder, small_disk(folder / ".antenna" / "postgres", megabytes=200) as disk:
        home = folder / ".antenna"
        stores.copy_template(Home(template), Home(home))
        with up(home, "--stores-only") as running:
            running.until("ready")
            with filled(disk):
                wait_until(lambda: not takes_rows(running), description="the catalog is full", timeout=PATIENCE)
                os.kill(running.status.pids["postgres"], signal.SIGKILL)
                while "waits for room" not in running.until("problem", "postgres").text:
                    continue
            running.until("started", "postgres")
            wait_until(lambda: takes_rows(running), description="the catalog takes rows", timeout=PATIENCE)
