"""Which addresses http(s) images may be loaded from: public ones, unless the settings allow all.

The check is made where a name becomes the address that is connected to, so a name that answers differently the second
time gains nothing. Addresses written out in a URL never reach the resolver and are checked by themselves.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from antenna_orchestration import errors

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address is on the public internet; one that embeds an IPv4 address is judged by that."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


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
