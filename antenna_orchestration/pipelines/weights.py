"""Files that models are made of: fetched once from https, s3 or a folder, checked each time they are used.

Nothing else is downloaded by any pipeline. A URI may carry the digest that its file must have, as
`https://…/model.pth#sha256=<64 hex digits>`. Without one, the digest of the first download is kept beside the file,
which shows a damaged cache but trusts the first download.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urlsplit

from antenna_orchestration import errors, settings
from antenna_orchestration.domain import addresses

logger = logging.getLogger(__name__)

DEFAULT_FOLDER: Final = Path("~/.cache/antenna")

SILENCE: Final = 60.0
"""Seconds without a byte after which a download is given up; in all it may take as long as it needs."""

_DIGEST: Final = re.compile(r"sha256=([0-9a-f]{64})")


def fetch(uri: str) -> Path:
    """The file of a URI on this machine, downloaded if it is not here yet; a plain path or `file://` stays in place.

    With `ANTENNA_WEIGHTS_MIRROR` set, https and s3 files are taken from there, by their name. Several processes may ask
    for the same file at once: one downloads, the others wait for it.

    Raises `Unavailable` when it cannot be had (this machine's fault, never an image's), `InvalidInput` for a URI of
    another kind or a file that has not the digest it should have.
    """
    address, digest = _address(uri)
    if (path := _local_path(address)) is not None:
        return _in_place(path, digest)
    target = cached_path(uri)
    try:
        # A cache that is whole needs no lock: it may be mounted read-only, or belong to another user.
        if not _is_whole(target, digest):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _locked(target):
                _fill(address, target, digest)
    except OSError as error:
        raise errors.Unavailable(f"weights {_shown(address)} cannot be kept in {target.parent}: {error}") from error
    return target


def fetch_named(uri: str | None, what: str) -> Path:
    """`fetch` for an address that a description may lack: then raises `InternalError`. Raises what `fetch` raises."""
    if uri is None:
        raise errors.InternalError(f"no address is given for {what}")
    return fetch(uri)


def cached_path(uri: str) -> Path:
    """Where the file of a URI is, or would be after a download. Raises `InvalidInput` for a URI of another kind."""
    address, _ = _address(uri)
    if (path := _local_path(address)) is not None:
        return path
    folder = (settings.get().weights_dir or DEFAULT_FOLDER).expanduser()
    # Two addresses may end in the same name.
    return folder / hashlib.sha256(address.encode()).hexdigest()[:12] / _name(address)


def _address(uri: str) -> tuple[str, str | None]:
    """Where to look for a file, and the digest that it should have."""
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
    if mirror := settings.get().weights_mirror:
        address = f"{mirror.rstrip('/')}/{_name(address)}"
    return address, digest


def _local_path(address: str) -> Path | None:
    if address.startswith("file:"):
        return Path(addresses.path_of(address))
    return None if "://" in address else Path(address).expanduser()


def _name(address: str) -> str:
    name = unquote(urlsplit(address).path.rpartition("/")[2])
    # Decoded, a name may hold the separators of a path that leads out of the cache.
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise errors.InvalidInput(f"weights {_shown(address)}: the address names no file")
    return name


def _shown(address: str) -> str:
    """Fit for logs: without a password or a signature."""
    return settings.without_password(address)


def _in_place(path: Path, digest: str | None) -> Path:
    if not path.is_file():
        raise errors.Unavailable(f"weights {path}: there is no such file on this machine")
    if digest is not None and (found := _sha256(path)) != digest:
        raise errors.InvalidInput(f"weights {path}: its SHA-256 is {found}, not {digest}")
    return path


# The cache: `<name>` and, in the words of the program sha256sum, `<name>.sha256`, which is written first. So a file
# counts only with its own digest beside it, wherever a crash or a full disk interrupted us.


def _note(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _is_whole(target: Path, digest: str | None) -> bool:
    """Whether the cache has the file as it was downloaded."""
    try:
        noted = _note(target).read_text().split()[0]
        found = _sha256(target)
    except (FileNotFoundError, IndexError):
        return False
    return found == noted and digest in (None, found)


def _fill(address: str, target: Path, digest: str | None) -> None:
    """Download what nobody else downloaded while we waited for the lock, which the caller holds."""
    if _is_whole(target, digest):
        return
    if target.exists():
        logger.warning("weights %s are damaged or of another digest, downloading them again", target)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
        if left != _lock(target):
            # A process was killed while it downloaded.
            left.unlink()
    _download(address, target, digest)


def _download(address: str, target: Path, digest: str | None) -> None:
    started = time.monotonic()
    logger.info("downloading weights %s", _shown(address))
    with _temporary(target) as temporary:
        _get(address, temporary)
        size, found = temporary.stat().st_size, _sha256(temporary)
        if not size:
            raise errors.Unavailable(f"weights {_shown(address)}: the file is empty")
        if digest is not None and found != digest:
            raise errors.InvalidInput(f"weights {_shown(address)}: the SHA-256 is {found}, not {digest}")
        with _temporary(_note(target)) as note:
            note.write_text(f"{found}  {target.name}\n")
            note.replace(_note(target))
        temporary.replace(target)
    logger.info("weights %s: %.1f MB in %.1f s", target.name, size / 1e6, time.monotonic() - started)


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """An empty file beside the target, gone afterwards unless it was moved."""
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    # A cache may be shared by the users of a machine.
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
    """Hold the target's lock; it ends with this process, however that ends."""
    with _lock(target).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _get(address: str, file: Path) -> None:
    """Read the address into the file. Raises `Unavailable`."""
    import fsspec

    options: dict[str, Any]
    if address.startswith("s3://"):
        config = settings.get()
        # Credentials come from the environment, as everywhere.
        options = {"anon": config.s3_anonymous, "endpoint_url": config.s3_endpoint_url or None}
    else:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
        # `trust_env` heeds HTTPS_PROXY.
        options = {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    try:
        # Not `url_to_fs`, which takes `::` in an address for a chain of file systems.
        fsspec.filesystem(urlsplit(address).scheme, **options).get_file(address, str(file))
    except Exception as error:
        # Each kind of store raises errors of its own libraries here.
        raise errors.Unavailable(f"weights {_shown(address)} cannot be downloaded: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if (status := getattr(error, "status", None)) and (message := getattr(error, "message", None)):
        # An HTTP answer; its text would repeat the address, signature and all.
        return f"{status} {message}"
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
