"""URIs of images: the one place that turns a `file://` URI back into a path."""

from __future__ import annotations

import os
from urllib.parse import unquote_to_bytes, urlsplit


def path_of(uri: str) -> str:
    """The path that a `file://` URI names, bytes that are not UTF-8 included."""
    return os.fsdecode(unquote_to_bytes(urlsplit(uri).path))
