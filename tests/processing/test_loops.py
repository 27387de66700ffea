"""Side loops and their end."""

import asyncio
import contextlib

import pytest

from antenna_orchestration import errors, kernel
from antenna_orchestration.processing import loops


@pytest.mark.parametrize("steps", range(3))
async def test_a_task_knows_of_a_cancellation_that_was_swallowed(steps: int) -> None:
    event = asyncio.Event()

    async def wait() -> bool:
        # Up to Python 3.11 this swallows a cancellation that comes together with the event; later it does not.
        await asyncio.wait_for(event.wait(), 10)
        return kernel.is_cancelled()

    task = asyncio.create_task(wait())
    # Steps of the event loop are the condition here: the cancellation has to come so many after the event.
    for _ in range(3):
        await asyncio.sleep(0)
    event.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    # False when it had ended before, which takes more steps up to Python 3.11.
    cancelled = task.cancel()
    (known,) = await asyncio.gather(task, return_exceptions=True)
    assert known is cancelled or isinstance(known, asyncio.CancelledError)


async def test_a_loop_ends_with_its_block_though_its_act_swallows_the_cancellation() -> None:
    acting = asyncio.Event()

    async def stubborn() -> None:
        acting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with asyncio.timeout(30):
        async with loops.running(loops.Loop(name="stubborn", every=0.0, act=stubborn)):
            await acting.wait()


async def test_an_absent_store_delays_a_loop_and_a_bug_ends_it() -> None:
    acts = 0

    async def act() -> None:
        nonlocal acts
        acts += 1
        if acts == 1:
            raise errors.Unavailable("away")
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        async with loops.running(loops.Loop(name="faulty", every=0.0, act=act)):
            await asyncio.Event().wait()
    assert acts == 2
