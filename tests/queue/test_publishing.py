"""Publishing a chunk: what is confirmed, and what happens to whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import publisher as module
from antenna_orchestration.queue.publisher import Message, Publisher


async def test_who_is_cancelled_with_the_confirmation_is_cancelled(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was asked to leave as its last result was confirmed went on for ever, up to Python 3.11."""
    publishing: asyncio.Task[object] | None = None
    count = module._Chunk.count

    def confirmed_and_cancelled(chunk: module._Chunk, confirmation: module._Confirmation) -> None:
        count(chunk, confirmation)
        assert publishing is not None
        publishing.cancel()

    monkeypatch.setattr(module._Chunk, "count", confirmed_and_cancelled)
    async with Publisher(services.connection) as publisher:
        publishing = asyncio.create_task(publisher.publish([Message("$KV.workers.test-publishing", b"{}")]))
        with pytest.raises(asyncio.CancelledError):
            await publishing
        await services.connection.publish("$KV.workers.test-publishing", b"", headers={"KV-Operation": "PURGE"})
