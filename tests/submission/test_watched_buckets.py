"""Watching a bucket: what a look lists, and that names may come in any order."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
import pytest

from antenna_orchestration.domain import watching
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.submission import buckets
from tests.processing.watched import watch
from tests.submission.s3_store import CREDENTIALS, s3_store


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    with s3_store() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        found = fsspec.filesystem("s3", endpoint_url=endpoint, skip_instance_cache=True)
        found.endpoint = endpoint
        found.mkdir("traps")
        yield found


@pytest.mark.long
def test_a_page_begins_after_a_name(store: Any, shared_stores: EmbeddedStores) -> None:
    wanted = shared_stores.settings.model_copy(update={"s3_endpoint_url": store.endpoint})
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        store.pipe_file(f"traps/pages/{name}", b"x")
    first, has_more = buckets.list_after("s3://traps/pages", "", wanted, most=2)
    assert ([uri for uri, _ in first], has_more) == (["s3://traps/pages/a.jpg", "s3://traps/pages/b.jpg"], True)
    second, has_more = buckets.list_after("s3://traps/pages", first[-1][0], wanted, most=2)
    assert ([uri for uri, _ in second], has_more) == (["s3://traps/pages/c.jpg"], False)


def test_objects_are_found_in_whatever_order_they_come(
    store: Any, shared_stores: EmbeddedStores, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(services: Services) -> None:
        source = await watch(services, project, "s3://traps/pond")
        store.pipe_file("traps/pond/2026-06-13/20260613221500.jpg", b"one")
        store.pipe_file("traps/pond/2026-06-13/notes.txt", b"no photograph")
        await source.look()
        assert await source.jobs() == ["pond 2026-06-13: 1"]
        # An upload beside it that ends later, and one that is sent again under another name.
        store.pipe_file("traps/pond/2026-06-12/20260612221500.jpg", b"two")
        store.pipe_file("traps/pond/2026-06-14/again.jpg", b"one")
        await source.look()
        assert (await source.jobs())[1:] == ["pond 2026-06-12: 1"]
        assert ((await source.state()).submitted, (await source.state()).duplicates) == (2, 1)
        # A day later these are old, and a look begins after them; what comes before is found by the round.
        monkeypatch.setattr(watching, "QUIET_AFTER", timedelta(0))
        await source.look()
        [due] = await due_of(services, source.number)
        assert due.position.quiet_upto == "s3://traps/pond/2026-06-14/again.jpg"
        store.pipe_file("traps/pond/2026-06-11/20260611221500.jpg", b"three")
        await source.look()
        assert (await source.jobs())[2:] == ["pond 2026-06-11: 1"]
        # Overwritten: another photograph.
        store.pipe_file("traps/pond/2026-06-11/20260611221500.jpg", b"four")
        await source.look()
        assert (await source.jobs())[3:] == ["pond 2026-06-11 (2): 1"]
        await services.catalog.sources.pause(source.number)

    on_store(shared_stores, store, run)


def test_a_bucket_that_cannot_be_listed_is_told(store: Any, shared_stores: EmbeddedStores, project: str) -> None:
    async def run(services: Services) -> None:
        store.mkdir("short-lived")
        source = await watch(services, project, "s3://short-lived/pond")
        store.rmdir("short-lived")
        await source.look()
        state = await source.state()
        assert state.failures == 1 and "there is no bucket 'short-lived'" in state.error
        assert state.next_look_at > datetime.now(UTC)
        await services.catalog.sources.pause(source.number)

    on_store(shared_stores, store, run)


async def due_of(services: Services, number: int) -> list[Any]:
    await services.catalog.sources.resume(number)
    return [one for one in await services.catalog.sources.due(1000) if one.source_id == number]


def on_store(shared_stores: EmbeddedStores, store: Any, run: Any) -> None:
    async def main() -> None:
        wanted = shared_stores.settings.model_copy(update={"s3_endpoint_url": store.endpoint})
        async with opened(wanted) as services:
            await run(services)

    asyncio.run(main())
