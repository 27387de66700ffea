"""The memory budget is never exceeded, serves in order, and lets nobody wait for ever."""

from __future__ import annotations

import asyncio
import random

from antenna_orchestration.loading.memory import MemoryBudget


async def test_it_is_never_exceeded_and_everybody_has_a_turn() -> None:
    memory, dice, most = MemoryBudget(100), random.Random(3), 0

    async def use(size: int) -> None:
        nonlocal most
        await memory.reserve(size)
        most = max(most, memory.used)
        await asyncio.sleep(0)
        memory.release(size)

    async with asyncio.timeout(60):
        await asyncio.gather(*(use(dice.randint(1, 100)) for _ in range(300)))
    assert most <= 100
    assert (memory.used, memory.free) == (0, 100)


async def test_more_than_everything_is_given_to_one_at_a_time() -> None:
    memory = MemoryBudget(100)
    await memory.reserve(250)
    second = asyncio.create_task(memory.reserve(10))
    await asyncio.sleep(0)
    assert not second.done()
    assert not memory.try_reserve(1)
    memory.release(250)
    await second
    assert memory.used == 10


async def test_who_gives_up_waiting_holds_nothing_and_lets_others_pass() -> None:
    memory = MemoryBudget(100)
    await memory.reserve(60)
    large = asyncio.create_task(memory.reserve(80))
    small = asyncio.create_task(memory.reserve(40))
    await asyncio.sleep(0)
    assert memory.free == 0
    large.cancel()
    await asyncio.wait([large, small])
    assert memory.used == 100
