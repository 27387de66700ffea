"""What an exception of other people's code says: the line that helps, and the whole of it. Pure."""

from __future__ import annotations

import re
import traceback
from typing import Final

from antenna_orchestration import errors

MOST: Final = 500
"""Characters of a line."""

MOST_TRACE: Final = 20_000
"""Characters of a trace; the end, which says where, is kept."""

_TELLING: Final = re.compile(
    r"mismatch|\b(not|no|cannot|can't|expected|invalid|unable|denied|refused)\b", re.IGNORECASE
)
"""What the line of an error says that names the cause, where the first line is but a heading."""


def helpful_line(text: str) -> str:
    """The line of a message that helps: the first, and where that is a heading (ends with a colon) what is below it.

    Of several lines below a heading, those that tell of something wrong rather than list names.
    """
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    first, rest = lines[0], lines[1:]
    if not first.endswith(":") or not rest:
        return first[:MOST]
    below = " ".join([line for line in rest if _TELLING.search(line)] or rest)
    return f"{first} {below}"[:MOST]


def in_a_line(error: BaseException) -> str:
    """The line that helps of an exception; one of other people's code is named by its type."""
    line = helpful_line(str(error))
    if isinstance(error, errors.AntennaError):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def trace(error: BaseException) -> str:
    """The whole error as Python prints it, at most `MOST_TRACE` characters."""
    return "".join(traceback.format_exception(error)).rstrip()[-MOST_TRACE:]
