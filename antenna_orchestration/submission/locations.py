"""Turns the location of one image, as people write it, into the URI that its task carries, or refuses it.

Local paths become `file://` URIs: absolute, percent-encoded, and with the names that they were submitted with. Symbolic
links keep their names, because those say what the photograph is (its site, its time); only the bounds are checked on
what they lead to. `s3://` and http(s) locations stay as they are written. This module neither lists folders or buckets
nor loads images.
"""

# There may be hundreds of thousands of paths, and a Path object costs ten times as much as a string.
# ruff: noqa: PTH100, PTH116, PTH118, PTH120
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
from antenna_orchestration.domain import addresses, signatures
from antenna_orchestration.loading import urls
from antenna_orchestration.settings import Settings

MAX_URI: Final = 2_000
"""Longest URI in bytes; the catalog's index cannot hold one that is much longer."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_UP_TO_PATH = re.compile(r"[^/?#]*//[^/?#\\]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SAFE = "/!$&'()*+,;=:@~"


class Unusable(errors.InvalidSource):
    """This one name stands for no image, whatever is allowed: too long, a folder, control characters."""


class Located(NamedTuple):
    """One image's URI, and what is known of its file."""

    uri: str
    # False for a local file that does not exist. True for remote images, which are not checked before a worker loads
    # them.
    exists: bool
    # Bytes of a local file.
    size: int | None = None
    # When a local file was last changed, in nanoseconds.
    mtime_ns: int | None = None
    # The signed URL to load, where `uri` is without its signature.
    link: str | None = None


class Locator:
    """Makes the URIs of images and checks that they are allowed. Caches folders and hosts, so that it is fast."""

    def __init__(
        self, *, roots: Sequence[Path] | None, allow_private_hosts: bool, bucket_roots: Sequence[str] | None = None
    ) -> None:
        """Set the bounds.

        `roots` are the folders and `bucket_roots` the `s3://bucket/prefix` locations that images may be in. None allows
        everything, an empty sequence nothing.
        """
        self._roots = None if roots is None else tuple(Path(os.path.realpath(root)) for root in roots)
        self._bucket_roots = None if bucket_roots is None else tuple(f"{root.rstrip('/')}/" for root in bucket_roots)
        self._allow_private_hosts = allow_private_hosts
        self._folders: dict[str, str] = {}
        self._servers: set[str] = set()

    def locate(self, text: str, *, base: str = "") -> Located:
        """The URI of an image that is given as a URI or a path; a relative path starts from the folder `base`.

        Raises `InvalidSource` if its scheme, host, folder or bucket is not allowed, or the text is malformed.
        """
        server = _UP_TO_PATH.match(text)
        if server and server.group() in self._servers:
            return _on_the_web(text)
        scheme = scheme_of(text)
        if scheme is None:
            return self.file(os.path.join(base, text))
        if scheme == "file":
            return self.file(local_path(text))
        if scheme == "s3":
            text = in_lower_case(text)
            bucket, key = split_s3(text)
            if not bucket or not key or key.endswith("/"):
                raise Unusable(f"{text} names no object; s3://bucket/key does")
            self.check_bucket_bounds(text)
        elif scheme in ("http", "https"):
            self._check_host(text)
            return _on_the_web(text)
        else:
            raise errors.InvalidSource(f"{text}: {scheme}:// is not supported; use a path, s3:// or http(s)://")
        return Located(_checked(text), True)

    def file(self, path: str) -> Located:
        """The URI of a local file, which need not exist. Raises `InvalidSource` for folders and files out of bounds."""
        if "\0" in path:
            raise Unusable(f"{path!r} is not a valid path")
        if len(path) > MAX_URI:
            # Before it is looked for: that takes time for each of its folders.
            raise Unusable(f"{path[:80]}… is longer than {MAX_URI} bytes")
        folder, name = os.path.split(path)
        if name in ("", ".", ".."):
            raise Unusable(f"{path} is a folder, not an image")
        prefix = self._folder(folder)
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                self._folder(os.path.dirname(os.path.realpath(path)), f"what the link {path} leads to")
                status = os.stat(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG):
                raise Unusable(f"{path}: {error.strerror}") from None
            return Located(_checked(prefix + _quoted(name)), False)
        if stat.S_ISDIR(status.st_mode):
            raise Unusable(f"{path} is a folder, not an image")
        return Located(
            _checked(prefix + _quoted(name)), stat.S_ISREG(status.st_mode), status.st_size, status.st_mtime_ns
        )

    def check_bounds(self, path: str, named: str) -> None:
        """Raise `InvalidSource` if the path, with symlinks resolved, is outside the roots.

        `named` is what the error message calls it.
        """
        if self._roots is None:
            return
        try:
            real = Path(one_slash(os.path.realpath(path or ".")))
        except ValueError:
            raise errors.InvalidSource(f"{named!r} is not a valid path") from None
        if not any(real.is_relative_to(root) for root in self._roots):
            where = ":".join(map(str, self._roots))
            raise errors.InvalidSource(
                f"{named} lies outside ANTENNA_IMAGE_ROOTS ({where})"
                if where
                else f"{named}: local files are not accepted here; use s3:// or http(s):// locations"
            )

    def check_bucket_bounds(self, uri: str) -> None:
        """Raise `InvalidSource` if the location is outside the bucket roots.

        The gateway would list and sign it with its own credentials, which a caller must not use for other buckets.
        """
        if self._bucket_roots is None:
            return
        # A store that keeps objects in folders may follow `.` and `..`.
        leaves = {".", ".."} & set(uri.split("/"))
        if leaves or not any(uri.startswith(root) for root in self._bucket_roots):
            where = " ".join(self._bucket_roots)
            raise errors.InvalidSource(
                f"{uri} lies outside {where}" if where else f"{uri}: images in buckets are not accepted here"
            )

    def _folder(self, folder: str, named: str = "") -> str:
        """The start of the URIs of a folder's files; its real path is checked to be within the bounds.

        `named` is what an error calls it: where a link leads is not told to whoever names the link.
        """
        known = self._folders.get(folder)
        if known is None:
            real = os.path.realpath(folder or ".")
            self.check_bounds(folder, named or folder)
            # What `..` means after a link, only the file system knows.
            named = real if ".." in folder.split("/") else os.path.abspath(folder or ".")
            known = self._folders[folder] = f"{folder_uri(named)}/"
        return known

    def _check_host(self, url: str) -> None:
        beginning = _UP_TO_PATH.match(url)
        server = beginning.group() if beginning else url
        if server in self._servers:
            return
        try:
            # As the worker will read it: two readers of URLs may find two hosts in one text.
            host = urls.sendable(server).raw_host or ""
        except ValueError as error:
            raise errors.InvalidSource(f"{url} is not a valid URL: {error}") from None
        if not host:
            raise errors.InvalidSource(f"{url} names no host")
        if not self._allow_private_hosts and (reason := addresses.why_refused(host)):
            raise errors.InvalidSource(f"{url}: {host} {reason}; ANTENNA_ALLOW_PRIVATE_HOSTS=true allows them")
        self._servers.add(server)


