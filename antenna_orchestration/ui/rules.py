"""Which requests the UI answers: pure rules over a request's method, path and headers.

Dagster's webserver has no login, executes mutations of any request, also those of a GET, and looks neither at `Host`
nor at `Origin`. So any page that is open in a browser on the same machine could launch, end and delete runs, and so
could a picture in a text that is shown (a label, a name, a reason).
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine for itself: no page from elsewhere is served under them."""

OPEN_PATH: Final = "/server_info"
"""Versions of Dagster, for health checks; it asks for no password."""

_READING: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request for a page, or for a WebSocket."""

    path: str
    # Names in lower case.
    headers: Mapping[str, str]
    # `WEBSOCKET` for one of those.
    method: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered, in one line, with its HTTP status."""

    status: int
    reason: str


def judge(request: Request, *, hosts: Collection[str], password: str = "") -> Refusal | None:
    """None for a request that may pass.

    `hosts` are the names, in lower case and without ports, under which people reach the UI beside the loopback ones.
    Browsers send `Origin` with each request that may change something, and nothing lets a page leave it out; a program
    that sends neither `Origin` nor `Sec-Fetch-Site` is not a page.
    """
    host = request.headers.get("host", "")
    if _name_of(f"//{host}") not in LOOPBACK | set(hosts):
        return Refusal(403, f"this UI does not answer as {host[:100]!r}: name the host in ANTENNA_UI_HOSTS")
    if request.method not in _READING and not _is_same_origin(request.headers, host, hosts):
        return Refusal(403, "this request comes from a page that is not the UI's own")
    if request.method not in {*_READING, "WEBSOCKET"} and not _is_json(request.headers):
        return Refusal(415, "send it as POST with Content-Type: application/json")
    if request.method in _READING and request.path.endswith("/graphql") and not _asks_for_page(request.headers):
        return Refusal(405, "send queries as POST with Content-Type: application/json")
    if password and request.path != OPEN_PATH and not _knows(password, request.headers):
        return Refusal(401, "this UI asks for a password")
    return None


def authorization(password: str) -> dict[str, str]:
    """The header with which a program of ours brings the password; none where none is asked for."""
    brought = base64.b64encode(f"antenna:{password}".encode()).decode()
    return {"Authorization": f"Basic {brought}"} if password else {}


def _is_same_origin(headers: Mapping[str, str], host: str, hosts: Collection[str]) -> bool:
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    # A proxy may have put its own name for us into Host; the page then carries one of the names that were given.
    return origin.partition("://")[2].lower() == host.lower() or _name_of(origin) in hosts


def _is_json(headers: Mapping[str, str]) -> bool:
    """Exactly: a form can send text/plain whose parameters hold these words."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _asks_for_page(headers: Mapping[str, str]) -> bool:
    """Dagster then shows its query editor and executes nothing."""
    return "text/html" in headers.get("accept", "")


def _knows(password: str, headers: Mapping[str, str]) -> bool:
    """Whether HTTP's basic authentication brings the password, with any name."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    try:
        _, _, found = base64.b64decode(given, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and secrets.compare_digest(found, password.encode())


def _name_of(url: str) -> str | None:
    """The host's name in a URL; None where there is none, also in what is not a URL."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
