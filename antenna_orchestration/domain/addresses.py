"""What an address alone tells: the path that a `file://` URI names, and whether a host is on the public internet."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import unicodedata
from typing import Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_UNICAST: Final = ipaddress.ip_network("2000::/3")
# Not public, though some of the Python versions say so: protocol assignments, documentation.
_SPECIAL: Final = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("3fff::/20"))

_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE: Final = "is a loopback, link-local or private address"
_ODD: Final = "is not an address as URLs have them, which is four decimal numbers"


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
        # What lies outside is of a site, of a tunnel, or nobody's: fec0::/10, ::127.0.0.1, 64:ff9b:1::/48 and others.
        if ip not in _UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _SPECIAL)


def why_refused(host: str) -> str | None:
    """Why nothing is loaded from a host, as written, unless private hosts are allowed; None if nothing speaks against.

    It is the one rule for submissions and for workers. Names other than `localhost` are not looked up here: the worker
    judges the address that a name resolves to by `is_public`, and each host that a redirect leads to by this rule.
    """
    # What the ways from a URL to a connection make of it: escapes, circled and wide digits, the full stops of IDNA.
    name = unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").strip().rstrip(".").casefold()
    if not name.isprintable():
        return _ODD
    if name == "localhost" or name.endswith(".localhost"):
        return _PRIVATE
    try:
        return None if is_public(name) else _PRIVATE
    except ValueError:
        pass
    # No domain ends in a number, so this is an address in a spelling of the C library's: 127.1, 0x7f.1, 2130706433.
    if not _NUMBER.fullmatch(name.rpartition(".")[2]):
        return None
    try:
        return _ODD if is_public(socket.inet_ntoa(socket.inet_aton(name))) else _PRIVATE
    except OSError:
        return _ODD
