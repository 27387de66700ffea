"""Text of users, workers and files, as it may stand in Markdown: what is shown is the text itself.

Everything that writes Markdown (the report, what Dagster's UI shows) calls this at the place of output, and nothing is
escaped before. The result is a piece of one line: of a table's cell, a heading, a list's entry, a picture's caption.
"""

from __future__ import annotations

import re
from typing import Final

from antenna_orchestration.domain import plain_text

_SPECIAL: Final = re.compile(
    # Emphasis, code, links, HTML, tables, entities, headings, pictures, formulas.
    r"[\\`*_\[\]<>|~&#!$]"
    # What is made a link although it is not written as one.
    r"|:(?=//)|@|(?<=www)\."
    # What begins a list.
    r"|^[-+=]",
    re.IGNORECASE,
)
_UNSEEN: Final = "\N{REPLACEMENT CHARACTER}"
_ESCAPED: Final = re.compile(r"\\([^\sA-Za-z0-9])")
_NUMBERED: Final = re.compile(r"^(\d+)([.)])")


def escape(text: object) -> str:
    """The text on one line, with a backslash before each character that would mean something.

    Line ends and tabs become spaces; characters that cannot be seen become the replacement character.
    """
    return _NUMBERED.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", _on_one_line(text)))


def unescaped(text: str) -> str:
    """What `escape` was given, for where no Markdown is shown."""
    return _ESCAPED.sub(r"\1", text)


def code(text: object) -> str:
    """The text as a piece of code, for paths and commands; not for a table's cell."""
    plain = _on_one_line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    edge = " " if "`" in (plain[:1], plain[-1:]) else ""
    return f"{fence}{edge}{plain or ' '}{edge}{fence}"


def _on_one_line(text: object) -> str:
    return " ".join(plain_text.seen(str(text), _UNSEEN).split())
