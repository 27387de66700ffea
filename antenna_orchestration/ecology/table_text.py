"""The text of tables that people save: its encoding, its ends of lines, and which character separates the cells.

What the cells mean is read in `sites`, `name_files` and `reviews`, each with messages of its own.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?[ \t]*\r?\n', re.IGNORECASE)
"""What Excel writes and reads to say which character separates the cells."""


class NotText(ValueError):
    """Bytes that are not text: why, and in which line if that is known."""

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(why if line is None else f"line {line}: {why}")
        self.why = why
        self.line = line


class TableText(NamedTuple):
    """The text of a table, from its header on."""

    # Without what stood before the header.
    text: str
    header: str
    delimiter: str
    # Lines before the header.
    skipped: int


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one. Raises `NotText`.

    Old spreadsheets end lines with a carriage return alone: these become line feeds.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotText("not UTF-8 text; save it as CSV UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    if "\0" in text:
        raise NotText("not a CSV file, nor other text: it holds zero bytes")
    return text if "\n" in text else text.replace("\r", "\n")


def opened(text: str, delimiters: str) -> TableText:
    """A table's text from its header on, and what separates its cells.

    That is what a line `sep=` says, else the one of `delimiters` that the header has most of: spreadsheets write
    semicolons in countries where the comma is the decimal sign.
    """
    said = _SEPARATOR_LINE.match(text)
    rest = text[said.end() :] if said else text
    body = rest.lstrip("\r\n")
    header = body.partition("\n")[0].rstrip("\r")
    delimiter = said[1] if said else max(delimiters, key=header.count)
    return TableText(body, header, delimiter, text.count("\n") - body.count("\n"))
