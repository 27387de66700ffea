"""What an address alone tells: the path that a `file://` URI names, and whether a host is on the public internet."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def path_of(uri: str) -> str:
    """The path that a `file://` URI names, bytes that are not UTF-8 included."""
    return os.fsdecode(unquote_to_bytes(urlsplit(uri).path))


def is_public(address: str) -> bool:
    """Whether an address is on the public internet; one that embeds an IPv4 address is judged by that.

    Raises `ValueError` for text that is not an address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def is_private(host: str) -> bool:
    """Whether a host, as written, is on this machine or its network; names other than `localhost` are not looked up.

    The worker checks again what a name resolves to, and where a redirect leads.
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return not is_public(name)
    except ValueError:
        try:
            # The C library reads 127.1, 0x7f.1 and 2130706433 as addresses too.
            return not is_public(socket.inet_ntoa(socket.inet_aton(name)))
        except OSError:
            return False
