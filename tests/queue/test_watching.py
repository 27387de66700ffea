"""Reading a whole bucket, whenever its entries arrive."""

from collections.abc import AsyncIterator

import pytest
from nats.js import api
from nats.js.kv import KeyValue

from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.watching import Watch, watching
from tests.waiting import eventually


@pytest.fixture
async def bucket(services: Services, project: str) -> AsyncIterator[KeyValue]:
    js = services.connection.jetstream(timeout=60)
    name = project.replace("-", "_")
    yield await js.create_key_value(api.KeyValueConfig(bucket=name, history=1))
    await js.delete_key_value(name)


async def test_what_is_there_then_what_changes(bucket: KeyValue) -> None:
    await bucket.put("here", b"1")
    await bucket.put("gone", b"2")
    await bucket.delete("gone")
    async with watching(bucket) as watch:
        there = [await watch.next(timeout=60) for _ in range(2)]
        assert [(entry.key, entry.operation) for entry in there if entry] == [("here", None), ("gone", "DEL")]
        assert await watch.next(timeout=60) is None
        await bucket.put("later", b"3")
        entry = await watch.next(timeout=60)
        assert entry is not None and entry.key == "later"


async def test_an_empty_bucket_has_no_entry(bucket: KeyValue) -> None:
    async with watching(bucket) as watch:
        assert await watch.next(timeout=60) is None


async def test_entries_that_come_after_their_end_was_announced(bucket: KeyValue, services: Services) -> None:
    """The server may say that nothing is pending before what it has sent arrives: nats-py then takes it for nothing."""
    await bucket.put("one", b"1")
    await bucket.put("two", b"2")
    late = KeyValue.KeyWatcher(services.connection.jetstream(timeout=60))
    await late._updates.put(None)
    async with watching(bucket) as watch:
        for _ in range(2):
            await late._updates.put(await watch.next(timeout=60))
    watch = Watch(bucket, late)
    seen = [await watch.next(timeout=60) for _ in range(3)]
    assert [entry and entry.key for entry in seen] == ["one", "two", None]


async def test_entries_that_expired_before_they_came(bucket: KeyValue, services: Services) -> None:
    await bucket.put("short", b"1")
    late = KeyValue.KeyWatcher(services.connection.jetstream(timeout=60))
    await late._updates.put(None)
    assert await Watch(bucket, late).next(timeout=0.1) is None


@pytest.mark.slow
async def test_readers_leave_no_consumers_behind(services: Services) -> None:
    """The server allows a thousand per stream, which thirty workers and collectors would use up in five minutes."""
    js = services.connection.jetstream()

    async def consumers() -> int:
        state = (await js.stream_info("KV_workers")).state
        assert state is not None
        return int(state.consumer_count)

    for _ in range(40):
        await services.heartbeats.workers()
    assert await consumers() >= 40, "this test looks at the wrong thing"

    async def few_are_left() -> bool:
        return await consumers() < 20

    await eventually(few_are_left, description="the consumers of ended watches are gone", timeout=120)
