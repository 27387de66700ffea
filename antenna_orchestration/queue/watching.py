"""Watching a KV bucket: first what it holds, then each change."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue


class Watch:
    """The entries of a bucket, then its changes. Made by `watching`."""

    def __init__(self, bucket: KeyValue, watcher: KeyValue.KeyWatcher) -> None:
        self._bucket = bucket
        self._watcher = watcher
        self._begun = False
        # nats-py said that there is no entry, although the bucket has some.
        self._early = False
        # The existing entries have all come; the next call has to say so.
        self._due = False

    async def next(self, *, timeout: float) -> KeyValue.Entry | None:
        """The next entry, deletions included; None once, after all existing entries.

        nats-py returns its own None too early when the first entries arrive while it asks how many there are; this
        corrects it. Raises nats-py's `TimeoutError` when nothing comes for `timeout` seconds.
        """
        if self._due:
            self._due = False
            return None
        while True:
            try:
                entry = await self._watcher.updates(timeout=timeout)
            except nats.errors.TimeoutError:
                if not self._early:
                    raise
                # What the bucket held expired before it was delivered.
                self._early = False
                return None
            if entry is not None:
                self._begun = True
                if self._early and not entry.delta:
                    self._early, self._due = False, True
                return entry
            if self._begun or not (await self._bucket.status()).values:
                return None
            self._early = True


FORGOTTEN_AFTER: Final = 10.0
"""Seconds after which the server forgets a watch that ended.

It allows a thousand consumers per stream, and nats-py's own five minutes would use them up: each worker and each
collector reads a bucket every ten seconds."""


@asynccontextmanager
async def watching(bucket: KeyValue) -> AsyncIterator[Watch]:
    """Watch a bucket for the length of a block."""
    watcher = await bucket.watchall(inactive_threshold=FORGOTTEN_AFTER)
    try:
        yield Watch(bucket, watcher)
    finally:
        with contextlib.suppress(nats.errors.Error, nats.js.errors.Error):
            await watcher.stop()
