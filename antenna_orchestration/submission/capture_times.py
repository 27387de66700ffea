"""Fills in when images were taken, if the submission does not say: from the file name, else from a local file's EXIF.

What a file or a name says are digits (the stamp); `at_places` makes moments of them where the deployment is known.

File names cost nothing. For EXIF data each file has to be opened. So unless the user asks for it, EXIF data is read
only if at most `EXIF_AUTO` files would be opened: of all files, because EXIF data may add the zone to the time of a
name, else of those whose name has no time; otherwise no file is opened, and a warning says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import capture_time
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology import places
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.submission import locations

ExifMode = Literal["auto", "always", "never"]
"""Whether to open files for their EXIF data; `auto` does so for at most `EXIF_AUTO` files."""

EXIF_AUTO: Final = 2_000
"""Most files that `auto` opens: about half a second on a local disk."""

_THREADS: Final = 8
"""Threads that read EXIF data. They mostly wait for the disk or the network drive."""


def fill(
    images: Sequence[SubmittedImage], *, exif: ExifMode, progress: Callable[[int], None] = lambda count: None
) -> tuple[list[SubmittedImage], list[str]]:
    """The images with all capture times that could be found, in UTC, and warnings for the user.

    `progress` is told how many files were opened, after each.

    Times that an image already has stay. A file that cannot be read keeps the time of its name, or none; that is not an
    error.
    """
    filled = list(images)
    named = {index: _from_name(image.uri) for index, image in enumerate(images) if image.captured_at is None}
    opened, warnings = _to_open(images, named, exif)
    with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="exif") as pool:
        # Some at a time: all that are asked for at once are kept in memory.
        found = (
            taken
            for start in range(0, len(opened), EXIF_AUTO)
            for taken in pool.map(_from_exif, [images[index].uri for index in opened[start : start + EXIF_AUTO]])
        )
        for count, (index, taken) in enumerate(zip(opened, found, strict=True), 1):
            progress(count)
            stamp = named[index]
            named[index] = capture_time.together(stamp, taken) if stamp and taken else stamp or taken
    looked_into = set(opened)
    for index, time in named.items():
        if time is not None:
            filled[index] = timed(images[index], time)._replace(is_of_name=index not in looked_into)
    return filled, warnings


def timed(image: SubmittedImage, time: capture_time.Taken) -> SubmittedImage:
    """The image, taken at that time; digits without a zone count as UTC until `at_places`."""
    return image._replace(captured_at=time.utc, stamp=time.local, stamp_offset=time.offset)


def of_image(uri: str) -> capture_time.Taken | None:
    """When one image was taken, by its name and, of a local file, its EXIF data; None if neither says so."""
    stamp, taken = _from_name(uri), _from_exif(uri) if uri.startswith("file:") else None
    return capture_time.together(stamp, taken) if stamp and taken else stamp or taken


def at_places(images: Sequence[SubmittedImage], known: Mapping[str, Place]) -> tuple[list[SubmittedImage], list[str]]:
    """The images with the moments at which they were taken, where their deployments are known.

    Returns also the names of the deployments whose images have digits without a zone, and of which no zone is known:
    those digits count as UTC.
    """
    placed = list(images)
    zoneless: dict[str, None] = {}
    for index, image in enumerate(images):
        if image.stamp is None or image.deployment is None:
            continue
        place = known.get(image.deployment)
        if not places.is_moment(image.stamp_offset, place):
            zoneless[image.deployment] = None
        # Where nothing is known, it counts as UTC already.
        if place is not None and (place.zone or place.shift_seconds):
            moment = places.captured_at(image.stamp, image.stamp_offset, place)
            placed[index] = image._replace(captured_at=moment or _as_utc(image.stamp, place))
    return placed, list(zoneless)


def unlike_their_places(images: Sequence[SubmittedImage], known: Mapping[str, Place]) -> list[str]:
    """A warning for each deployment whose images say another offset from UTC than its zone and clock have.

    Those whose names have the same digits: a person who reads them expects these as local times.
    """
    found: Counter[tuple[str, int, int, str]] = Counter()
    for image in images:
        place = known.get(image.deployment) if image.deployment is not None else None
        if place is None or place.zone is None or image.stamp is None or image.stamp_offset is None:
            continue
        named = _from_name(image.uri)
        at = places.captured_at(image.stamp, image.stamp_offset, place)
        if at is None or named is None or named.zone or named.local != image.stamp.replace(microsecond=0):
            continue
        is_local = place.clock == "local"
        expected = at.astimezone(place.zone).utcoffset() if is_local else timedelta()
        minutes = 0 if expected is None else round(expected.total_seconds() / 60)
        if minutes != image.stamp_offset:
            where = str(place.time_zone) if is_local else "the deployment's clock"
            found[place.deployment, image.stamp_offset, minutes, where] += 1
    return [
        f"{counted(count, 'photograph')} of {deployment}: their EXIF data say that the clock was at {_offset(said)}, "
        f"while {where} was at {_offset(minutes)}; the EXIF data count, so local times differ from those in the names"
        for (deployment, said, minutes, where), count in sorted(found.items())
    ]


def _offset(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"


def _as_utc(stamp: datetime, place: Place) -> datetime:
    """The digits as UTC, shifted unless that leads beyond the calendar's ends."""
    try:
        return places.shifted(stamp, place).replace(tzinfo=UTC)
    except OverflowError:
        return stamp.replace(tzinfo=UTC)


def _to_open(
    images: Sequence[SubmittedImage], named: Mapping[int, capture_time.Taken | None], exif: ExifMode
) -> tuple[list[int], list[str]]:
    """Which files to open for their EXIF data, and a warning if that leaves times unknown."""
    local = [index for index in named if images[index].uri.startswith("file:")]
    if exif == "never":
        return [], []
    if exif == "always" or len(local) <= EXIF_AUTO:
        return local, []
    without = [index for index in local if named[index] is None]
    warnings = []
    if len(without) > EXIF_AUTO:
        warnings.append(
            f"capture times of {len(without)} images were not read from their EXIF data (more than {EXIF_AUTO} files "
            "to open): --exif always reads them, or put a column captured_at in a list"
        )
        without = []
    if any(_adds_a_zone(images[index].uri, named[index]) for index in (local[0], local[len(local) // 2], local[-1])):
        warnings.append(
            f"times in the names of more than {EXIF_AUTO} images are taken as UTC, while their EXIF data say which "
            "zone they are in: --exif always reads it"
        )
    return without, warnings


def _adds_a_zone(uri: str, stamp: capture_time.Taken | None) -> bool:
    taken = _from_exif(uri) if stamp else None
    return bool(stamp and taken and capture_time.together(stamp, taken).utc.replace(microsecond=0) != stamp.utc)


def _from_name(uri: str) -> capture_time.Taken | None:
    return capture_time.from_name(uri if uri.startswith("s3:") or "%" not in uri else unquote(uri, errors="replace"))


def _from_exif(uri: str) -> capture_time.Taken | None:
    from antenna_orchestration.pipelines import images

    path = Path(locations.local_path(uri))
    try:
        # Opening a named pipe would block for ever.
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return images.exif_time(file)
    except OSError:
        return None
