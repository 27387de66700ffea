"""Patterns with `*`, `?`, `[...]` and `**` for folders and buckets: what they match, in time that their length bounds.

A pattern is cut at its slashes and followed part by part, in all places of it at once, so that each folder is read once
and each name looked at once, however often `**` is repeated. (`glob` tries every way to share the folders out among
the `**`: twelve of them took 19 s for one file eight folders deep.)
"""

# There may be hundreds of thousands of paths, and a Path object costs ten times as much as a string.
# ruff: noqa: PTH116, PTH118
from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from antenna_orchestration import errors

MAGIC: Final = re.compile(r"[*?\[]")

MOST_PARTS: Final = 100
"""Parts of a pattern. Nothing lies so deep, and each part costs time for each name."""

_FOLDERS: Final = "**"


class Pattern:
    """One pattern. Raises `InvalidSource` for one of too many parts."""

    def __init__(self, text: str) -> None:
        parts: list[str] = []
        for part in text.split("/"):
            # Several `**` in a row mean no more than one.
            if part not in ("", ".") and not (part == _FOLDERS == (parts or [""])[-1]):
                parts.append(part)
        if len(parts) > MOST_PARTS:
            raise errors.InvalidSource(f"the pattern {text[:80]}… has {len(parts)} parts; the limit is {MOST_PARTS}")
        self.parts: Final = tuple(parts)
        self.start: Final = self._with_following(frozenset({0}))
        self._regexes = [re.compile(fnmatch.translate(part)) if MAGIC.search(part) else None for part in parts]

    def after(self, places: frozenset[int], name: str) -> frozenset[int]:
        """The places that the pattern may be at after one more name, if it was at `places` before."""
        following: set[int] = set()
        for place in places:
            if place == len(self.parts):
                continue
            if self.parts[place] == _FOLDERS:
                following.add(place)
            elif (regex := self._regexes[place]) is not None:
                if regex.match(name):
                    following.add(place + 1)
            elif self.parts[place] == name:
                following.add(place + 1)
        return self._with_following(frozenset(following))

    def is_whole(self, places: frozenset[int]) -> bool:
        """Whether all of the pattern is matched."""
        return len(self.parts) in places

    def _with_following(self, places: frozenset[int]) -> frozenset[int]:
        """The places, and those after each `**`, which may stand for no folder."""
        after = {place + 1 for place in places if place < len(self.parts) and self.parts[place] == _FOLDERS}
        return places | after


def matches(pattern: Pattern, names: Sequence[str]) -> bool:
    """Whether a pattern means the object with these names: itself, or a folder that it is in.

    A pattern with `**` means only what it matches, as it does for local files.
    """
    places = pattern.start
    for name in filter(lambda one: one not in ("", "."), names):
        if pattern.is_whole(places) and _FOLDERS not in pattern.parts:
            return True
        places = pattern.after(places, name)
        if not places:
            return False
    return pattern.is_whole(places)


def local_paths(
    folder: str, text: str, *, unreadable: Callable[[str, str], None], check: Callable[[], None]
) -> Iterator[tuple[str, bool]]:
    """The paths below a folder that a pattern matches, each once and in no order, and whether each is a folder.

    Names that begin with a dot match only parts that do. Links to folders are followed, and a folder that is reached
    again adds nothing. `unreadable` is told of a folder that cannot be read, with the reason; `check` is called for
    each folder, and may raise.
    """
    pattern = Pattern(text)
    seen: set[tuple[int, int, frozenset[int]]] = set()
    waiting = [(folder, pattern.start)]
    while waiting:
        here, places = waiting.pop()
        check()
        try:
            status = os.stat(here or ".")
            if (which := (status.st_dev, status.st_ino, places)) in seen:
                continue
            seen.add(which)
            found = _matching(pattern, here, places)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unreadable(here, error.strerror or "")
            continue
        for path, is_folder, following in found:
            if pattern.is_whole(following):
                yield path, is_folder
            if is_folder and any(place < len(pattern.parts) for place in following):
                waiting.append((path, following))


def _matching(pattern: Pattern, folder: str, places: frozenset[int]) -> list[tuple[str, bool, frozenset[int]]]:
    """The entries of a folder that the pattern may go on with."""
    found: list[tuple[str, bool, frozenset[int]]] = []
    dotted = frozenset(place for place in places if place < len(pattern.parts) and pattern.parts[place][0] == ".")
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            following = pattern.after(dotted if entry.name.startswith(".") else places, entry.name)
            if not following:
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:
                # A link that leads nowhere.
                is_folder = False
            found.append((os.path.join(folder, entry.name), is_folder, following))
    return found
