"""Where one image lies: what people write, turned into the URI that tasks carry, or refused.

Local paths become `file://` URIs (absolute, symlinks resolved, percent-encoded), `s3://` and http(s) locations stay as
they are written. Reading, listing and loading are done elsewhere.
"""

# Paths come as text by the hundred thousand, and Path objects cost ten times as much.
# ruff: noqa: PTH116, PTH118
from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes, urlsplit

from antenna_orchestration import errors
from antenna_orchestration.domain import addresses
from antenna_orchestration.domain.addresses import is_private
from antenna_orchestration.settings import Settings

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
"""What is taken for an image in a folder, by the end of its name, whatever its case."""

MAX_URI: Final = 2_000
"""Bytes; the catalog's index holds no URL much longer than this."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_UP_TO_PATH = re.compile(r"[^/?#]*//[^/?#\\]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SAFE = "/!$&'()*+,;=:@~"


class Located(NamedTuple):
    """One image's URI."""

    uri: str
    # False for a local file that is not there; that of a remote one shows when a worker loads it.
    exists: bool


class Locator:
    """Locates images and checks that they may be read. Remembers folders and hosts, so 100,000 images are no burden."""

    def __init__(
        self, *, roots: Sequence[Path] | None, allow_private_hosts: bool, bucket_roots: Sequence[str] | None = None
    ) -> None:
        """`roots` are the folders, `bucket_roots` the `s3://bucket/prefix` locations that images may lie in.

        None allows all, an empty sequence none.
        """
        self._roots = None if roots is None else tuple(Path(os.path.realpath(root)) for root in roots)
        self._bucket_roots = None if bucket_roots is None else tuple(f"{root.rstrip('/')}/" for root in bucket_roots)
        self._allow_private_hosts = allow_private_hosts
        self._folders: dict[str, tuple[str, str]] = {}
        self._servers: set[str] = set()

    def locate(self, text: str, *, base: str = "") -> Located:
        """The URI of an image written as URI or path; a relative path is taken from the folder `base`.

        Raises `InvalidSource` for a scheme, a host or a folder that is not allowed.
        """
        server = _UP_TO_PATH.match(text)
        if server and server.group() in self._servers:
            return Located(_checked(text), True)
        scheme = scheme_of(text)
        if scheme is None:
            return self.file(os.path.join(base, text))
        if scheme == "file":
            return self.file(local_path(text))
        if scheme == "s3":
            bucket, key = split_s3(text)
            if not bucket or not key or key.endswith("/"):
                raise errors.InvalidSource(f"{text} names no object; s3://bucket/key does")
            self.check_bucket_bounds(text)
        elif scheme in ("http", "https"):
            self._check_host(text)
        else:
            raise errors.InvalidSource(f"{text}: {scheme}:// is not supported; use a path, s3:// or http(s)://")
        return Located(_checked(text), True)

    def file(self, path: str) -> Located:
        """The URI of a local file, which need not exist. Raises `InvalidSource` for a folder or one out of bounds."""
        if "\0" in path:
            raise errors.InvalidSource(f"{path!r} is no path")
        folder, name = os.path.split(path)
        if name in ("", ".", ".."):
            raise errors.InvalidSource(f"{path} is a folder, not an image")
        real, prefix = self._folder(folder)
        try:
            mode = os.lstat(f"{real}/{name}").st_mode
            if stat.S_ISLNK(mode):
                target = os.path.realpath(f"{real}/{name}")
                folder, name = os.path.split(target)
                real, prefix = self._folder(folder)
                mode = os.stat(target).st_mode
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG):
                raise errors.InvalidSource(f"{path}: {error.strerror}") from None
            return Located(_checked(prefix + _quoted(name)), False)
        if stat.S_ISDIR(mode):
            raise errors.InvalidSource(f"{path} is a folder, not an image")
        return Located(_checked(prefix + _quoted(name)), stat.S_ISREG(mode))

    def check_bounds(self, path: str, named: str) -> None:
        """Raise `InvalidSource` for a path beyond the roots, links resolved; `named` is how the message calls it."""
        if self._roots is None:
            return
        try:
            real = Path(os.path.realpath(path or "."))
        except ValueError:
            raise errors.InvalidSource(f"{named!r} is no path") from None
        if not any(real.is_relative_to(root) for root in self._roots):
            where = ":".join(map(str, self._roots))
            raise errors.InvalidSource(
                f"{named} lies outside ANTENNA_IMAGE_ROOTS ({where})"
                if where
                else f"{named}: local files are not accepted here; use s3:// or http(s):// locations"
            )

    def check_bucket_bounds(self, uri: str) -> None:
        """Raise `InvalidSource` for a location in a bucket beyond the roots: whoever lists it lends its own keys."""
        if self._bucket_roots is None:
            return
        # Stores that are folders underneath may follow these.
        leaves = {".", ".."} & set(uri.split("/"))
        if leaves or not any(uri.startswith(root) for root in self._bucket_roots):
            where = " ".join(self._bucket_roots)
            raise errors.InvalidSource(
                f"{uri} lies outside {where}" if where else f"{uri}: images in buckets are not accepted here"
            )

    def _folder(self, folder: str) -> tuple[str, str]:
        """The folder without symlinks, and the beginning of its files' URIs."""
        known = self._folders.get(folder)
        if known is None:
            real = Path(os.path.realpath(folder or "."))
            self.check_bounds(folder, str(real))
            slash = "" if real == Path("/") else "/"
            known = self._folders[folder] = (str(real).rstrip("/"), f"file://{_quoted(str(real))}{slash}")
        return known

    def _check_host(self, url: str) -> None:
        beginning = _UP_TO_PATH.match(url)
        server = beginning.group() if beginning else url
        if server in self._servers:
            return
        try:
            parts = urlsplit(server)
            host = parts.hostname or ""
            parts.port  # noqa: B018  # reading it checks it
        except ValueError as error:
            raise errors.InvalidSource(f"{url} is no URL: {error}") from None
        if not host:
            raise errors.InvalidSource(f"{url} names no host")
        if not self._allow_private_hosts and is_private(host):
            raise errors.InvalidSource(
                f"{url}: {host} is a loopback, link-local or private address; "
                "ANTENNA_ALLOW_PRIVATE_HOSTS=true allows such"
            )
        self._servers.add(server)


