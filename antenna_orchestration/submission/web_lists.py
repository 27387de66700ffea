"""Lists on the web that are watched: a text file, or a table with a column of addresses, of a trap's photographs.

A list is fetched by the client and the rules by which workers load photographs, and read as one that is submitted.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from antenna_orchestration import errors
from antenna_orchestration.domain import signatures
from antenna_orchestration.domain.versions import Validators
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import kinds, limits, source_lists
from antenna_orchestration.submission.locations import MAX_URI, Locator, scheme_of

_NO_URL: Final = frozenset('<>"\\')
"""Characters that no URL has, and web pages and paths of Windows do."""

_SHOWN: Final = 120
"""Characters of a line that a message repeats."""


def address(uri: str, within: Locator) -> str:
    """The address of a list as the catalog has it. Raises `InvalidSource` if it is none, or is not allowed."""
    located = within.locate(uri.partition("#")[0])
    parts = urlsplit(located.uri)
    if located.link:
        raise errors.InvalidSource(f"{located.uri}: a signed link expires, and cannot be watched")
    if "@" in parts.netloc:
        raise errors.InvalidSource("an address with a password cannot be watched: it shows wherever sources are listed")
    if kinds.is_image(parts.path):
        raise errors.InvalidSource(f"{located.uri} is one photograph; a list names photographs, one a line")
    if kinds.is_list(parts.path) and kinds.suffix_of(parts.path) not in (".txt", ".csv"):
        raise errors.InvalidSource(f"{located.uri}: only lists that are text or .csv can be watched")
    return located.uri


def fetch(source: str, known: Validators, settings: Settings) -> tuple[list[tuple[int, str]], Validators] | None:
    """The lines of a list with their numbers, and what to ask with next time; None if it is as it was.

    Raises `InvalidSource` if there is none, it is not allowed or it cannot be read, and `Unavailable` if its server
    does not answer.
    """
    # Not imported for folders: aiohttp takes a fifth of a second.
    from antenna_orchestration.loading.http_source import HttpSource

    async def download() -> tuple[bytes, Validators] | None:
        web = HttpSource(
            allow_private=settings.allow_private_hosts,
            limit=limits.MOST_WATCHED_BYTES,
            limit_name="the most that a watched list may have",
            connections=1,
        )
        try:
            async with asyncio.timeout(settings.load_timeout):
                fetched = await web.fetch_newer(source, known, _Whole())
        finally:
            await web.close()
        return None if fetched.is_unchanged else (fetched.data, fetched.validators)

    try:
        found = asyncio.run(download())
    except TimeoutError:
        raise errors.Unavailable(f"{source}: not loaded within {settings.load_timeout:g} s") from None
    except errors.ImageUnreachable as error:
        raise errors.Unavailable(f"{source}: {error}") from error
    except errors.ImageError as error:
        raise errors.InvalidSource(f"{source}: {error}") from error
    return None if found is None else (_lines(source, found[0]), found[1])


def photograph(source: str, location: str, within: Locator) -> str | None:
    """The address of a photograph, as a line of a list names it; None for files of other kinds.

    Raises `InvalidSource` if the line is not an address, or one that is not allowed.
    """
    shown = f"{location[:_SHOWN]!r}{'…' if len(location) > _SHOWN else ''}"
    if len(location) > MAX_URI:
        raise errors.InvalidSource(f"{shown} is longer than {MAX_URI} characters")
    try:
        uri = urljoin(source, location)
    except ValueError:
        uri = ""
    # A path, too, has no scheme, and would be one of this machine.
    if scheme_of(uri) not in ("http", "https") or not location.isprintable() or not _NO_URL.isdisjoint(location):
        raise errors.InvalidSource(f"{shown} is not an http(s) address, and none relative to that of the list")
    if signatures.is_signed(uri):
        raise errors.InvalidSource(f"{shown} is a signed link, which expires: list addresses that last")
    located = within.locate(uri)
    path = path_of(uri)
    if kinds.first_left_out(path) or not (kinds.is_image(path) or kinds.is_image(uri)):
        return None
    return located.uri


def path_of(uri: str) -> str:
    """The path in an address, without the slash at its beginning, as people read it."""
    return unquote(urlsplit(uri).path, errors="replace").lstrip("/")


def _lines(source: str, data: bytes) -> list[tuple[int, str]]:
    """The locations in a list, with the numbers of their lines. Raises `InvalidSource`."""
    if max(data.count(b"\n"), data.count(b"\r")) > limits.MOST_WATCHED_LINES:
        raise errors.InvalidSource(
            f"{source} has more than {limits.MOST_WATCHED_LINES:,} lines: begin a list for each season"
        )
    suffix = ".csv" if kinds.suffix_of(urlsplit(source).path) == ".csv" else ".txt"
    with tempfile.TemporaryDirectory(prefix="antenna-list-") as folder:
        path = Path(folder) / f"list{suffix}"
        path.write_bytes(data)
        try:
            entries: Sequence[source_lists.Entry] = source_lists.read(path).entries
        except errors.InvalidSource as error:
            raise errors.InvalidSource(str(error).replace(str(path), source)) from None
    return [(entry.number, entry.location) for entry in entries]


class _Whole:
    """Memory for the longest list, which is bounded by its size alone."""

    size: Final = limits.MOST_WATCHED_BYTES

    def found(self, version: str) -> None:
        """Lists have no version that was submitted."""

    def grow(self, size: int) -> None:
        """Never needed: nothing is longer."""
