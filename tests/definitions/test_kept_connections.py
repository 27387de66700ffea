"""The connections that ticks of sensors share, on real servers that are restarted and a process that forks."""

import asyncio
import concurrent.futures
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Records, Services
from antenna_orchestration.resources.kept_connections import OF_SENSORS, KeptConnections
from tests.waiting import PATIENCE

pytestmark = pytest.mark.long

AFTER_A_FORK = """
import os
from antenna_orchestration import settings
from antenna_orchestration.resources.stores import Stores

async def backend(services):
    await services.queue_answers()
    async with services.catalog.database.transaction() as connection:
        return connection.info.backend_pid

mine = Stores().in_tick(backend)
child = os.fork()
if not child:
    os._exit(0 if Stores().in_tick(backend) != mine else 1)
assert os.waitpid(child, 0)[1] == 0, "the child used the connection of its parent, or failed"
assert Stores().in_tick(backend) == mine, "the parent lost its connection"
print("done")
"""


@pytest.fixture
def kept() -> Iterator[KeptConnections]:
    kept = KeptConnections(most=OF_SENSORS, name="connections of a test")
    yield kept
    kept.end()


async def answer(services: Services) -> None:
    """All servers answer."""
    await services.catalog.now()
    await services.queue_answers()
    await services.live.check()


async def connections(services: Services) -> tuple[int, Any]:
    """What tells one set of connections from another."""
    async with services.catalog.database.transaction() as connection:
        return connection.info.backend_pid, services.connection


def test_ticks_share_connections_until_one_fails(wanted: settings.Settings, kept: KeptConnections) -> None:
    async def fail(_: Services) -> None:
        raise errors.Conflict("something else")

    first = kept.with_services(wanted, connections)
    assert kept.with_services(wanted, connections) == first
    with pytest.raises(errors.Conflict):
        kept.with_services(wanted, fail)
    backend, queue = kept.with_services(wanted, connections)
    assert backend != first[0] and queue is not first[1]


def test_a_failed_tick_takes_nothing_from_another(wanted: settings.Settings, kept: KeptConnections) -> None:
    begun, failed = threading.Event(), threading.Event()

    async def slow(services: Services) -> None:
        begun.set()
        assert await asyncio.to_thread(failed.wait, PATIENCE)
        await answer(services)

    async def fail(_: Records) -> None:
        raise errors.Unavailable("something else")

    with ThreadPoolExecutor() as threads:
        other = threads.submit(kept.with_services, wanted, slow)
        assert begun.wait(PATIENCE)
        with pytest.raises(errors.Unavailable):
            kept.with_records(wanted, fail)
        failed.set()
        other.result()


def test_nothing_of_an_interrupted_run_is_left_at_its_end(wanted: settings.Settings) -> None:
    kept = KeptConnections(most=2, name="connections of a run")
    begun, goes_on, wrote = threading.Event(), threading.Event(), threading.Event()
    used: list[Services] = []

    def write(cancel: Callable[[], object]) -> None:
        begun.set()
        cancel()
        assert goes_on.wait(PATIENCE)
        wrote.set()

    async def work() -> None:
        async with kept.services(wanted) as services:
            used.append(services)
            await answer(services)
            task = asyncio.current_task()
            assert task is not None
            loop = asyncio.get_running_loop()
            await asyncio.to_thread(write, lambda: loop.call_soon_threadsafe(task.cancel))

    with ThreadPoolExecutor() as threads:
        with pytest.raises(concurrent.futures.CancelledError):
            kept.run(work)
        assert begun.wait(PATIENCE)
        end = threads.submit(kept.end, None)
        assert not concurrent.futures.wait([end], timeout=0.2).done, "its thread writes still"
        goes_on.set()
        end.result()
    assert wrote.is_set()
    [services] = used
    assert services.connection.is_closed
    with pytest.raises(errors.Unavailable):
        asyncio.run(services.catalog.now())


def test_the_end_waits_for_what_an_act_that_failed_began_on_threads(kept: KeptConnections) -> None:
    """Whoever then decides about the job decides with nothing of it under way."""
    let_go = threading.Event()
    order: list[str] = []

    def write() -> None:
        assert let_go.wait(PATIENCE)
        order.append("written")

    async def fail() -> None:
        asyncio.get_running_loop().run_in_executor(None, write)
        raise errors.Conflict("something else")

    def end() -> None:
        kept.end(None)
        order.append("ended")

    with pytest.raises(errors.Conflict):
        kept.run(fail)
    ending = threading.Thread(target=end)
    ending.start()
    # Long enough for one that does not wait.
    ending.join(0.5)
    assert order == []
    let_go.set()
    ending.join(PATIENCE)
    assert order == ["written", "ended"]


def test_a_restarted_server_costs_the_tick_it_interrupts(own_stores: EmbeddedStores, kept: KeptConnections) -> None:
    wanted = own_stores.settings
    for server in ("nats", "redis", "postgres"):

        async def interrupted(services: Services, server: str = server) -> None:
            async with services.catalog.database.transaction() as connection:
                await asyncio.to_thread(own_stores.stop, server)
                await asyncio.to_thread(own_stores.start, server)
                await connection.execute("SELECT 1")
            await answer(services)

        kept.with_services(wanted, answer)
        with contextlib.suppress(errors.Unavailable):
            kept.with_services(wanted, interrupted)
        kept.with_services(wanted, answer)

        # Between two ticks it costs none.
        own_stores.stop(server)
        own_stores.start(server)
        kept.with_services(wanted, answer)


def test_the_queue_need_not_answer_for_records(own_stores: EmbeddedStores, kept: KeptConnections) -> None:
    wanted = own_stores.settings
    kept.with_services(wanted, answer)
    own_stores.stop("nats")

    async def now(records: Records) -> None:
        await records.catalog.now()

    kept.with_records(wanted, now)


def test_a_process_forks_and_ends_with_kept_connections(wanted: settings.Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", AFTER_A_FORK],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
