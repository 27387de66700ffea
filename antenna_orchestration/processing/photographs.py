"""Pictures of photographs for exports and reports: loaded from wherever they are, decoded in processes of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import UNSET

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection
from antenna_orchestration.exports.material import Box, Pictures
from antenna_orchestration.processing.drawing import Drawing, NotDrawn
from antenna_orchestration.settings import Settings

if TYPE_CHECKING:
    from antenna_orchestration.loading.loader import Loader

T = TypeVar("T")

NOT_OF_URLS: Final = "photographs at URLs are not loaded here (ANTENNA_PICTURES_OF_URLS=true does)"

MOST_AT_A_TIME: Final = 8
"""Processes that decode: one for each core, up to so many, as each may take gigabytes."""

_NOBODY: Final = AlgorithmRef("", "")


def require_loaded_here(settings: Settings, url: str) -> None:
    """Raise `ImageForbidden` for a photograph at a URL, unless the setting allows this host to load it."""
    if url.startswith(("http://", "https://")) and not settings.pictures_of_urls:
        raise errors.ImageForbidden(NOT_OF_URLS)


@asynccontextmanager
async def pictures(settings: Settings) -> AsyncIterator[Pictures]:
    """Pictures, for any number of threads; what they need starts with the first.

    The threads wait for this event loop: it must stay free. After the end, those that still wait get `Unavailable`.
    """
    made = _Pictures(settings, asyncio.get_running_loop())
    try:
        yield made
    finally:
        await made.close()


class _Pictures:
    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._stack = AsyncExitStack()
        self._loader: Loader | None = None
        # Those that nobody uses; the last one back is the first to be taken, so that no more start than are needed.
        self._free: asyncio.LifoQueue[Drawing] = asyncio.LifoQueue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def drawn(self, url: str, boxes: Sequence[Box], *, width: int | None = None) -> bytes:
        detections = _detections(boxes)
        return self._wait_for(self._made(url, lambda one, data: one.draw(data, detections, width=width, most=None)))

    def crops(self, url: str, boxes: Sequence[Box], *, margin: float = 0.0, longest: int | None = None) -> list[bytes]:
        detections = _detections(boxes)
        return self._wait_for(
            self._made(url, lambda one, data: one.crop(data, detections, margin=margin, longest=longest))
        )

    async def close(self) -> None:
        """End what is in progress, and the processes."""
        self._is_closed = True
        await kernel.end(*self._tasks)
        await self._stack.aclose()

    def _wait_for(self, making: Coroutine[Any, Any, T]) -> T:
        """Wait on a thread for what is made on the event loop."""
        try:
            return asyncio.run_coroutine_threadsafe(making, self._loop).result()
        except concurrent.futures.CancelledError:
            raise errors.Unavailable("no more pictures are made: the command is ending") from None

    async def _made(self, url: str, make: Callable[[Drawing, bytes], Awaitable[T]]) -> T:
        require_loaded_here(self._settings, url)
        task = asyncio.current_task()
        if self._is_closed or task is None:
            raise asyncio.CancelledError
        self._tasks.add(task)
        try:
            loader = await self._running()
            # The loader's memory bounds how many wait here.
            content = await loader.load(url)
            try:
                drawing = await self._free.get()
                try:
                    return await make(drawing, content)
                finally:
                    self._free.put_nowait(drawing)
            finally:
                loader.memory.release(len(content))
        except NotDrawn as error:
            raise errors.ImageUnusable(str(error)) from None
        finally:
            self._tasks.discard(task)

    async def _running(self) -> Loader:
        if self._loader is None:
            # aiohttp is slow to import, and most exports need no picture.
            from antenna_orchestration.loading.loader import Loader
            from antenna_orchestration.loading.memory import MemoryBudget

            loader = self._loader = Loader(
                settings=self._settings, memory=MemoryBudget(2 * self._settings.max_image_bytes)
            )
            await self._stack.enter_async_context(loader)
            for _ in range(min(MOST_AT_A_TIME, len(os.sched_getaffinity(0)))):
                self._free.put_nowait(await self._stack.enter_async_context(Drawing(self._settings)))
        return self._loader


def _detections(boxes: Sequence[Box]) -> list[Detection]:
    return [
        Detection(
            box=(box.x1, box.y1, box.x2, box.y2),
            score=box.score,
            algorithm=_NOBODY,
            classifications=[Classification(algorithm=_NOBODY, label=box.label, score=box.score)] if box.label else [],
            mask=box.mask or UNSET,
            rotated=box.rotated or UNSET,
        )
        for box in boxes
    ]
