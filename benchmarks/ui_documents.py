"""The GraphQL documents that the Dagster UI sends, read from the scripts of the installed webserver.

So what is measured is what a person's browser asks, whatever the version. Scripts are minified, but the texts of
queries and fragments stand in them as they were written.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import dagster_webserver

_PIECE: Final = re.compile(r"\b(?:query (\w+)[ ({]|fragment (\w+) on )")
_LONGEST: Final = 20_000
_SPREAD: Final = re.compile(r"\.\.\.\s*(\w+)")


def document(query: str) -> str:
    """A query with the fragments that it needs. Raises `KeyError` if this version of the UI has no such query."""
    pieces = _pieces()
    needed: dict[str, str] = {}
    left = [query]
    while left:
        name = left.pop()
        if name not in needed and name != "on":
            needed[name] = pieces[name]
            left += _SPREAD.findall(pieces[name])
    return "\n".join(needed.values())


def queries() -> list[str]:
    """The names of all queries; some are words of a sentence."""
    return [name for name, text in _pieces().items() if text.startswith("query")]


@cache
def _pieces() -> dict[str, str]:
    """The texts of all queries and fragments, by name."""
    pieces: dict[str, str] = {}
    for script in sorted((Path(dagster_webserver.__file__).parent / "webapp/build/_next/static").rglob("*.js")):
        text = script.read_text()
        for found in _PIECE.finditer(text):
            # Its string may be in either kind of quotes, and end anywhere behind it.
            rest = text[found.start() : found.start() + _LONGEST].replace("\\n", "\n").replace('\\"', '"')
            pieces.setdefault(found[1] or found[2], _whole(rest))
    return pieces


def _whole(text: str) -> str:
    """The text up to where its last brace closes: other pieces may follow in the same string."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if letter == "}" and depth == 0:
            return text[: place + 1]
    return text
