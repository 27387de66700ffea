"""Loading an image from wherever its URI says, within time, size and memory."""

from __future__ import annotations

import asyncio

from antenna_orchestration import errors
from antenna_orchestration.loading.file_source import FileSource
from antenna_orchestration.loading.http_source import HttpSource
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.loading.sources import Outgrown, Source
from antenna_orchestration.settings import Settings

FIRST_GUESS = 2**20
"""Bytes set aside for an image before anything is known of the images' sizes."""


class Loader:
    """Loads images, each with memory set aside for it. Use it as an async context manager.

    What `load` returned stays charged to the budget until `memory.give(len(data))`.
    """

    def __init__(self, *, settings: Settings, memory: MemoryBudget) -> None:
        self._settings = settings
        self.memory = memory
        self._sources: dict[str, Source] = {}
        # Mean size of the images so far; 0 before the first.
        self.mean_size = 0.0

    async def __aenter__(self) -> Loader:
        return self

    async def __aexit__(self, *_: object) -> None:
        for source in set(self._sources.values()):
            await source.close()
        # Connections of aiohttp end in the loop's next turn.
        await asyncio.sleep(0)

    def host(self, uri: str) -> str:
        """What fails together with this URI: a host, a bucket, a mount."""
        try:
            return self._source(uri).host(uri)
        except errors.ImageError:
            return "unknown"

    async def load(self, uri: str) -> bytes:
        """The image's bytes. Raises `ImageUnusable`, `ImageUnreachable` or `ImageForbidden` by whose fault it is."""
        source = self._source(uri)
        size = min(int(2 * self.mean_size) or FIRST_GUESS, self._settings.max_image_bytes)
        while True:
            room = _Room(self.memory, size)
            await self.memory.take(size)
            try:
                async with asyncio.timeout(self._settings.load_timeout):
                    data = await source.fetch(uri, room)
            except Outgrown as more:
                # From the start, once there is memory enough: images that wait for more while they hold some
                # could wait for each other for ever.
                room.release()
                size = more.size
            except TimeoutError:
                room.release()
                raise errors.ImageUnreachable(f"not loaded within {self._settings.load_timeout:g} s") from None
            except BaseException:
                room.release()
                raise
            else:
                room.shrink(len(data))
                self.mean_size += (len(data) - self.mean_size) * (0.05 if self.mean_size else 1.0)
                return data

    def _source(self, uri: str) -> Source:
        scheme = uri.partition(":")[0].lower()
        source = self._sources.get(scheme)
        if source is None:
            kind = "http" if scheme == "https" else scheme
            source = self._sources[scheme] = self._sources.get(kind) or self._make(kind)
        return source

    def _make(self, scheme: str) -> Source:
        """A source is made when its first image comes: a worker that reads files loads no S3 library."""
        settings = self._settings
        if scheme == "file":
            return FileSource(
                roots=settings.image_roots, limit=settings.max_image_bytes, threads=settings.load_concurrency
            )
        if scheme == "http":
            return HttpSource(
                allow_private=settings.allow_private_hosts,
                limit=settings.max_image_bytes,
                connections=settings.load_concurrency,
            )
        if scheme == "s3":
            from antenna_orchestration.loading.s3_source import S3Source

            return S3Source(
                endpoint_url=settings.s3_endpoint_url,
                anonymous=settings.s3_anonymous,
                limit=settings.max_image_bytes,
                connections=settings.load_concurrency,
            )
        raise errors.ImageUnusable("images come from file, http(s) and s3 URIs only")


class _Room:
    """Memory set aside for one image."""

    def __init__(self, memory: MemoryBudget, size: int) -> None:
        self._memory = memory
        self.size = size

    def grow(self, size: int) -> None:
        if not self._memory.take_at_once(size - self.size):
            raise Outgrown(size)
        self.size = size

    def shrink(self, size: int) -> None:
        self._memory.give(self.size - size)
        self.size = size

    def release(self) -> None:
        self.shrink(0)
