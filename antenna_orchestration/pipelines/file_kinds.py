"""What kind of file some bytes are, and what people can do about those that are not read as they are.

HEIC and camera raw are read by libraries that are installed on request, pillow-heif and rawpy. Without them such a file
is refused, with the commands that help. A raw file is often a TIFF whose first image is a thumbnail, so its bytes are
looked at before Pillow takes it for a small photograph.
"""

from __future__ import annotations

import importlib.util
import struct
from typing import Final

HEIC_SUFFIXES: Final = (".heic", ".heif", ".hif")
RAW_SUFFIXES: Final = (
    ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw",
)  # fmt: skip

HEIC_HELP: Final = (
    "HEIC is not read by this worker; pip install pillow-heif there, or convert it: heif-convert photo.heic photo.jpg"
)
RAW_HELP: Final = (
    "camera raw is not read by this worker; pip install rawpy there, or convert it: darktable-cli photo.nef photo.jpg"
)

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})

_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"})
_RAW_BEGINNINGS: Final = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")
_NOT_IMAGES: Final = (
    ((b"<!doctype html", b"<html", b"<?xml"), "the file is a web page or XML"),
    ((b"version https://git-lfs",), "the file is a pointer of Git LFS; fetch the file with git lfs pull"),
)
_KNOWN: Final = (
    (_PNG, "PNG"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"GIF8", "GIF"),
    (b"BM", "BMP"), (b"RIFF", "WEBP"), (b"\0\0\0\x0cjP  ", "JPEG2000"),
)  # fmt: skip

_SUBFILE_TYPE: Final = 254
_PHOTOMETRIC: Final = 262
_MAKE: Final = 271
_SUB_IFDS: Final = 330
_DNG_VERSION: Final = 50706
_SENSOR: Final = (32803, 34892)
"""Photometric interpretations of samples as a sensor gives them."""


def reads_heic() -> bool:
    """Whether the library for HEIC is installed here."""
    return importlib.util.find_spec("pillow_heif") is not None


def reads_raw() -> bool:
    """Whether the library for camera raw is installed here."""
    return importlib.util.find_spec("rawpy") is not None


def extra_suffixes() -> tuple[str, ...]:
    """Endings of files that are images because a library for them is installed here."""
    return (*(HEIC_SUFFIXES if reads_heic() else ()), *(RAW_SUFFIXES if reads_raw() else ()))


def is_heic(data: bytes) -> bool:
    """Whether the bytes begin like a HEIC or HEIF file."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS


def is_raw(data: bytes) -> bool:
    """Whether the bytes begin like a camera's raw file."""
    if data.startswith(_RAW_BEGINNINGS) or data[4:12] == b"ftypcrx ":
        return True
    if not data.startswith((b"II*\0", b"MM\0*")):
        return False
    if data[8:10] == b"CR":
        return True
    tags = _first_tags(data)
    thumbnail = tags.get(_SUBFILE_TYPE, 0) & 1 == 1
    return (
        _DNG_VERSION in tags
        or tags.get(_PHOTOMETRIC) in _SENSOR
        or (_SUB_IFDS in tags and (thumbnail or _MAKE in tags))
    )


def why_not_an_image(data: bytes) -> str:
    """Why bytes that no decoder knows are not an image, in words that help."""
    if not data:
        return "not an image: the file is empty"
    if not any(data[:4096]):
        return "not an image: the file begins with zeros, as after a failed copy"
    beginning = data.lstrip()[:30].lower()
    for begins, what in _NOT_IMAGES:
        if beginning.startswith(begins):
            return f"not an image: {what}"
    if data[4:8] == b"ftyp" or data[8:12] == b"AVI ":
        return "not an image: a video, or a kind of picture that is not supported; convert it to JPEG"
    if data.startswith(b"\xff\xd8\xff"):
        return "truncated JPEG"
    known = next((name for magic, name in _KNOWN if data.startswith(magic)), None)
    return f"not an image, or a truncated or unusual {known}" if known else "not an image"


def without_text(data: bytes) -> bytes:
    """A PNG without its texts and colour profile, which do not change pixels but may be larger than Pillow allows.

    Anything else, and a PNG without them, is returned as it is.
    """
    if not data.startswith(_PNG):
        return data
    kept: list[bytes] = []
    begin = position = len(_PNG)
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if data[position + 4 : position + 8] in _TEXT_CHUNKS:
            kept.append(data[begin:position])
            begin = min(end, len(data))
        position = end
    return b"".join([_PNG, *kept, data[begin:]]) if kept else data


def _first_tags(data: bytes) -> dict[int, int]:
    """The tags of a TIFF's first image, with their values where these are single numbers; as far as they go."""
    order = "<" if data.startswith(b"II") else ">"
    tags: dict[int, int] = {}
    try:
        (position,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, position)
        for index in range(min(count, 500)):
            at = position + 2 + 12 * index
            tag, kind = struct.unpack_from(f"{order}HH", data, at)
            (tags[tag],) = struct.unpack_from(f"{order}H" if kind == 3 else f"{order}I", data, at + 8)
    except struct.error:
        return tags
    return tags
