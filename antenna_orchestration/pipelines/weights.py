"""Fetches model files (weights, programs, labels) from https, S3 or a folder, and caches them.

A file is downloaded once and checked each time it is used. A URI may name the digest that its file must have:
`https://.../model.pth#sha256=<64 hex digits>`. For a URI without a digest, the digest of the first download is noted
beside the file, and whatever is downloaded from there later has to have it. Plain http, which anybody on the way may
alter, takes a URI with a digest, except from this machine itself. Pipelines download nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import ipaddress
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from antenna_orchestration import errors, kernel, server_urls
from antenna_orchestration import settings as settings_module
from antenna_orchestration.domain import addresses

logger = logging.getLogger(__name__)

DEFAULT_FOLDER: Final = Path("~/.cache/antenna")
"""Folder of the cache, unless `ANTENNA_WEIGHTS_DIR` names one."""

SILENCE: Final = 60.0
"""Seconds without a byte after which a download fails. The whole download may take as long as it needs."""

_DIGEST: Final = re.compile(r"sha256=([0-9a-f]{64})")

_counting = threading.Lock()
_under_way = 0
"""Downloads in this process."""

_WANTED: Final = "plain http can be altered on the way: use https, or name the file's digest, #sha256=<64 hex digits>"


def fetch(uri: str) -> Path:
    """The path of a URI's file on this machine; downloads the file if it is not in the cache yet.

    A plain path or a `file://` URI is used where it is, also a folder. If `ANTENNA_WEIGHTS_MIRROR` is set, https and s3
    files are downloaded from there, by their file name. Several processes may ask for the same file at the same time:
    one downloads it and the others wait.

    Raises `Unavailable` if the file cannot be read or downloaded, and `InvalidInput` for other kinds of URIs, for plain
    http without a digest, and for a file with another digest than the URI's or than the first download's.
    """
    address, digest = _address(uri)
    if (path := _local_path(address)) is not None:
        return _in_place(path, digest)
    target = cached_path(uri)
    try:
        # No lock is needed to read a file that is complete: the cache may be read-only, or belong to another user.
        if not _is_whole(target, digest):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _counted(), _locked(target):
                _fill(address, target, digest)
    except OSError as error:
        raise errors.Unavailable(f"weights {_shown(address)} cannot be kept in {target.parent}: {error}") from error
    return target


def is_downloading() -> bool:
    """Whether a file is being downloaded in this process, or another's download of it is waited for."""
    return _under_way > 0


def fetch_named(uri: str | None, what: str) -> Path:
    """Like `fetch`, for a URI that a description may lack; `what` is the file's name for the error message.

    Raises `InternalError` if `uri` is None, and what `fetch` raises.
    """
    if uri is None:
        raise errors.InternalError(f"no address is given for {what}")
    return fetch(uri)


def cached_path(uri: str) -> Path:
    """The path that `fetch` would return, whether or not the file is there. Raises `InvalidInput` as `fetch` does."""
    address, _ = _address(uri)
    if (path := _local_path(address)) is not None:
        return path
    folder = (settings_module.get().weights_dir or DEFAULT_FOLDER).expanduser()
    # Two addresses may end in the same file name, so each gets a folder of its own.
    return folder / hashlib.sha256(address.encode()).hexdigest()[:12] / _name(address)


def _address(uri: str) -> tuple[str, str | None]:
    """Split a URI into the address to read (at the mirror, if one is set) and the required digest, if it names one."""
    address, fragment = urldefrag(uri)
    digest = None
    if fragment:
        if (found := _DIGEST.fullmatch(fragment)) is None:
            raise errors.InvalidInput(f"{_shown(uri)}: after the # comes sha256= and 64 lower-case hex digits")
        digest = found[1]
    if _local_path(address) is not None:
        return address, digest
    if urlsplit(address).scheme not in ("https", "http", "s3"):
        raise errors.InvalidInput(f"weights {_shown(address)}: only https, http, s3 and file addresses can be read")
    if mirror := settings_module.get().weights_mirror:
        address = f"{mirror.rstrip('/')}/{_name(address)}"
    if digest is None and _is_open_to_change(address):
        raise errors.InvalidInput(f"weights {_shown(address)}: {_WANTED}")
    return address, digest


def _is_open_to_change(address: str) -> bool:
    """Whether what is read from the address may be altered on the way."""
    parts = urlsplit(address)
    if parts.scheme != "http":
        return False
    try:
        return not ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname != "localhost"


def _local_path(address: str) -> Path | None:
    if address.startswith("file:"):
        return Path(addresses.path_of(address))
    return None if "://" in address else Path(address).expanduser()


def _name(address: str) -> str:
    name = unquote(urlsplit(address).path.rpartition("/")[2])
    # After percent-decoding, the name may contain `/` or be `..`, and so lead out of the cache.
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise errors.InvalidInput(f"weights {_shown(address)}: the address names no file")
    return name


def _shown(address: str) -> str:
    """The address without password or signature, for messages."""
    return server_urls.without_password(address)


