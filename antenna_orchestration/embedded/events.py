"""What the supervisor tells the front, and the front tells whoever shows it: one line each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Report = Callable[[str], None]
"""Takes one line for people: what was found amiss and what was done about it."""

Kind = Literal["started", "found", "ready", "problem", "stopping", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to the stack.

    `started` one process answers; `found` what an earlier stack left, and what became of it; `ready` all processes
    answer; `problem` something ended and is started again; `stopping` and `stopped` an ordered stop; `failed` the stack
    is given up, with the reason.
    """

    kind: Kind
    text: str
    """One line for people."""
    process: str = ""
    """The process it is about, named as its log; empty: the stack."""


def to_line(event: Event) -> bytes:
    """As sent through the pipe."""
    return json.dumps(dataclasses.asdict(event)).encode() + b"\n"


def from_line(line: bytes) -> Event:
    """Read back."""
    return Event(**json.loads(line))


def untold(_line: str) -> None:
    """The `Report` of tests and tools, which look for themselves."""
