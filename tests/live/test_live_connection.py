"""A connection to Redis that is lost costs one call at most, on each event loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Generation, JobId, JobRun
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.live.store import LiveStore
from tests.chaos import tcp_proxy
from tests.event_loops import EventLoops, on_each_event_loop, run_on
from tests.waiting import eventually

JOB_RUN = JobRun(JobId(10**9 + 7), Generation(1))


@on_each_event_loop
def test_a_reset_is_followed_by_a_new_connection(loops: EventLoops, shared_stores: EmbeddedStores) -> None:
    port = urlsplit(shared_stores.settings.redis_url).port
    assert port

    async def body() -> None:
        with tcp_proxy.before(port) as network:
            async with LiveStore(tcp_proxy.behind(network, shared_stores.settings.redis_url)) as store:
                for done in range(5):
                    await store.counters.write(JOB_RUN, _progress(done))
                    network.reset()
                    network.restore()
                    for _ in range(10):
                        # Lets the event loop notice the loss, and waits for nothing: a client that knows of it is
                        # another case.
                        await asyncio.sleep(0)
                    # Without Redis it raises nothing; the next write comes a second later.
                    await store.counters.write(JOB_RUN, _progress(done))

                    async def is_there(done: int = done) -> bool:
                        await store.counters.write(JOB_RUN, _progress(done))
                        shown = await store.counters.read(JOB_RUN)
                        return shown is not None and shown.done == done

                    await eventually(is_there, description="the counters are written again")
                await store.counters.forget(JOB_RUN)

    run_on(loops, body())


@on_each_event_loop
def test_calls_without_redis_raise_unavailable(loops: EventLoops, shared_stores: EmbeddedStores) -> None:
    port = urlsplit(shared_stores.settings.redis_url).port
    assert port

    async def body() -> None:
        with tcp_proxy.before(port) as network:
            async with LiveStore(tcp_proxy.behind(network, shared_stores.settings.redis_url)) as store:
                await store.check()
                network.refuse()
                for call in (store.check, store.leases.jobs, store.workers.rejected, store.counters.jobs):
                    with pytest.raises(errors.Unavailable):
                        await call()
                network.restore()
                await store.check()

    run_on(loops, body())


def _progress(done: int) -> JobProgress:
    return JobProgress(
        total=9, published=9, done=done, failed=0, detections=0, classifications=0, rate=0.0, at=datetime.now(UTC)
    )
