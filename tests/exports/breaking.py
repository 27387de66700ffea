"""Files broken in one place, for checks that must find it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

GONE = object()
"""In place of a value: it is not there."""


def break_json(file: Path, steps: str, value: Any) -> None:
    """Put a value into a JSON file at a place such as `images/0/file`, or take away what is there."""
    document = json.loads(file.read_bytes())
    *way, last = [int(step) if step.isdigit() else step for step in steps.split("/")]
    inner = document
    for step in way:
        inner = inner[step]
    if value is GONE:
        del inner[last]
    elif isinstance(inner, list) and last == len(inner):
        inner.append(value)
    else:
        inner[last] = value(inner[last]) if isinstance(value, Callable) else value  # type: ignore[arg-type]
    file.write_text(json.dumps(document), encoding="utf-8")
