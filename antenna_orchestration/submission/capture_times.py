"""Fills in when images were taken, if the submission does not say: from the file name, else from a local file's EXIF.

File names cost nothing. For EXIF data each file has to be opened. So unless the user asks for it, EXIF data is read
only if at most `EXIF_AUTO` files would be opened; otherwise no file is opened, and a warning says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import capture_time
from antenna_orchestration.submission import locations

ExifMode = Literal["auto", "always", "never"]
"""Whether to open files for their EXIF data; `auto` does so for at most `EXIF_AUTO` files."""

EXIF_AUTO: Final = 2_000
"""Most files that `auto` opens: about half a second on a local disk."""

_THREADS: Final = 8
"""Threads that read EXIF data. They mostly wait for the disk or the network drive."""


def fill(images: Sequence[SubmittedImage], *, exif: ExifMode) -> tuple[list[SubmittedImage], list[str]]:
    """The images with all capture times that could be found, in UTC, and warnings for the user.

    Times that an image already has stay. A file that cannot be read keeps no time; that is not an error.
    """
    filled = [
        image if image.captured_at else SubmittedImage(image.uri, _from_name(image.uri), image.deployment)
        for image in images
    ]
    without = [
        index for index, image in enumerate(filled) if image.captured_at is None and image.uri.startswith("file:")
    ]
    if not without or exif == "never":
        return filled, []
    if exif == "auto" and len(without) > EXIF_AUTO:
        return filled, [
            f"capture times of {len(without)} images were not read from their EXIF data (more than {EXIF_AUTO} files "
            "to open): --exif always reads them, or put a column captured_at in a list"
        ]
    with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="exif") as pool:
        paths = [Path(locations.local_path(filled[index].uri)) for index in without]
        for index, time in zip(without, pool.map(_from_exif, paths), strict=True):
            filled[index] = filled[index]._replace(captured_at=time)
    return filled, []


def _from_name(uri: str) -> datetime | None:
    name = uri.rsplit("/", 1)[-1]
    if uri.startswith("s3:") or "%" not in name:
        return capture_time.from_name(name)
    return capture_time.from_name(unquote(name, errors="replace"))


def _from_exif(path: Path) -> datetime | None:
    from antenna_orchestration.pipelines import images

    try:
        # Opening a named pipe would block for ever.
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return images.capture_time_from_exif(file)
    except OSError:
        return None
