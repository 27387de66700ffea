"""Text of users, workers, files and servers, as it may go to a terminal or a log: it is read, and commands nothing.

Everything that prints or logs calls this at the place of output (`cli/output.py`, the formatter of log lines, what runs
tell Dagster), and nothing is escaped before.
"""

from __future__ import annotations

from typing import Final

from antenna_orchestration.domain import plain_text

_UNSEEN: Final = "?"
"""Shown also by terminals whose encoding has few characters."""


def line(text: object) -> str:
    """The text on one line, with `?` for each character that cannot be seen."""
    return plain_text.seen(str(text), _UNSEEN)


def lines(text: object) -> str:
    """A text of ours that has several lines, such as a trace: the same for each of them."""
    return "\n".join(map(line, str(text).split("\n")))


def json_text(text: str) -> str:
    """JSON as `json.dumps` makes it, with escapes of JSON for what cannot be seen: it means what it meant."""
    return "\n".join(
        one if one.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in one)
        for one in text.split("\n")
    )


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
