"""What a file is by its name alone: an image, a list, something that is left out, and why.

The one table of endings, and the one rule for the folders of systems: folders, patterns and buckets follow both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from antenna_orchestration.domain.texts import counted
from antenna_orchestration.pipelines import file_kinds

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", *file_kinds.extra_suffixes())
"""Endings of files in folders that are taken for images; upper and lower case are the same.

HEIC and camera raw are among them where the libraries that read them are installed.
"""

LIST_SUFFIXES: Final = (".txt", ".csv", ".parquet", ".json")
"""Endings of lists of images."""


class Kind(StrEnum):
    """Why a file or folder is left out."""

    VIDEO = "video"
    HEIC = "heic"
    RAW = "raw"
    # Nothing of it can be read: a folder without the right to open it, a link to nothing, a name that no URI can hold.
    UNREADABLE = "unreadable"
    # A photograph of no bytes.
    EMPTY = "empty"
    # Thumbnails and deleted photographs, in folders that systems keep for themselves.
    JUNK = "junk"
    HIDDEN = "hidden"
    OTHER = "other"


_SUFFIXES: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.VIDEO: frozenset(
        (".mp4", ".mov", ".avi", ".mkv", ".m4v", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".3gp", ".asf", ".h264",
         ".h265", ".webm")
    ),
    Kind.HEIC: frozenset((*file_kinds.HEIC_SUFFIXES, ".avif")),
    Kind.RAW: frozenset(
        (*file_kinds.RAW_SUFFIXES, ".crw", ".sr2", ".srf", ".raw", ".rwl", ".3fr", ".iiq", ".x3f", ".gpr")
    ),
}  # fmt: skip

_NAMES: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.VIDEO: ("video", "videos"),
    Kind.HEIC: ("heic", "heic"),
    Kind.RAW: ("raw", "raw"),
    Kind.UNREADABLE: ("unreadable", "unreadable"),
    Kind.EMPTY: ("empty image", "empty images"),
    Kind.JUNK: ("junk folder", "junk folders"),
    Kind.HIDDEN: ("hidden", "hidden"),
    Kind.OTHER: ("other file", "other files"),
}

_JUNK: Final = frozenset(
    name.lower()
    for name in (
        # Synology, QNAP and other NAS systems: thumbnails, deleted files, snapshots.
        "@eaDir", "#recycle", "#snapshot", "@tmp", "@Recycle", "@Recently-Snapshot", ".@__thumb", "~snapshot",
        # Windows, macOS, Android, and what a file system check saves.
        "$RECYCLE.BIN", "RECYCLER", "RECYCLED", "System Volume Information", "__MACOSX", ".Trashes", "LOST.DIR",
        "lost+found", "FOUND.000",
    )
)  # fmt: skip


_HELP: Final[Mapping[Kind, str]] = {
    Kind.VIDEO: "`ffmpeg -i night.mp4 -vf fps=1 night_%06d.jpg` takes pictures out of a video",
    # What is left out although the library is installed is of a kind that it does not read.
    Kind.HEIC: "`heif-convert photo.avif photo.jpg` converts AVIF"
    if file_kinds.reads_heic()
    else "`pip install pillow-heif` reads HEIC, `heif-convert photo.heic photo.jpg` converts it",
    Kind.RAW: "`darktable-cli photo.crw photo.jpg` converts camera raw"
    if file_kinds.reads_raw()
    else "`pip install rawpy` reads raw, `darktable-cli photo.nef photo.jpg` converts it",
}
"""What to do about photographs that are not read."""


def suffix_of(name: str) -> str:
    """The ending of a file's name, in lower case, with its dot."""
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if dot and stem else ""


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return suffix_of(name) in IMAGE_SUFFIXES


def is_list(name: str) -> bool:
    """Whether a file of this name is taken for a list of images."""
    return suffix_of(name) in LIST_SUFFIXES


def left_out(name: str) -> Kind | None:
    """Why one part of a path, a file or a folder, is not looked at, whatever it holds; None for one that is."""
    if name.lower() in _JUNK:
        return Kind.JUNK
    return Kind.HIDDEN if name.startswith(".") else None


def first_junk(path: str, *, named: Sequence[str] = ()) -> str | None:
    """The path up to its first junk folder; None without one. Parts that the user named by themselves are none."""
    parts = path.split("/")
    for count, part in enumerate(parts, 1):
        if left_out(part) is Kind.JUNK and part not in named:
            return "/".join(parts[:count])
    return None


def kind_of_file(name: str) -> Kind:
    """The kind of a file that is not an image."""
    suffix = suffix_of(name)
    return next((kind for kind, suffixes in _SUFFIXES.items() if suffix in suffixes), Kind.OTHER)


def first_left_out(path: str) -> tuple[Kind, str] | None:
    """Why a path is not looked at because of one of its parts, and the path up to this part; None for one that is."""
    end = 0
    for part in path.split("/"):
        end += len(part)
        if kind := left_out(part):
            return kind, path[:end]
        end += 1
    return None


def begins_like_an_image(head: bytes) -> bool:
    """Whether a file's first 16 bytes are those of an image, whatever its name: JPEG, PNG, TIFF, WebP or BMP."""
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM")) or (
        head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    )


def summary(counts: Mapping[Kind, int]) -> str:
    """One line for people: `2 videos, 1 heic, 3 raw`; empty if nothing was left out."""
    return ", ".join(counted(counts[kind], *_NAMES[kind]) for kind in Kind if counts.get(kind))


def help_for(counts: Mapping[Kind, int]) -> str:
    """What to do about the photographs that were left out; empty if nothing can be done."""
    return "; ".join(text for kind, text in _HELP.items() if counts.get(kind))


def plain(suffixes: Iterable[str]) -> str:
    """Endings for people: `jpg, png`."""
    return ", ".join(suffix.removeprefix(".") for suffix in suffixes)
