"""Whether the stores answer, looked at once for all who ask at about the same time: anybody may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch.services import HttpServices

TIMEOUT: Final = 5.0
"""Seconds that a store has to answer."""

REMEMBERED: Final = 1.0
"""Seconds for which what was found is told again."""


class Readiness:
    """Asks queue, catalog and Redis."""

    def __init__(self, http: HttpServices) -> None:
        self._http = http
        self._looking = asyncio.Lock()
        self._found: dict[str, bool] = {}
        self._at = float("-inf")

    async def look(self) -> dict[str, bool]:
        """Which of the stores answer, as of a second ago at most."""
        async with self._looking:
            if time.monotonic() - self._at > REMEMBERED:
                services = self._http.services
                checks = {
                    "queue": services.queue_answers(),
                    "catalog": services.catalog.projects.list([]),
                    "redis": services.live.check(),
                }
                self._found = dict(zip(checks, await asyncio.gather(*map(_answers, checks.values())), strict=True))
                self._at = time.monotonic()
            return self._found


async def _answers(check: Awaitable[Any]) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT):
            await check
    except (errors.Unavailable, TimeoutError):
        return False
    return True
