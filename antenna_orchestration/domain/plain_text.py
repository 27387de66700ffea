"""Which characters can be seen. The escapers of `markdown`, `terminal` and `csv_cells` build on it.

Texts of users, workers, files and servers are data everywhere: they are kept as they came, and escaped for where they
are shown, there and nowhere else. What is refused at the door is listed in docs/decisions/security.md.
"""

from __future__ import annotations

from typing import Final

_JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Of Persian and Indic names, and of emoji: they move nothing that stands elsewhere on a line."""


def seen(text: str, unseen: str) -> str:
    """The text on one line: any white space is a space, and `unseen` stands for each character that cannot be seen.

    Those are control characters, such as the escape that begins a terminal's commands, the controls of writing
    direction, which make a line read as another one, halves of characters, and what is assigned to nobody.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in _JOINERS else " " if one.isspace() else unseen for one in text)
