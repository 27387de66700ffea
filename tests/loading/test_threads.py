"""Threads for calls that may hang: few for quick calls, more for slow ones, and none delays the exit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from antenna_orchestration.loading.threads import DaemonThreads


async def test_results_and_errors_come_back() -> None:
    threads = DaemonThreads(3, name="test")

    def fail() -> None:
        raise ValueError("as asked")

    assert await asyncio.gather(*(threads.run(lambda n=n: n * n) for n in range(100))) == [n * n for n in range(100)]
    with pytest.raises(ValueError, match="as asked"):
        await threads.run(fail)
    threads.close()


async def test_slow_calls_run_side_by_side_up_to_the_limit() -> None:
    threads = DaemonThreads(4, name="test")
    # Passes only if four calls run at the same time.
    together = threading.Barrier(4)
    async with asyncio.timeout(60):
        await asyncio.gather(*(threads.run(together.wait) for _ in range(8)))
    threads.close()


async def test_a_call_that_hangs_holds_up_no_other() -> None:
    threads = DaemonThreads(2, name="test")
    let_go = threading.Event()
    hanging = asyncio.create_task(threads.run(let_go.wait))
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(threads.run(lambda n=n: n) for n in range(20))) == list(range(20))
    assert not hanging.done()
    hanging.cancel()
    let_go.set()
    threads.close()


def test_a_call_that_hangs_does_not_keep_the_interpreter() -> None:
    program = """
import asyncio, threading
from antenna_orchestration.loading.threads import DaemonThreads
async def main():
    threads = DaemonThreads(1, name="stuck")
    try:
        await asyncio.wait_for(threads.run(threading.Event().wait), 0.1)
    except TimeoutError:
        threads.close()
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
