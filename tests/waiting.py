"""Waiting for a fact, in place of sleeping.

Patience is generous: a test that passes does not wait it out, and a busy machine is slow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds after which what did not happen does not happen."""


def wait_until(predicate: Callable[[], T], *, description: str, timeout: float = PATIENCE, poll: float = 0.05) -> T:
    """The first truthy value of `predicate`. Fails the test, naming what did not happen, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:.0f} s: not yet {description} (last: {value!r})")
        time.sleep(poll)


async def eventually(
    predicate: Callable[[], Awaitable[T]], *, description: str, timeout: float = PATIENCE, poll: float = 0.05
) -> T:
    """The same for a predicate that has to be awaited."""
    deadline = time.monotonic() + timeout
    while True:
        value = await predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:.0f} s: not yet {description} (last: {value!r})")
        await asyncio.sleep(poll)


async def lasts(seconds: float) -> None:
    """Let an injected fault last: its length is part of the fault, and there is no fact to wait for."""
    await asyncio.sleep(seconds)
