"""Downloads images, and watched lists of them, from http and https URLs."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from antenna_orchestration import errors
from antenna_orchestration.domain import versions
from antenna_orchestration.domain.versions import Validators
from antenna_orchestration.loading import urls
from antenna_orchestration.loading.http_sessions import MAX_REDIRECTS, REDIRECTS, HttpSessions
from antenna_orchestration.loading.sources import Reservation, ReservationTooSmall, check_size

CONNECT_TIMEOUT: Final = 10.0
"""Seconds that one address may take to accept a connection; `ANTENNA_LOAD_TIMEOUT` limits the whole download."""

CHUNK: Final = 256 * 1024
"""Bytes read at a time."""

_WHOLE: Final = frozenset({200, 203})
_NOT_MODIFIED: Final = 304
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE | re.ASCII)
_FORBIDDEN: Final = frozenset({401, 403, 407})
_OVERLOADED: Final = frozenset({429, 503})
_PASSING: Final = frozenset({408, 421, 425})
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})


class Fetched(NamedTuple):
    """What was downloaded, and what to ask with next time."""

    data: bytes
    validators: Validators
    # The server says that it is as it was; there is no data then.
    is_unchanged: bool = False


class HttpSource:
    """Downloads over pooled connections.

    Redirects are followed here and not by aiohttp, so that each target is checked like the first URL. `limit` is the
    largest image in bytes, called `limit_name` in errors, `connections` the largest number of connections at the same
    time. Unless `allow_private` is set, only public addresses are connected to, the proxy that the environment names
    excepted.
    """

    def __init__(
        self, *, allow_private: bool, limit: int, connections: int, limit_name: str = "MAX_IMAGE_BYTES"
    ) -> None:
        self._limit = limit
        self._limit_name = limit_name
        self._sessions = HttpSessions(
            allow_private=allow_private,
            connections=connections,
            # The loader limits the time of the whole download; a refused connection is given up sooner.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        )

    async def fetch(self, uri: str, reservation: Reservation) -> bytes:
        """Download an image. Error messages name the host, never the query, which may hold a signature.

        Raises `ImageUnusable` when the image is at fault (404, too large), `ImageUnreachable` for passing faults (5xx,
        a broken connection), `SourceOverloaded` for 429 and 503, and `ImageForbidden` when this worker may not or
        cannot reach the host (401, 403, DNS, TLS, no route, not a public address).
        """
        return (await self.fetch_newer(uri, Validators(), reservation)).data

    async def fetch_newer(self, uri: str, known: Validators, reservation: Reservation) -> Fetched:
        """Download what is not as it was when the server said `known`. Raises as `fetch`."""
        with _told(self.host(uri)):
            return await self._follow(urls.sendable(uri), known, reservation)

    def host(self, uri: str) -> str:
        """Scheme, host name and port."""
        parts = urlsplit(uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    async def close(self) -> None:
        """Close the connections."""
        await self._sessions.close()

    async def _follow(self, url: URL, known: Validators, reservation: Reservation) -> Fetched:
        headers = known.headers()
        for _ in range(MAX_REDIRECTS + 1):
            if url.scheme not in ("http", "https") or not url.host:
                raise errors.ImageUnusable("redirected to a URL that is not http(s)")
            way = await self._sessions.way_to(url)
            async with way.session.get(url, headers=headers, allow_redirects=False, proxy=way.proxy) as response:
                if response.status not in REDIRECTS:
                    if response.status == _NOT_MODIFIED and headers:
                        return Fetched(b"", known, is_unchanged=True)
                    _check_status(response)
                    return Fetched(await self._read(response, reservation), versions.validators_of(response.headers))
                target = response.headers.get("Location")
                if not target:
                    raise errors.ImageUnusable(f"HTTP {response.status} without a Location header")
                url = url.join(urls.sendable(target))
        raise errors.ImageUnusable(f"more than {MAX_REDIRECTS} redirects")

    async def _read(self, response: aiohttp.ClientResponse, reservation: Reservation) -> bytes:
        """Read the body, but no more bytes than the limit and the reservation allow."""
        if response.content_length is not None:
            check_size(response.content_length, self._limit, self._limit_name)
            if response.content_length > reservation.size:
                reservation.grow(response.content_length)
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(CHUNK):
            size += len(chunk)
            check_size(size, self._limit, self._limit_name)
            if size > reservation.size:
                raise ReservationTooSmall(self._limit)
            chunks.append(chunk)
        return b"".join(chunks)


@contextmanager
def _told(host: str) -> Iterator[None]:
    """Make ours of the errors of a download."""
    try:
        yield
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        raise _of_proxy(host, error) from error
    except (aiohttp.ClientConnectorDNSError, aiohttp.ClientSSLError) as error:
        raise errors.ImageForbidden(f"{host}: {_plain(error)}") from error
    except aiohttp.ClientConnectorError as error:
        kind = errors.ImageForbidden if error.errno in _NO_ROUTE else errors.ImageUnreachable
        raise kind(f"{host}: {_plain(error)}") from error
    except (aiohttp.InvalidURL, ValueError) as error:
        raise errors.ImageUnusable("not a valid URL") from error
    except (aiohttp.ClientError, OSError) as error:
        raise errors.ImageUnreachable(f"{host}: {_plain(error)}") from error


def _check_status(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in _WHOLE or (status == 206 and _is_whole(response.headers.get("Content-Range"))):
        return
    reason = " ".join(filter(None, [f"HTTP {status}", response.reason, f"from {response.url.host}"]))
    if status in _FORBIDDEN:
        raise errors.ImageForbidden(reason)
    if status in _OVERLOADED:
        raise errors.SourceOverloaded(reason)
    if status in _PASSING or status >= 500 or status == 206:
        raise errors.ImageUnreachable(reason)
    raise errors.ImageUnusable(reason)


def _is_whole(content_range: str | None) -> bool:
    """Whether a partial answer, to a request for everything, holds everything; some stores answer so."""
    match = _RANGE.fullmatch((content_range or "bytes 0-0/1").strip())
    return match is not None and int(match[1]) == 0 and (match[3] == "*" or int(match[2]) + 1 == int(match[3]))


def _of_proxy(host: str, error: aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError) -> Exception:
    """A proxy that cannot be reached, or that refuses to open a connection (403, 407) or fails to (502)."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        kind = errors.ImageForbidden if error.status in _FORBIDDEN else errors.ImageUnreachable
        return kind(f"{host}: the proxy answers HTTP {error.status} {error.message}".strip())
    return errors.ImageUnreachable(f"{host}: the proxy {error.host}:{error.port}: {_plain(error)}")


def _plain(error: Exception) -> str:
    """The operating system's message if there is one, because aiohttp's own messages repeat the URL."""
    inner = getattr(error, "os_error", None) or error.__cause__
    if isinstance(inner, OSError) and inner.strerror:
        # asyncio's message of a failed connection names the address again instead of the reason.
        return os.strerror(inner.errno or 0) if inner.strerror.startswith("Connect call") else inner.strerror
    return str(error).partition("url=")[0].strip(" ,") or type(error).__name__
