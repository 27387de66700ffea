"""Text of users, workers and files, as a cell of CSV: spreadsheets show it, and do not run it as a formula."""

from __future__ import annotations

from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
                   "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
"""What a formula begins with. Spreadsheets of some languages take the wide forms, too."""

_CONTROLS: Final = {
    **{code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"},
    **dict.fromkeys(range(55296, 57344), "�"),
    # Controls of writing direction, by which a name reads as another one, or a line of CSV as other columns.
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}"),
    # A line end of its own in some readers.
    ord("\r"): " ",
}


def shown(text: str) -> str:
    """The text with the replacement character for controls of all kinds besides tab and line feed."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def cell(text: str) -> str:
    """The text with an apostrophe before it if it looks like a formula, also behind spaces.

    Controls of all kinds besides tab and line feed become the replacement character. The writer of CSV adds the quotes.
    """
    clean = shown(text)
    # With the first character: a tab or a line feed there has the rest run, too.
    return f"'{clean}" if clean.lstrip().startswith(_FORMULA) or clean[:1] in ("\t", "\n") else clean
