"""How large a job's configuration may be: it travels in the job's announcement and with each task of an HTTP worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from antenna_orchestration import errors

MAX_BYTES: Final = 64 * 2**10
"""Largest configuration, as JSON."""

MAX_DEPTH: Final = 20
"""Most objects and lists within each other."""


def check(config: Mapping[str, Any]) -> None:
    """Raises `InvalidInput` for a configuration that is too deep, too large, or no JSON."""
    level: list[Any] = [config]
    for _ in range(MAX_DEPTH):
        level = [value for holder in level for value in _values(holder)]
        if not level:
            break
    else:
        raise errors.InvalidInput(f"the configuration is nested more than {MAX_DEPTH} levels deep")
    try:
        size = len(json.dumps(config, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        raise errors.InvalidInput(f"the configuration cannot be written as JSON: {error}") from None
    if size > MAX_BYTES:
        raise errors.InvalidInput(f"the configuration has {size} bytes as JSON; the limit is {MAX_BYTES}")


def _values(holder: Any) -> list[Any]:
    """The objects and lists directly in one."""
    values = holder.values() if isinstance(holder, Mapping) else holder
    return [value for value in values if isinstance(value, (Mapping, Sequence)) and not isinstance(value, (str, bytes))]
