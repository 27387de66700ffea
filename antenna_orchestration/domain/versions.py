"""Versions: which bytes a location stood for, told from what a store says of them without sending them.

Equal versions mean equal bytes, as far as the store can be trusted. An empty version means that nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

UNKNOWN: Final = ""

MAX_VERSION: Final = 300
"""Longest version in characters; the catalog's index cannot hold one that is much longer beside its URL."""


ROUNDING_NS: Final = 2_000_000_000
"""Nanoseconds by which two hosts may differ about the time of one file."""

_NS_DIGITS: Final = 17
"""Digits that only a time in nanoseconds has, and no size of a picture."""


class Version(NamedTuple):
    """What a store says of an image."""

    version: str = UNKNOWN
    # When these bytes came to be; None if the store does not say.
    modified_at: datetime | None = None
    # How many bytes there are; None if the store does not say.
    size: int | None = None


class Validators(NamedTuple):
    """What a web server said of a page, to ask with whether it is still the same; empty: it did not say."""

    etag: str = ""
    last_modified: str = ""

    def headers(self) -> dict[str, str]:
        """Those of a request that is answered with 304 if the page is still the same."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: said for name, said in named.items() if said}


def of_file(*, size: int, mtime_ns: int) -> str:
    """The version of a local file: its size in bytes and the time of its last change in nanoseconds."""
    return f"{size}-{mtime_ns}"


def of_object(described: Mapping[str, Any]) -> Version:
    """The version of an object in a bucket, from its entry in a listing: ETag and size.

    So the same bytes are known when they are uploaded again, unless in parts of another size.
    """
    etag, modified = described.get("ETag"), described.get("LastModified")
    size = described.get("size", described.get("Size", ""))
    version = _bounded(f"{_bare(str(etag))}-{size}") if etag else UNKNOWN
    return Version(
        version, modified if isinstance(modified, datetime) else None, size if isinstance(size, int) else None
    )


def of_answer(headers: Mapping[str, str], size: int | None) -> Version:
    """The version of a web page, from an answer's headers: its ETag, else its Last-Modified with its size in bytes."""
    etag, stamp = headers.get("ETag", "").strip(), headers.get("Last-Modified", "").strip()
    modified = _moment(stamp)
    stamp = stamp if modified else ""
    if etag:
        return Version(_bounded(_bare(etag)), modified)
    return Version(_bounded(f"{stamp}-{size}"), modified) if stamp and size is not None else Version(UNKNOWN, modified)


def validators_of(headers: Mapping[str, str]) -> Validators:
    """What to ask with next time, from an answer's headers.

    A time of change is of seconds: one that is just over may be that of two pages, so it does not count.
    """
    etag, stamp = _sendable(headers.get("ETag", "")), _sendable(headers.get("Last-Modified", ""))
    modified, answered = _moment(stamp), _moment(headers.get("Date", ""))
    is_over = modified is not None and answered is not None and answered - modified > timedelta(seconds=1)
    return Validators(etag, stamp if is_over else "")


def _moment(stamp: str) -> datetime | None:
    """A time of HTTP, in UTC; None if it is none."""
    try:
        moment = parsedate_to_datetime(stamp.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _sendable(said: str) -> str:
    """A header as it came; empty if it cannot be kept, or sent back."""
    said = said.strip()
    return said if len(said) <= MAX_VERSION and said.isascii() and said.isprintable() else ""


def have_changed(submitted: str, found: str) -> bool:
    """Whether what a store has is certainly not what was submitted. False if either is unknown.

    Another host may see the time of a file on a share rounded, to two seconds by some systems.
    """
    if not submitted or not found or submitted == found:
        return False
    (size, _, time), (other_size, _, other_time) = submitted.partition("-"), found.partition("-")
    if not (time.isdecimal() and other_time.isdecimal() and len(time) >= _NS_DIGITS):
        return True
    return size != other_size or abs(int(time) - int(other_time)) > ROUNDING_NS


def _bare(etag: str) -> str:
    """The ETag without quotes and the mark of a weak one: stores differ in them for the same bytes."""
    return etag.removeprefix("W/").strip('"')


def _bounded(version: str) -> str:
    """The version, or unknown where a store says something that no catalog can hold."""
    return version if len(version) <= MAX_VERSION and version.isprintable() else UNKNOWN
