"""The event loops that our processes run on: asyncio's, and in the gateway uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

EventLoops = Callable[[], asyncio.AbstractEventLoop]

on_each_event_loop = pytest.mark.parametrize(
    "loops", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
"""For a test that runs a coroutine on `loops`."""


def run_on(loops: EventLoops, work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine."""
    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(work)