def _in_place(path: Path, digest: str | None) -> Path:
    if path.is_dir() and digest is None:
        # A model of several files, which are used where they are.
        return path
    if not path.is_file():
        raise errors.Unavailable(f"weights {path}: there is no such file on this machine")
    if digest is not None and (found := _sha256(path)) != digest:
        raise errors.InvalidInput(f"weights {path}: its SHA-256 is {found}, not {digest}")
    return path


# The cache holds `<name>` and `<name>.sha256`, in the format of the program sha256sum. The digest is written first, and
# a file counts as complete only if it matches the digest: a crash or a full disk at any point leaves no file that is
# used. The noted digest outlives the file: it is what the address has been trusted with.


def _note(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _noted(target: Path) -> str | None:
    """The digest of the first download; None if there was none, or its note is unreadable."""
    try:
        noted = _note(target).read_text().split()[0]
    except (FileNotFoundError, IndexError, UnicodeDecodeError):
        return None
    return noted if _DIGEST.fullmatch(f"sha256={noted}") else None


def _is_whole(target: Path, digest: str | None) -> bool:
    """Whether the cached file is complete: its digest is the one noted beside it, and the required one if any."""
    noted = _noted(target)
    try:
        return noted is not None and digest in (None, noted) and _sha256(target) == noted
    except FileNotFoundError:
        return False


def _fill(address: str, target: Path, digest: str | None) -> None:
    """Download the file, unless another process did so while the caller waited for the lock that it now holds."""
    if _is_whole(target, digest):
        return
    if target.exists():
        logger.warning("weights %s are damaged or of another digest, downloading them again", target)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
        if left != _lock(target):
            # Left by a process that was killed while it downloaded.
            left.unlink()
    _download(address, target, digest)


def _download(address: str, target: Path, digest: str | None) -> None:
    started = time.monotonic()
    logger.info("downloading weights %s", _shown(address))
    with _temporary(target) as temporary:
        _copy_to_file(address, temporary, named=digest is not None)
        size, found = temporary.stat().st_size, _sha256(temporary)
        if not size:
            raise errors.Unavailable(f"weights {_shown(address)}: the file is empty")
        if digest is not None and found != digest:
            raise errors.InvalidInput(f"weights {_shown(address)}: the SHA-256 is {found}, not {digest}")
        if digest is None and (noted := _noted(target)) not in (None, found):
            raise errors.InvalidInput(
                f"weights {_shown(address)}: another file is there now. Its SHA-256 is {found}; it was {noted} at the "
                f"first download, as noted in {_note(target)}. If the new file is meant, put #sha256={found} behind "
                "its address, or delete the note"
            )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        kernel.replace_file(_note(target), f"{found}  {target.name}\n", mode=0o644)
        temporary.replace(target)
        kernel.sync_folder(target.parent)
    logger.info("weights %s: %.1f MB in %.1f s", target.name, size / 1e6, time.monotonic() - started)


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    global _under_way  # noqa: PLW0603  read by those who watch how long loading takes
    with _counting:
        _under_way += 1
    try:
        yield
    finally:
        with _counting:
            _under_way -= 1


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """Make an empty file beside the target; it is removed afterwards unless it was renamed."""
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    # Several users of a machine may share the cache.
    os.fchmod(number, 0o644)
    os.close(number)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _lock(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the target's lock. The kernel releases it when this process ends, even if it crashes."""
    with _lock(target).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy_to_file(address: str, file: Path, *, named: bool) -> None:
    """Download the address into the file; `named` says whether its digest is known. Raises `Unavailable`."""
    import fsspec

    options: dict[str, Any]
    if address.startswith("s3://"):
        settings = settings_module.get()
        # Credentials come from the environment.
        options = {"anon": settings.s3_anonymous, "endpoint_url": settings.s3_endpoint_url or None}
    else:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
        hops = aiohttp.TraceConfig()
        if not named:
            hops.on_request_redirect.append(_check_redirect)
        # `trust_env` makes aiohttp use HTTPS_PROXY.
        options = {"client_kwargs": {"timeout": timeout, "trust_env": True, "trace_configs": [hops]}}
    try:
        # Not `url_to_fs`, which reads `::` in an address as a chain of file systems.
        fsspec.filesystem(urlsplit(address).scheme, **options).get_file(address, str(file))
    except errors.InvalidInput as error:
        raise errors.InvalidInput(f"weights {_shown(address)}: {error}") from None
    except Exception as error:
        # Each kind of store raises the errors of its own libraries.
        raise errors.Unavailable(f"weights {_shown(address)} cannot be downloaded: {_why(error)}") from error


async def _check_redirect(_session: Any, _context: Any, hop: Any) -> None:
    """Refuse a redirect to plain http. Called by aiohttp with its `TraceRequestRedirectParams`, before it follows."""
    target = urljoin(str(hop.url), hop.response.headers.get("Location", ""))
    if _is_open_to_change(target):
        raise errors.InvalidInput(f"it redirects to {_shown(target)}, and {_WANTED}")


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if (status := getattr(error, "status", None)) and (message := getattr(error, "message", None)):
        # An HTTP error. Its `str()` would repeat the address with its signature.
        return f"{status} {message}"
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
