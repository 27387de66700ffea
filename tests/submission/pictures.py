"""Small image files for submissions; most tests need no more of a file than its name."""

from __future__ import annotations

from pathlib import Path

from PIL import ExifTags, Image


def empty(folder: Path, *names: str) -> Path:
    """Files without content below a folder, which is made; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def taken_at(path: Path, time: str, *, offset: str | None = None) -> Path:
    """A JPEG whose EXIF data say when it was taken (`2024:06:01 23:15:00`)."""
    exif = Image.Exif()
    times = exif.get_ifd(ExifTags.IFD.Exif)
    times[ExifTags.Base.DateTimeOriginal] = time
    if offset:
        times[ExifTags.Base.OffsetTimeOriginal] = offset
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path
