"""Counts the scans of a JPEG before it is decoded: each costs the time of a whole decoding, whatever it holds.

Cameras write one, progressive encoders about ten. A file of a few hundred kilobytes can have thousands, and was not
decoded in a minute and a half.
"""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 100
"""Scans of a JPEG of any size."""

ALWAYS: Final = 25
"""Scans that a JPEG may have however large it is."""

MOST_PIXELS: Final = 5_000_000_000
"""Pixels of all scans together, about a minute of decoding."""

_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""

_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In a scan's data `FF 00` is a byte, and `FF D0` to `FF D7` are its own."""


def limit(width: int, height: int) -> int:
    """The most scans that a JPEG of this size may have."""
    return min(MOST, max(ALWAYS, MOST_PIXELS // max(1, width * height)))


def count(data: bytes, most: int) -> int:
    """The scans that a decoder reads of the first image in the file; it stops counting beyond `most`.

    A JPEG whose first scan has all colours and is not progressive has no other. What comes after damage is not counted.
    """
    position, scans, components, progressive = 2, 0, 0, False
    while scans <= most and position + 4 <= len(data):
        if data[position] != 0xFF:
            return scans
        marker = data[position + 1]
        if marker == 0xFF or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _END_OF_IMAGE:
            return scans
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _FRAMES and position + 9 < len(data):
            components, progressive = data[position + 9], marker in (0xC2, 0xC6, 0xCA, 0xCE)
        position += 2 + length
        if marker != _START_OF_SCAN:
            continue
        scans += 1
        if not progressive and data[position - length + 2 : position - length + 3] == bytes((components,)):
            return scans
        found = _MARKER.search(data, position)
        if found is None:
            return scans
        position = found.start()
    return scans
