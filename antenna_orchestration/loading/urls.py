"""Makes URLs that may be sent out of URLs as people and servers write them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from yarl import URL

_HEAD: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#\\]*")
_UNFIT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~:/?#@!$&'()*+,;=%-]")


def sendable(text: str) -> URL:
    """The URL, or the relative one, with everything percent-encoded that may not stand in a URL.

    Valid escapes stay byte for byte: `%2F` is not `/`, and a signature is made over the text. A `%` that begins no
    escape is one of the name. Raises `ValueError` for an invalid host or port.
    """
    head = _HEAD.match(text)
    # The host is the business of yarl: internationalized names, ports, user and password.
    begin = str(URL(head.group() + "/")).removesuffix("/") if head else ""
    rest = text[head.end() :] if head else text
    if head and not rest.startswith("/"):
        rest = f"/{rest}"
    return URL(begin + _UNFIT.sub(_quoted, rest), encoded=True)


def _quoted(match: re.Match[str]) -> str:
    # A redirect may hold bytes that are not UTF-8.
    return quote(match.group().encode("utf-8", "surrogateescape"), safe="")
