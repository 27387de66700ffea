"""Which addresses http(s) images may be loaded from: public ones, unless the settings allow all.

The check is made where a name becomes the address that is connected to, so a name that answers differently the second
time gains nothing. Addresses written out in a URL never reach the resolver and are checked by themselves.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from antenna_orchestration import errors
from antenna_orchestration.domain.addresses import is_public


def check_literal(host: str) -> None:
    """Raise `ImageForbidden` when the host is written as an address that is not public."""
    try:
        public = is_public(host)
    except ValueError:
        return
    if not public:
        raise _refused(host)


class PublicResolver(AbstractResolver):
    """Resolves names, and leaves out addresses that are not public."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The public addresses of a name. Raises `ImageForbidden` when it has others only."""
        found = await self._resolver.resolve(host, port, family)
        public = [result for result in found if is_public(result["host"])]
        if found and not public:
            raise _refused(host)
        return public

    async def close(self) -> None:
        """Nothing is held open."""
        await self._resolver.close()


def _refused(host: str) -> errors.ImageForbidden:
    return errors.ImageForbidden(f"{host} is not a public address, and ALLOW_PRIVATE_HOSTS is off on this worker")
