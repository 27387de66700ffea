"""Which bytes of a file a request asks for (`Range`), so that a broken download can be resumed."""

from __future__ import annotations

import re
from typing import Final

from antenna_orchestration import errors

_RANGE: Final = re.compile(r"bytes=([0-9]{0,40})-([0-9]{0,40})", re.IGNORECASE)


def asked_for(header: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last of a file of `size` bytes; None for the whole file.

    Several ranges, and what is not a range of bytes, stand for the whole file, as the standard allows. Raises
    `RangeNotSatisfiable` for a range that lies beyond the file.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise errors.RangeNotSatisfiable(size)
    return start, end
