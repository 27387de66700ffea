"""A connection to PostgreSQL that is lost costs the acts that were under way, on each event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from antenna_orchestration import errors
from antenna_orchestration.catalog import database as database_module
from antenna_orchestration.catalog.database import Database
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import opened
from tests.chaos import tcp_proxy
from tests.event_loops import EventLoops, on_each_event_loop, run_on
from tests.processing.jobs_by_hand import make_job
from tests.waiting import eventually


@on_each_event_loop
def test_acts_raise_unavailable_at_a_reset_and_succeed_afterwards(
    loops: EventLoops, shared_stores: EmbeddedStores
) -> None:
    url = shared_stores.settings.database_url
    port = urlsplit(url).port
    assert port

    async def body() -> None:
        with tcp_proxy.before(port) as network, nobody_sleeps_afterwards(url):
            async with Database(tcp_proxy.behind(network, url), max_connections=4) as database:
                for _ in range(3):
                    sleeping = asyncio.Semaphore(0)
                    acts = [asyncio.create_task(_sleep(database, sleeping)) for _ in range(4)]
                    for _ in acts:
                        await sleeping.acquire()
                    network.reset()
                    outcomes = await asyncio.gather(*acts, return_exceptions=True)
                    assert [type(outcome) for outcome in outcomes] == [errors.Unavailable] * 4

                    async def answers() -> bool:
                        try:
                            async with database.transaction() as connection:
                                return await (await connection.execute("SELECT 1")).fetchone() is not None
                        except errors.Unavailable:
                            return False

                    await eventually(answers, description="PostgreSQL answers again")

    run_on(loops, body())


@contextmanager
def nobody_sleeps_afterwards(url: str) -> Iterator[None]:
    """End what PostgreSQL still does for clients that are gone: migrations of later tests would wait for its end."""
    try:
        yield
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query = 'SELECT pg_sleep(600)'"
            )


async def _sleep(database: Database, sleeping: asyncio.Semaphore) -> None:
    async with database.transaction() as connection:
        sleeping.release()
        await connection.execute("SELECT pg_sleep(600)")


@on_each_event_loop
def test_a_lost_session_for_locks_ends_without_an_error(loops: EventLoops, shared_stores: EmbeddedStores) -> None:
    url = shared_stores.settings.database_url
    port = urlsplit(url).port
    assert port

    async def body() -> None:
        with tcp_proxy.before(port) as network:
            async with (
                Database(tcp_proxy.behind(network, url), max_connections=4) as database,
                database.session() as connection,
            ):
                await connection.execute("SELECT pg_advisory_lock(7)")
                network.reset()

    run_on(loops, body())


async def test_the_only_one_leaves_no_lock_behind(shared_stores: EmbeddedStores) -> None:
    url = shared_stores.settings.database_url
    async with Database(url, max_connections=1) as one, Database(url, max_connections=1) as another:
        with pytest.raises(errors.Conflict):
            async with one.only_one("a test") as is_ours, another.only_one("a test") as is_theirs:
                assert is_ours and not is_theirs
                raise errors.Conflict("it failed")
        async with another.only_one("a test") as is_theirs:
            assert is_theirs
        await _transactions_are_whole(one)


async def test_transactions_stay_whole_when_others_are_cancelled(shared_stores: EmbeddedStores) -> None:
    async with Database(shared_stores.settings.database_url, max_connections=1) as database:
        for steps in range(12):
            act = asyncio.create_task(_one_act(database))
            # A driver that finds the event loop busy lets others go first, at more places.
            for _ in range(steps):
                until = time.monotonic() + 0.02
                while time.monotonic() < until:
                    pass
                # One step of the event loop: the act is to be cancelled at each of its own.
                await asyncio.sleep(0)
            act.cancel()
            await asyncio.gather(act, return_exceptions=True)
            await _transactions_are_whole(database)


async def _transactions_are_whole(database: Database) -> None:
    """In a transaction the table lasts; where each statement is one, it is gone at once."""
    async with database.transaction() as connection:
        await connection.execute("CREATE TEMPORARY TABLE seen (one int) ON COMMIT DROP")
        await connection.execute("SELECT one FROM seen")


async def _one_act(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("SELECT 1")


async def test_what_another_holds_is_waited_for_within_bounds(
    shared_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database_module.BOUNDS, "lock_timeout", "50ms")
    async with (
        Database(shared_stores.settings.database_url, max_connections=2) as database,
        database.transaction() as holder,
    ):
        await holder.execute("SELECT pg_advisory_xact_lock(77)")
        with pytest.raises(errors.Unavailable, match="another transaction has locked for 120 s what this one needs"):
            async with database.transaction() as waiting:
                await waiting.execute("SELECT pg_advisory_xact_lock(77)")


async def test_a_transaction_of_a_process_that_stands_still_ends(
    shared_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = database_module.BOUNDS["idle_in_transaction_session_timeout"]
    monkeypatch.setitem(database_module.BOUNDS, "idle_in_transaction_session_timeout", "50ms")
    url = shared_stores.settings.database_url
    async with (
        Database(url, max_connections=1) as still,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as eyes,
    ):

        async def is_gone(pid: int) -> bool:
            found = await eyes.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
            return await found.fetchone() is None

        with pytest.raises(errors.Unavailable):
            async with still.transaction() as connection:
                pid = connection.info.backend_pid
                await eventually(lambda: is_gone(pid), description="PostgreSQL ends the transaction")
                monkeypatch.setitem(database_module.BOUNDS, "idle_in_transaction_session_timeout", usual)
                await connection.execute("SELECT 1")
        await _transactions_are_whole(still)


async def test_postgresql_looks_whether_each_clients_machine_is_there(shared_stores: EmbeddedStores) -> None:
    """A machine that lost power in a transaction held its rows for two hours, by PostgreSQL's own defaults."""
    wanted = {name: setting for name, setting in database_module.BOUNDS.items() if name.startswith("tcp_")}
    asked = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
    async with Database(shared_stores.settings.database_url, max_connections=1) as database:
        async with database.transaction() as pooled:
            found = await (await pooled.execute(asked, [list(wanted)])).fetchall()
        assert {row["name"]: row["setting"] for row in found} == wanted
        async with database.session() as session:
            assert dict(await (await session.execute(asked, [list(wanted)])).fetchall()) == wanted


async def test_a_submission_waits_for_another_one_of_its_photographs(
    shared_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    """Ten million photographs take longer than any other act of the catalog."""
    monkeypatch.setitem(database_module.BOUNDS, "lock_timeout", "50ms")
    url = shared_stores.settings.database_url
    async with (
        opened(shared_stores.settings) as services,
        await psycopg.AsyncConnection.connect(url) as other,
        # In a transaction, moments of activity stand still.
        await psycopg.AsyncConnection.connect(url, autocommit=True) as eyes,
    ):
        await other.execute("INSERT INTO projects (slug, name) VALUES (%s, %s)", [project, project])

        async def waits() -> bool:
            query = (
                "SELECT 1 FROM pg_locks WHERE NOT granted AND %s = ANY(pg_blocking_pids(pid)) "
                "AND clock_timestamp() - waitstart > '200ms'"
            )
            return await (await eyes.execute(query, [other.info.backend_pid])).fetchone() is not None

        submitting = asyncio.create_task(make_job(services, project, 1))
        await eventually(waits, description="the submission waits for the other one's project")
        await other.commit()
        assert (await submitting).total == 1
