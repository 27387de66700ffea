"""The connections to web servers: which addresses may be connected to, and what goes through a proxy.

One rule for loading images and for asking which version of them a server has.
"""

from __future__ import annotations

import contextlib
from typing import Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from antenna_orchestration import __version__
from antenna_orchestration.loading import proxy, resolver

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses that lead on. They are followed by the caller and not by aiohttp, so that each target is checked, too."""

MAX_REDIRECTS: Final = 5


class Way(NamedTuple):
    """How to reach a URL: the session to ask, and the proxy to name."""

    session: aiohttp.ClientSession
    proxy: URL | None


class HttpSessions:
    """Pooled connections, direct ones and those through the proxy that the environment names.

    Unless `allow_private` is set, only public addresses are connected to, the proxy excepted. `connections` is the
    largest number of connections at the same time. Without cookies, and what is asked for comes as it is stored.
    """

    def __init__(self, *, allow_private: bool, connections: int, timeout: aiohttp.ClientTimeout) -> None:
        self._connections = connections
        self._timeout = timeout
        self._resolver = None if allow_private else resolver.PublicResolver()
        self._direct = self._opened(self._resolver)
        # Made when it is needed. The proxy itself may have a private address, so its connector may not refuse those.
        self._through_proxy: aiohttp.ClientSession | None = None
        self._looked_at: set[str] = set()

    async def way_to(self, url: URL) -> Way:
        """How to reach a URL. Raises `ImageForbidden` for an address that is not public, or a proxy of another kind."""
        host = url.host or ""
        if self._resolver is not None:
            resolver.check_host(url)
        through = proxy.proxy_for(url)
        if through is None:
            return Way(self._direct, None)
        if self._resolver is not None and host not in self._looked_at:
            # The proxy resolves the name; often nobody else can, and asking in vain may take seconds.
            with contextlib.suppress(OSError):
                await self._resolver.resolve(host)
            self._looked_at.add(host)
        if self._through_proxy is None:
            self._through_proxy = self._opened(None)
        return Way(self._through_proxy, through)

    async def close(self) -> None:
        """Close the connections."""
        await self._direct.close()
        if self._through_proxy is not None:
            await self._through_proxy.close()

    def _opened(self, names: AbstractResolver | None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=names, limit=self._connections, ttl_dns_cache=60),
            timeout=self._timeout,
            headers={"User-Agent": f"antenna-orchestration/{__version__}", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
