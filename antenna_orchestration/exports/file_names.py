"""Names of files and folders from what people and classifiers call things; they work on every system."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from typing import Final

from antenna_orchestration.domain import csv_cells

_UNFIT: Final = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\ud800-\udfff]')
"""What Windows or another system takes for something else."""

_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for itself."""

_LONGEST: Final = 120
"""Bytes; systems take 255, and there is something before and behind it."""


def part(text: str) -> str:
    """The text as one part of a path; as it is, if it can be."""
    name = _UNFIT.sub("_", text).strip(" ")
    name = name.encode()[:_LONGEST].decode(errors="ignore").rstrip(" .")
    # Neither hidden, nor an option of a command, nor run by a spreadsheet.
    is_odd = not name or name.startswith((".", "~", "'")) or csv_cells.cell(name) != name
    return f"_{name}" if is_odd or _DEVICES.fullmatch(name) else name


def parts_of(texts: Collection[str]) -> dict[str, str]:
    """For each text a part of a path, all different, also where large and small letters are the same.

    A text that cannot be one as it is, or is like an earlier one in the order of the alphabet, has a mark of its own.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for text in sorted(texts):
        name = part(text)
        if name != text or name.casefold() in taken:
            name = f"{name}~{zlib.crc32(text.encode()):08x}"
        taken.add(name.casefold())
        found[text] = name
    return found
