"""URLs of servers: their login percent-encoded for those who connect, and hidden for those who read."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

ADVICE: Final = "percent-encode its password: @ is %40, : is %3A, / is %2F, ? is %3F, # is %23, a comma %2C, % is %25"

_STORES: Final = re.compile(r"(?:nats|tls|wss?|rediss?|unix|postgres(?:ql)?(?:\+\w+)?)://", re.IGNORECASE)
_NATS: Final = re.compile(r"(?:nats|tls|wss?)://", re.IGNORECASE)
_NEXT: Final = re.compile(r",\s*(?=[a-z+0-9]+://)", re.IGNORECASE)
_ENCODED: Final = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
_LOGIN: Final = re.compile(r"(?P<user>(?:^|//|,)[^:/@,]*):[^/]*@")


def with_encoded_login(url: str) -> str:
    """The URL with every character of its login that may not stand there as it is percent-encoded.

    Of several URLs, separated by commas, each. A login whose every `%` begins an escape is taken as encoded. Raises
    `ValueError`, without any part of the login, for a URL of which nobody can say where its login ends.
    """
    members = _NEXT.split(url)
    return ",".join(_encoded(member) for member in members)


def _encoded(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    before, _, query = rest.partition("?")
    if "@" in before and "@" in query:
        raise ValueError(f"it has an @ before and behind a ?: {ADVICE}")
    login, at, place = rest.rpartition("@")
    if not separator or not at:
        return _checked(url)
    user, colon, password = login.partition(":")
    if _NATS.match(url) and re.search(r"@[^@,]*,", login):
        # A list that names its scheme once: `nats://u:p@h1,u:p@h2`.
        return url
    return _checked(f"{scheme}://{_quoted(user)}{colon}{_quoted(password)}@{place}")


def _quoted(text: str) -> str:
    return quote(text, safe="!$&'()*+;=-._~%" if _ENCODED.fullmatch(text) else "!$&'()*+;=-._~")


def _checked(url: str) -> str:
    """Refuse what has no host or port where they belong: the messages of libraries would show the password."""
    if _NATS.match(url) or url.lower().startswith("redis"):
        for member in url.split(","):
            try:
                _ = urlsplit(member if "://" in member else f"nats://{member}").port
            except ValueError:
                raise ValueError(f"what should be its port is not a number up to 65535; {ADVICE}") from None
    return url


def without_password(url: str) -> str:
    """A URL fit for logs: `nats://user:***@host:4222`, without a query, which may hold a password too.

    Of several URLs or hosts, separated by commas, each. Of a store's URL everything up to the last @ is hidden, so that
    no part of a password is shown that was not percent-encoded; NATS knows tokens without a user, hidden as well.
    """
    if not _STORES.match(url):
        return _LOGIN.sub(r"\g<user>:***@", url).partition("?")[0]
    return ",".join(_hidden(member) for member in _NEXT.split(url))


def _hidden(url: str) -> str:
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if not at:
        # Without a login; or the host was forgotten, and what stands in its port's place is a password.
        host, colon, port = rest.partition(":")
        place = rest if not colon or re.match(r"\d{1,5}(?:[/?,]|$)", port) or host.startswith("[") else f"{host}:***"
        return f"{scheme}://{place}".partition("?")[0]
    user, colon, _ = login.partition(":")
    shown = f"{user}:***" if colon else "***" if _NATS.match(url) else user
    return f"{scheme}://{shown}@{place.partition('?')[0]}"
