"""Asks web servers which version of an image they have, without downloading it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from antenna_orchestration.domain import signatures, versions
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.loading import urls
from antenna_orchestration.loading.http_sessions import MAX_REDIRECTS, REDIRECTS, HttpSessions

logger = logging.getLogger(__name__)

PARALLEL: Final = 32
"""Questions at the same time."""

PATIENCE: Final = 5.0
"""Seconds for one answer."""

DEADLINE: Final = 60.0
"""Seconds for all answers; who submits is waiting. Images not asked for by then have an unknown version."""

GIVEN_UP: Final = 5
"""Questions in a row without an answer after which a server is asked no more."""


async def ask(images: Sequence[str], *, allow_private: bool) -> dict[str, Version]:
    """The versions that the servers tell before the deadline; the others are left out or unknown."""
    found: dict[str, Version] = {}
    silent: Counter[str] = Counter()
    waiting = iter(images)
    sessions = HttpSessions(
        allow_private=allow_private, connections=PARALLEL, timeout=aiohttp.ClientTimeout(total=PATIENCE)
    )

    async def ask_in_turn() -> None:
        for url in waiting:
            host = urlsplit(url).netloc
            if silent[host] >= GIVEN_UP:
                continue
            try:
                found[url] = await _ask(sessions, url)
                silent[host] = 0
            except Exception as error:
                # Whatever the reason, the version is unknown, and the submission says so.
                logger.debug("no version from %s: %s", host, type(error).__name__)
                silent[host] += 1

    try:
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
            for number in range(min(PARALLEL, len(images))):
                group.create_task(ask_in_turn(), name=f"ask for versions {number}")
    except TimeoutError:
        logger.debug("the servers did not tell all versions within %.0f s", DEADLINE)
    finally:
        await sessions.close()
    return found


async def _ask(sessions: HttpSessions, uri: str) -> Version:
    """Ask for the headers; where HEAD is not answered, or the link is signed for GET, for the first byte."""
    if not signatures.is_signed(uri):
        version = await _answer(sessions, "HEAD", uri)
        if version is not None:
            return version
    return await _answer(sessions, "GET", uri) or Version()


async def _answer(sessions: HttpSessions, method: str, uri: str) -> Version | None:
    """What the server says; None when it refuses."""
    url = urls.sendable(uri)
    headers = {"Range": "bytes=0-0"} if method == "GET" else {}
    for _ in range(MAX_REDIRECTS + 1):
        way = await sessions.way_to(url)
        async with way.session.request(method, url, headers=headers, allow_redirects=False, proxy=way.proxy) as answer:
            target = answer.headers.get("Location")
            if answer.status in REDIRECTS and target:
                url = url.join(urls.sendable(target))
                continue
            if answer.status not in (200, 206):
                return None
            size = answer.content_length
            if answer.status == 206:
                whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
                size = int(whole) if whole.isdecimal() else None
            return versions.of_answer(answer.headers, size)
    return None
