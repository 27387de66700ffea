"""Refuses http(s) addresses that are not public, unless the setting `ALLOW_PRIVATE_HOSTS` allows all.

This protects against server-side request forgery. The resolver itself does the check, on the very address that is then
connected to, so DNS rebinding (a name that resolves differently the second time) does not get around it. aiohttp does
not resolve addresses that are written out in a URL; `check_literal` checks those.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from antenna_orchestration import errors
from antenna_orchestration.domain.addresses import is_public


def check_literal(host: str) -> None:
    """Raise `ImageForbidden` if the host is an IP address and not a public one. Names are left to the resolver."""
    try:
        public = is_public(host)
    except ValueError:
        return
    if not public:
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
    return errors.ImageForbidden(f"{host} is not a public address, and ALLOW_PRIVATE_HOSTS is off on this worker")
