"""Finds a file whose name is spelled in another way than a list spells it.

Windows does not tell `IMG.JPG` from `img.jpg`, and macOS writes an accent apart from its letter (NFD) where others
write one character (NFC). A list from there names files that are here under another name.
"""

# ruff: noqa: PTH118, PTH208
from __future__ import annotations

import os
import unicodedata


class Folders:
    """Reads each folder once, and only those in which something is looked for."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[frozenset[str], dict[str, str | None]]] = {}

    def find(self, path: str) -> str | None:
        """The file at this absolute path, in the spelling that it has here.

        None if there is none, or there are several of which none is spelled like it.
        """
        here = "/"
        for part in filter(None, path.split("/")):
            spelled = self._spelled(here, part)
            if spelled is None:
                return None
            here = os.path.join(here, spelled)
        return here

    def _spelled(self, folder: str, name: str) -> str | None:
        if name in (".", ".."):
            return name
        if folder not in self._names:
            self._names[folder] = _names(folder)
        exact, alike = self._names[folder]
        return name if name in exact else alike.get(_alike(name))


def _names(folder: str) -> tuple[frozenset[str], dict[str, str | None]]:
    """The entries of a folder, and each by its common form; None for a form that several share."""
    try:
        found = os.listdir(folder)
    except OSError:
        # A folder that may be entered but not read; its files were looked for by their names.
        return frozenset(), {}
    alike: dict[str, str | None] = {}
    for name in found:
        form = _alike(name)
        alike[form] = None if form in alike else name
    return frozenset(found), alike


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
