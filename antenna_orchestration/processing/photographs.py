"""Pictures of photographs for exports and reports: loaded from wherever they are, decoded in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from antenna_orchestration import errors
from antenna_orchestration.exports.material import Box, Pictures
from antenna_orchestration.processing.services import Services


@asynccontextmanager
async def pictures(services: Services) -> AsyncIterator[Pictures]:
    """Pictures, for threads; what they need starts with the first."""
    yield _Pictures()


class _Pictures:
    def drawn(self, url: str, boxes: Sequence[Box], *, width: int | None = None) -> bytes:
        raise errors.ImageForbidden("not built")

    def crops(self, url: str, boxes: Sequence[Box], *, margin: float = 0.0, longest: int | None = None) -> list[bytes]:
        raise errors.ImageForbidden("not built")