def scheme_of(text: str) -> str | None:
    """The scheme of a URI, in lower case; None for a path."""
    match = _SCHEME.match(text)
    return match.group(1).lower() if match else None


def local_path(uri: str) -> str:
    """The local path of a `file://` URI. Raises `InvalidSource` if the URI names another host."""
    host, slash, path = uri[len("file://") :].partition("/")
    if host not in ("", "localhost"):
        raise errors.InvalidSource(f"{uri} names a file on another host; file:///path names a local one")
    return addresses.path_of(f"file://{slash}{path}")


def folder_uri(path: str) -> str:
    """The `file://` URI of a folder, which is named by its whole path; no slash at its end."""
    return f"file://{_quoted(one_slash(path).rstrip('/'))}"


def one_slash(path: str) -> str:
    """A whole path with one slash at its beginning: POSIX keeps two, and the same photograph would be two captures."""
    return f"/{path.lstrip('/')}"


def in_lower_case(uri: str) -> str:
    """A URI with its scheme in lower case."""
    scheme, colon, rest = uri.partition(":")
    return f"{scheme.lower()}{colon}{rest}"


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URI. The key is not percent-decoded."""
    bucket, _, key = uri[len("s3://") :].partition("/")
    return bucket, key


def source_kinds(uris: Iterable[str], settings: Settings) -> tuple[str, ...]:
    """The stores that a worker must be able to reach to load these images, sorted, each once.

    `file:<host id>` for local files, `http`, and `s3:<bucket>` (or `s3:<endpoint>/<bucket>` with an endpoint of its
    own).
    """
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


def _on_the_web(url: str) -> Located:
    uri = signatures.without(_checked(url))
    return Located(uri, True, link=None if uri == url else url)


def _quoted(path: str) -> str:
    return quote_from_bytes(os.fsencode(path), safe=_SAFE)


def _checked(uri: str) -> str:
    if _CONTROL.search(uri):
        raise Unusable(f"{uri!r} holds control characters")
    try:
        size = len(uri) if uri.isascii() else len(uri.encode())
    except UnicodeEncodeError:
        raise Unusable(f"{uri!r} is not UTF-8 text") from None
    if size > MAX_URI:
        raise Unusable(f"{uri[:80]}… is longer than {MAX_URI} bytes")
    return uri
