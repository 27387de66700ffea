"""Small image files for submissions; most tests need only their names."""

from __future__ import annotations

from pathlib import Path

from PIL import ExifTags, Image


def empty(folder: Path, *names: str) -> Path:
    """Create files of one byte in a new folder; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def taken_at(path: Path, time: str, *, offset: str | None = None) -> Path:
    """A JPEG with a capture time in its EXIF data (`2024:06:01 23:15:00`)."""
    exif = Image.Exif()
    times = exif.get_ifd(ExifTags.IFD.Exif)
    times[ExifTags.Base.DateTimeOriginal] = time
    if offset:
        times[ExifTags.Base.OffsetTimeOriginal] = offset
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path
