"""Asks web servers which version of an image they have, without downloading it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from antenna_orchestration import __version__
from antenna_orchestration.domain import versions
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.loading import resolver, urls
from antenna_orchestration.loading.http_source import MAX_REDIRECTS

logger = logging.getLogger(__name__)

PARALLEL: Final = 32
"""Questions at the same time."""

PATIENCE: Final = 5.0
"""Seconds for one answer."""

DEADLINE: Final = 60.0
"""Seconds for all answers; who submits is waiting. Images not asked for by then have an unknown version."""

GIVEN_UP: Final = 5
"""Questions in a row without an answer after which a server is asked no more."""

_SIGNED: Final = re.compile(r"[?&](?:X-Amz-Signature|X-Goog-Signature|Signature|sig)=", re.IGNORECASE)
"""Links signed for GET; another method would be refused."""

_REDIRECT: Final = frozenset({301, 302, 303, 307, 308})


async def ask(images: Sequence[str], *, allow_private: bool) -> dict[str, Version]:
    """The versions that the servers tell before the deadline; the others are left out or unknown."""
    found: dict[str, Version] = {}
    silent: Counter[str] = Counter()
    waiting = iter(images)
    connector = aiohttp.TCPConnector(resolver=None if allow_private else resolver.PublicResolver(), limit=PARALLEL)

    async def ask_in_turn(session: aiohttp.ClientSession) -> None:
        for url in waiting:
            host = urlsplit(url).netloc
            if silent[host] >= GIVEN_UP:
                continue
            try:
                found[url] = await _ask(session, url, allow_private=allow_private)
                silent[host] = 0
            except Exception as error:
                # Whatever the reason, the version is unknown, and the submission says so.
                logger.debug("no version from %s: %s", host, type(error).__name__)
                silent[host] += 1

    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        headers={"User-Agent": f"antenna-orchestration/{__version__}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        try:
            async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
                for number in range(min(PARALLEL, len(images))):
                    group.create_task(ask_in_turn(session), name=f"ask for versions {number}")
        except TimeoutError:
            pass
    return found


async def _ask(session: aiohttp.ClientSession, uri: str, *, allow_private: bool) -> Version:
    """Ask for the headers; where HEAD is not answered, or the link is signed for GET, for the first byte."""
    if not _SIGNED.search(uri):
        version = await _answer(session, "HEAD", uri, allow_private=allow_private)
        if version is not None:
            return version
    return await _answer(session, "GET", uri, allow_private=allow_private) or Version()


async def _answer(session: aiohttp.ClientSession, method: str, uri: str, *, allow_private: bool) -> Version | None:
    """What the server says; None when it refuses."""
    url = urls.sendable(uri)
    headers = {"Range": "bytes=0-0"} if method == "GET" else {}
    for _ in range(MAX_REDIRECTS + 1):
        if not allow_private:
            resolver.check_host(url)
        async with session.request(method, url, headers=headers, allow_redirects=False) as answer:
            target = answer.headers.get("Location")
            if answer.status in _REDIRECT and target:
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
