"""`/livez` of a worker: it fails when a loop stands still, and not when the queue is away."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker import metrics, pulse
from antenna_orchestration.worker.options import WorkerOptions
from antenna_orchestration.worker.pulse import SILENT, Pulse
from tests import waiting
from tests.worker.bench import open_bench
from tests.worker.worker_thread import running


async def livez(port: int) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/livez") as answer:
        return answer.status, (await answer.text()).strip()


@asynccontextmanager
async def served(one: Pulse) -> AsyncIterator[int]:
    async with metrics.served(0, dict, one.why_dead) as port:
        yield port


async def test_a_worker_whose_loop_stands_still_is_dead() -> None:
    now = [1000.0]
    one = Pulse(lambda: now[0])
    async with served(one) as port:
        assert await livez(port) == (200, "alive"), "it starts, and may deliver old results for a while"
        for loop in ("heartbeat", "scheduler"):
            one.turn(loop)
        now[0] += SILENT
        assert await livez(port) == (200, "alive")
        one.turn("heartbeat")
        now[0] += 1
        assert await livez(port) == (503, "the worker's scheduler has stood still for 121 s")
        one.turn("scheduler")
        assert await livez(port) == (200, "alive")
        # One that drains leases nothing more, and finishes what it has for as long as that takes.
        one.end("scheduler")
        now[0] += SILENT
        one.turn("heartbeat")
        assert await livez(port) == (200, "alive")


@pytest.mark.slow
async def test_a_worker_whose_queue_is_away_is_alive(
    settings: Settings, queue_server: EmbeddedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a probe kills for a queue that is away loses its models and mends nothing."""
    # Several turns of each loop, and well below the minute.
    monkeypatch.setattr(pulse, "SILENT", 20.0)
    async with open_bench(settings) as bench:
        with running(settings, WorkerOptions(metrics_port=0, pipelines=("null",))) as worker:
            await waiting.eventually(bench.heartbeats.workers, description="its heartbeat")
            [port] = re.findall(r"metrics on port (\d+)", worker.log)
            queue_server.stop("nats")

            async def long_away() -> bool:
                assert await livez(int(port)) == (200, "alive")
                # It says so at once, after ten seconds, and after a minute.
                return worker.log.count("cannot be reached since") >= 3

            await waiting.eventually(long_away, description="a minute without NATS", timeout=120)
            queue_server.start("nats")
