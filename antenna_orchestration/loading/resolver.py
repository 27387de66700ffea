"""Refuses http(s) addresses that are not public, unless the setting `ALLOW_PRIVATE_HOSTS` allows all.

This protects against server-side request forgery. The resolver itself does the check, on the very address that is then
connected to, so DNS rebinding (a name that resolves differently the second time) does not get around it. `check_host`
judges what is written in a URL, by the rule for submissions: aiohttp does not resolve addresses.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from antenna_orchestration import errors
from antenna_orchestration.domain.addresses import is_public, why_refused


def check_host(url: URL) -> None:
    """Raise `ImageForbidden` if the URL's host is an address and not a public one. Names are left to the resolver."""
    # The text that aiohttp takes to the resolver.
    host = url.raw_host or ""
    if why_refused(host):
        raise _refused(host)


class PublicResolver(AbstractResolver):
    """Resolves host names and drops addresses that are not public."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The public addresses of a name. Raises `ImageForbidden` if none of its addresses is public."""
        found = await self._resolver.resolve(host, port, family)
        public = [result for result in found if is_public(result["host"])]
        if found and not public:
            raise _refused(host)
        return public

    async def close(self) -> None:
        """Close the resolver, which holds nothing open."""
        await self._resolver.close()


def _refused(host: str) -> errors.ImageForbidden:
    return errors.ImageForbidden(f"{host} is not a public address, and ANTENNA_ALLOW_PRIVATE_HOSTS is off here")
