"""What waits, looked at once for all who ask at about the same time."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.processing import scale
from antenna_orchestration.processing.scale import Scene

REMEMBERED: Final = 5.0
"""Seconds for which what was seen is told again; an autoscaler asks every half minute or so, for each pipeline."""

TIMEOUT: Final = 10.0
"""Seconds that the stores have to answer."""


class Backlogs:
    """Looks at the jobs, the queue and the workers."""

    def __init__(self, http: HttpServices) -> None:
        self._http = http
        self._looking = asyncio.Lock()
        self._seen: Scene | None = None
        self._at = float("-inf")

    async def look(self) -> Scene:
        """What there was a few seconds ago at most. Raises `Unavailable`: what is not known is not nothing."""
        async with self._looking:
            if self._seen is None or time.monotonic() - self._at > REMEMBERED:
                try:
                    async with asyncio.timeout(TIMEOUT):
                        self._seen = await scale.look(self._http.services)
                except TimeoutError as error:
                    raise errors.Unavailable(f"the stores did not answer within {TIMEOUT:.0f} s") from error
                self._at = time.monotonic()
            return self._seen
