"""The line of an error that helps: a trace is for those who look closely, and most read one line."""

from __future__ import annotations

import re
from typing import Final

from antenna_orchestration import errors

LONGEST: Final = 500
"""Characters of the line."""

_TELLS_MORE: Final = re.compile(r"size mismatch|missing key|unexpected key|expected|got ", re.IGNORECASE)
"""What a line of a longer message says that its first line announces."""


def helpful(error: BaseException) -> str:
    """What is wrong, in one line.

    A first line that only announces what follows (`Error(s) in loading state_dict for ResNet:`) is followed by the
    line that says it.
    """
    first, *others = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()] or [""]
    if first.endswith(":") and others:
        first = f"{first} {next(filter(_TELLS_MORE.search, others), others[0])}"
    if len(first) > LONGEST:
        first = f"{first[:LONGEST]}…"
    if isinstance(error, errors.AntennaError):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
