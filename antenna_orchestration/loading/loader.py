"""Loads an image from wherever its URI points, within limits of time, size and memory."""

from __future__ import annotations

import asyncio

from antenna_orchestration import errors
from antenna_orchestration.domain import versions
from antenna_orchestration.loading.file_source import FileSource
from antenna_orchestration.loading.http_source import HttpSource
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.loading.sources import ReservationTooSmall, Source
from antenna_orchestration.settings import Settings

FIRST_GUESS = 2**20
"""Bytes reserved for the first images, while their mean size is not known."""


class Loader:
    """Loads images and reserves memory for each. Use it as an async context manager.

    The bytes that `load` returns stay charged to the budget until the caller calls `memory.release(len(data))`.
    """

    def __init__(self, *, settings: Settings, memory: MemoryBudget) -> None:
        self._settings = settings
        self.memory = memory
        self._sources: dict[str, Source] = {}
        # Moving average of the images' sizes in bytes; 0 before the first image.
        self.mean_size = 0.0

    async def __aenter__(self) -> Loader:
        return self

    async def __aexit__(self, *_: object) -> None:
        for source in set(self._sources.values()):
            await source.close()
        # aiohttp closes its connections in the event loop's next iteration.
        await asyncio.sleep(0)

    def host(self, uri: str) -> str:
        """The host, bucket or mount that the image is on. When it fails, all images on it fail together."""
        try:
            return self._source(uri).host(uri)
        except errors.ImageError:
            return "unknown"

    async def load(self, uri: str, *, version: str = "") -> bytes:
        """Load an image and return its bytes, as stored. `version` is the one that was submitted, if it is known.

        Raises `ImageUnusable` when the image is at fault, `ImageUnreachable` for a passing fault (`SourceOverloaded`
        when loading takes longer than `ANTENNA_LOAD_TIMEOUT`), `ImageChanged` when the store tells of another version,
        and `ImageForbidden` when this worker cannot reach the store.
        """
        source = self._source(uri)
        size = min(int(2 * self.mean_size) or FIRST_GUESS, self._settings.max_image_bytes)
        while True:
            reservation = _Reservation(self.memory, size, version)
            await self.memory.reserve(size)
            try:
                async with asyncio.timeout(self._settings.load_timeout):
                    data = await source.fetch(uri, reservation)
            except ReservationTooSmall as more:
                # Start again with enough memory. If images kept what they hold while they wait for more, they could
                # wait for each other for ever.
                reservation.release()
                size = more.size
            except TimeoutError:
                reservation.release()
                raise errors.SourceOverloaded(
                    f"{source.host(uri)}: not loaded within {self._settings.load_timeout:g} s"
                ) from None
            except BaseException:
                reservation.release()
                raise
            else:
                reservation.shrink(len(data))
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
        """Make the source for a scheme. It is made on first use, so a worker that reads files never imports s3fs."""
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
                requester_pays=settings.s3_requester_pays,
                limit=settings.max_image_bytes,
                connections=settings.load_concurrency,
            )
        raise errors.ImageUnusable("only file, http(s) and s3 URIs are supported")


class _Reservation:
    """Memory reserved for one image, charged to the budget; sizes in bytes."""

    def __init__(self, memory: MemoryBudget, size: int, version: str) -> None:
        self._memory = memory
        self._version = version
        self.size = size

    def found(self, version: str) -> None:
        if versions.have_changed(self._version, version):
            raise errors.ImageChanged("changed since it was submitted (submit it again)")

    def grow(self, size: int) -> None:
        if not self._memory.try_reserve(size - self.size):
            raise ReservationTooSmall(size)
        self.size = size

    def shrink(self, size: int) -> None:
        self._memory.release(self.size - size)
        self.size = size

    def release(self) -> None:
        self.shrink(0)