def scheme_of(text: str) -> str | None:
    """The scheme of a URI in lower case; None for a path."""
    match = _SCHEME.match(text)
    return match.group(1).lower() if match else None


def local_path(uri: str) -> str:
    """The local path of a `file://` URI. Raises `InvalidSource` when it names another host."""
    host, slash, path = uri[len("file://") :].partition("/")
    if host not in ("", "localhost"):
        raise errors.InvalidSource(f"{uri} is a file of another host; file:///path is a local one")
    return addresses.path_of(f"file://{slash}{path}")


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URI; the key is taken as written, without percent-decoding."""
    bucket, _, key = uri[len("s3://") :].partition("/")
    return bucket, key


def source_kinds(uris: Iterable[str], settings: Settings) -> tuple[str, ...]:
    """The kinds of store that a worker must reach to load these images: `file:<host>`, `http`, `s3:<bucket>`."""
    stores = {uri[: uri.find("/", len("s3://"))] if uri.startswith("s3://") else uri[:5] for uri in uris}
    endpoint = urlsplit(settings.s3_endpoint_url).netloc.rpartition("@")[2]
    kinds = set()
    for store in stores:
        if store.startswith("s3://"):
            bucket = store[len("s3://") :]
            kinds.add(f"s3:{endpoint}/{bucket}" if endpoint else f"s3:{bucket}")
        else:
            kinds.add(f"file:{settings.host_id}" if store == "file:" else "http")
    return tuple(sorted(kinds))


def _quoted(path: str) -> str:
    return quote_from_bytes(os.fsencode(path), safe=_SAFE)


def _checked(uri: str) -> str:
    if _CONTROL.search(uri):
        raise errors.InvalidSource(f"{uri!r} holds control characters")
    try:
        size = len(uri) if uri.isascii() else len(uri.encode())
    except UnicodeEncodeError:
        raise errors.InvalidSource(f"{uri!r} is not UTF-8 text") from None
    if size > MAX_URI:
        raise errors.InvalidSource(f"{uri[:80]}… is longer than {MAX_URI} bytes")
    return uri
