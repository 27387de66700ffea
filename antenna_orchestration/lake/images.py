"""Reading single images through fsspec, for pictures in the UI. Workers have their own, concurrent way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec

from antenna_orchestration import errors
from antenna_orchestration.domain import uris


def read(uri: str, max_bytes: int, storage_options: dict[str, Any] | None = None) -> bytes:
    """The bytes of an image; the options are for `s3://` alone. Raises `ImageUnreachable`, `ImageUnusable` for size."""
    try:
        with _opened(uri, storage_options or {}) as source:
            content: bytes = source.read(max_bytes + 1)
    except Exception as error:
        # Every file system raises errors of its own library here.
        raise errors.ImageUnreachable(f"{uri}: {type(error).__name__}: {error}") from error
    if len(content) > max_bytes:
        raise errors.ImageUnusable(f"{uri} is larger than {max_bytes} bytes")
    return content


def _opened(uri: str, storage_options: dict[str, Any]) -> Any:
    if uri.startswith("file://"):
        # fsspec takes the path as it stands, percent signs and all.
        return Path(uris.path_of(uri)).open("rb")
    if uri.startswith("s3://"):
        return fsspec.open(uri, "rb", **storage_options)
    return fsspec.open(uri, "rb", **({"block_size": 0} if uri.startswith("http") else {}))
