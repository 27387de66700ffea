"""Which of the workers that share a token calls. Each has leases, a bound, a speed and a row of its own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import Request

from antenna_orchestration.contract import client_info
from antenna_orchestration.domain.access import Token

CLIENT_HEADER: Final = "x-antenna-client"
"""By this header several workers with one token and one address can name themselves, one for each GPU for example."""

_CLIENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


def client_of(request: Request) -> str:
    """The client that a request says it is, or the address that it calls from."""
    return _named(request) or (request.client.host if request.client else "")


def neighbourhood(host: str) -> str:
    """The addresses that count as one where strangers are limited: of IPv6, whoever has one has a whole /64 of them."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4 or address.ipv4_mapped is not None:
        return host
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def told_apart(request: Request, caller: Token, given: Mapping[str, Any] | None) -> Token:
    """The caller as the process that its body's `client_info` names, at its address; a header goes before that.

    The address stays in the name, because containers often have the same host name and process id.
    """
    process = client_info.process_name(client_info.read(given))
    if not process or _named(request):
        return caller
    return replace(caller, client=f"{process}@{client_of(request)}")


def _named(request: Request) -> str:
    named = request.headers.get(CLIENT_HEADER, "")
    return named if _CLIENT.fullmatch(named) else ""
