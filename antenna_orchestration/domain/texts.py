"""Texts for people: counts with their words, and what came from outside made fit to be stored and shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_UNFIT: Final = re.compile("[\0\ud800-\udfff]")


def counted(count: int, one: str, several: str = "") -> str:
    """A number with its word: `1 image`, `1,204 images`. `several` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a message: the first few, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def storable(text: str) -> str:
    r"""The text with what UTF-8 or PostgreSQL cannot hold written out: a file name's byte 0xFF as `\xff`."""
    return _UNFIT.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found.group())
    # Python reads a byte that is not UTF-8 as this half of a surrogate pair.
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
