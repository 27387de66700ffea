"""Keywords in the metadata of a JPEG, where programs for photographs look for them: XMP and IPTC."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from antenna_orchestration.domain import csv_cells

_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_IPTC: Final = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0"
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC: Final = "http://purl.org/dc/elements/1.1/"
_LIGHTROOM: Final = "http://ns.adobe.com/lightroom/1.0/"

for _prefix, _name in (("x", "adobe:ns:meta/"), ("rdf", _RDF), ("dc", _DC), ("lr", _LIGHTROOM)):
    # Some programs look for the usual prefixes.
    ET.register_namespace(_prefix, _name)

_LONGEST_OF_IPTC: Final = 64
"""Bytes of a keyword."""

_LONGEST: Final = 500
"""Characters of a keyword in XMP: with all of a lineage, a segment of a JPEG holds it."""

_UTF8: Final = b"\x1c\x01\x5a\x00\x03\x1b%G"
"""IPTC's mark for texts in UTF-8."""


def written(jpeg: bytes, keywords: Sequence[str], *, identifier: str) -> bytes:
    """The JPEG with its keywords, from the most general to the finest, and what it is of.

    Its pixels are as they were. `jpeg` begins as Pillow writes it: with a JFIF segment.
    """
    clean = [csv_cells.shown(one)[:_LONGEST] for one in keywords if one]
    packet = _XMP + _xmp(clean, identifier)
    # Behind the JFIF segment, which must come first.
    (length,) = struct.unpack_from(">H", jpeg, 4)
    end = 4 + length
    return jpeg[:end] + _segment(0xE1, packet) + _segment(0xED, _iptc(clean)) + jpeg[end:]


def says(xmp: bytes, keyword: str) -> bool:
    """Whether an XMP packet has a keyword."""
    element = ET.Element("li")
    element.text = csv_cells.shown(keyword)[:_LONGEST]
    return f":{ET.tostring(element, 'unicode')[1:-5]}</".encode() in xmp


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _xmp(keywords: Sequence[str], identifier: str) -> bytes:
    meta = ET.Element("{adobe:ns:meta/}xmpmeta")
    about = ET.SubElement(ET.SubElement(meta, f"{{{_RDF}}}RDF"), f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    ET.SubElement(about, f"{{{_DC}}}identifier").text = identifier
    levels = ["|".join(one.replace("|", "/") for one in keywords)]
    for name, values in ((f"{{{_DC}}}subject", keywords), (f"{{{_LIGHTROOM}}}hierarchicalSubject", levels)):
        bag = ET.SubElement(ET.SubElement(about, name), f"{{{_RDF}}}Bag")
        for value in values:
            ET.SubElement(bag, f"{{{_RDF}}}li").text = value
    text = ET.tostring(meta, "unicode").encode()
    return b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>' + text + b'<?xpacket end="w"?>'


def _iptc(keywords: Sequence[str]) -> bytes:
    records = _UTF8 + _record(0, b"\x00\x04")
    for one in keywords:
        records += _record(25, one.encode()[:_LONGEST_OF_IPTC].decode(errors="ignore").encode())
    return _IPTC + struct.pack(">I", len(records)) + records + b"\0" * (len(records) % 2)


def _record(number: int, content: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, 2, number, len(content)) + content
