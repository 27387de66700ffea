"""Clocks of jobs and turns of workers in Redis, and what a process remembers of them without it."""

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from antenna_orchestration.domain.ids import Generation, JobId, JobRun
from antenna_orchestration.domain.turns import Classes, Pace, Standing
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.live import connection, keys
from antenna_orchestration.live.remembered import RememberedStore
from antenna_orchestration.live.store import LiveStore
from antenna_orchestration.live.turns import MOST_TURNS, Turn, WorkerTurns
from tests.waiting import eventually

ONE, OTHER = JobRun(JobId(10**9 + 7), Generation(1)), JobRun(JobId(10**9 + 8), Generation(3))
WORKER = 10**9 + 7
TURNS = WorkerTurns(
    poll='{"pipeline__slug__in":"a,b"}', polled=5.0, offered=ONE, turns={ONE: Turn(began=6.0, seconds=0.5, over=7.0)},
    cut=7.0, switch=0.25, paces={"a": Pace(seconds=1.0, images=8.0, latency=0.5)},
)  # fmt: skip


@pytest.fixture
async def live(shared_stores: EmbeddedStores) -> AsyncIterator[LiveStore]:
    """A store that is left without these jobs and this worker."""
    async with LiveStore(shared_stores.settings.redis_url) as store:
        yield store
        await store.turns.forget([ONE, OTHER])
        client = connection.connect(shared_stores.settings.redis_url)
        await client.delete(keys.turns(WORKER))
        await client.aclose()


def test_keys_of_turns_are_those_of_every_release() -> None:
    assert (keys.CLOCKS, keys.turns(3)) == ("antenna:http:clocks", "antenna:http:worker:3:turns")


async def test_clocks_advance_and_are_entered_once(live: LiveStore) -> None:
    _, before = await live.turns.standings([])
    await live.turns.enter({ONE: 4.0})
    await live.turns.enter({ONE: 9.0, OTHER: 2.0})
    await live.turns.advance(ONE, 0.5, seconds=1.0, interactive=True, now=100.0)
    await live.turns.shift({OTHER: -1.5}, interactive=3.0)
    found, classes = await live.turns.standings([ONE, OTHER, JobRun(JobId(10**9 + 9), Generation(1))])
    assert list(found.values()) == [Standing(clock=4.5, at=100.0), Standing(clock=0.5), Standing()]
    assert classes.interactive - before.interactive == pytest.approx(4.0)
    assert {ONE, OTHER} <= await live.turns.jobs()
    await live.turns.forget([ONE])
    assert (await live.turns.standings([ONE]))[0] == {ONE: Standing()}
    assert ONE not in await live.turns.jobs()


async def test_turns_are_read_as_they_were_written(live: LiveStore) -> None:
    assert await live.turns.of_worker(WORKER) == WorkerTurns()
    await live.turns.write(WORKER, TURNS, before=WorkerTurns())
    assert await live.turns.of_worker(WORKER) == TURNS
    # What another gateway changed meanwhile stays.
    await live.turns.write(WORKER, replace(TURNS, switch=1.0), before=TURNS)
    await live.turns.write(WORKER, replace(TURNS, cut=0.0), before=TURNS)
    assert await live.turns.of_worker(WORKER) == replace(TURNS, switch=1.0, cut=0.0)


def test_only_the_latest_turns_are_kept() -> None:
    turns = WorkerTurns()
    for number in range(1, 3 * MOST_TURNS):
        turns = turns.with_turn(JobRun(JobId(number), Generation(1)), Turn(began=float(number)))
    assert [job_run.job for job_run in turns.turns] == list(range(3 * MOST_TURNS - 1, 2 * MOST_TURNS - 1, -1))


@pytest.mark.long
async def test_turns_outlive_redis(own_stores: EmbeddedStores) -> None:
    """While it is away, and when it has lost its data."""
    async with LiveStore(own_stores.settings.redis_url) as store, RememberedStore(store) as remembered:
        await remembered.look_for_loss()
        await remembered.turns.enter({ONE: 4.0})
        await remembered.turns.write(WORKER, TURNS, before=WorkerTurns())
        own_stores.kill("redis")
        await remembered.turns.advance(ONE, 1.0, seconds=1.0, interactive=False, now=100.0)
        await remembered.turns.enter({ONE: 9.0, OTHER: 2.0})
        assert remembered.is_away
        found, classes = await remembered.turns.standings([ONE, OTHER])
        assert found == {ONE: Standing(clock=5.0, at=100.0), OTHER: Standing(clock=2.0)}
        assert classes == Classes(others=1.0)
        assert await remembered.turns.of_worker(WORKER) == TURNS
        own_stores.start("redis")

        async def is_back() -> bool:
            return not remembered.is_away

        await eventually(is_back, description="Redis is back")
        found, classes = await store.turns.standings([ONE, OTHER])
        assert [one.clock for one in found.values()] == [5.0, 2.0]
        assert classes.interactive - classes.others == pytest.approx(-1.0)
        assert await store.turns.of_worker(WORKER) == TURNS


@pytest.mark.long
async def test_a_gateway_that_sees_the_loss_first_keeps_turns(own_stores: EmbeddedStores) -> None:
    """Workers lease between the loss and the next look for it; what they wanted must not be forgotten by that."""
    async with LiveStore(own_stores.settings.redis_url) as store, RememberedStore(store) as remembered:
        await remembered.look_for_loss()
        await remembered.turns.write(WORKER, TURNS, before=WorkerTurns())
        client = connection.connect(own_stores.settings.redis_url)
        await client.flushall()
        await client.aclose()
        known = await remembered.turns.of_worker(WORKER)
        leased = known.with_turn(OTHER, Turn(began=9.0, seconds=1.0))
        await remembered.turns.write(WORKER, leased, before=known)
        assert await remembered.turns.of_worker(WORKER) == leased
        await remembered.look_for_loss()
        assert await store.turns.of_worker(WORKER) == leased


@pytest.mark.long
async def test_what_others_noted_meanwhile_is_not_overwritten(own_stores: EmbeddedStores) -> None:
    async with LiveStore(own_stores.settings.redis_url) as store, RememberedStore(store) as remembered:
        await remembered.look_for_loss()
        await remembered.turns.write(WORKER, TURNS, before=WorkerTurns())
        newer = replace(TURNS, poll="{}", polled=50.0, offered=OTHER)
        await store.turns.write(WORKER, newer, before=TURNS)
        # The worker goes on with another gateway, and Redis is silent for a while.
        os.kill(own_stores.pid("redis"), signal.SIGSTOP)
        try:
            await remembered.turns.enter({ONE: 4.0})
            assert remembered.is_away
        finally:
            os.kill(own_stores.pid("redis"), signal.SIGCONT)

        async def is_back() -> bool:
            return not remembered.is_away

        await eventually(is_back, description="Redis is back")
        assert await store.turns.of_worker(WORKER) == newer


async def test_clocks_expire_whoever_wrote_them_first(own_stores: EmbeddedStores) -> None:
    async with LiveStore(own_stores.settings.redis_url) as store:
        client = connection.connect(own_stores.settings.redis_url)
        for write in (lambda: store.turns.enter({ONE: 1.0}), lambda: store.turns.shift({ONE: 1.0})):
            await client.flushall()
            await write()
            assert await client.ttl(keys.CLOCKS) > 0
        await client.aclose()
