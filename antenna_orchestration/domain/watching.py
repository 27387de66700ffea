"""Watched sources: what is decided about their photographs, without looking at a folder or bucket.

`ready_nights` says which nights are to be submitted, `quiet_upto` from where a bucket is listed next time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from antenna_orchestration.domain.backoff import Backoff

HELD_AT_MOST: Final = 12 * 3600.0
"""Seconds for which a photograph waits for others of its night, for a camera that sends all the time."""

QUIET_AFTER: Final = timedelta(days=1)
"""Age from which on an object is not looked at with each listing: uploads side by side do not keep the names' order."""

AGAIN: Final = Backoff(first=60.0, longest=3600.0, spread=0.2)
"""Pauses before a source that could not be listed, or submitted, is tried again."""


class ReadFile(NamedTuple):
    """A photograph that is at rest and in no job."""

    uri: str
    version: str
    # Digest of its bytes.
    content: bytes
    # The digits of its time, and minutes east of UTC; None if nothing says so.
    stamp: datetime | None
    stamp_offset: int | None
    # Seconds since it was first seen as it is.
    waited: float

    @property
    def folder(self) -> str:
        """Where it lies, with a slash at the end."""
        return self.uri[: self.uri.rindex("/") + 1]


@dataclass(frozen=True, slots=True)
class BucketPosition:
    """How far a bucket was listed."""

    # Names up to this one have not changed for long.
    quiet_upto: str
    # Where a look that is not over goes on; None: it is over.
    listed_upto: str | None
    # How far the names before `quiet_upto` were looked at again.
    swept_upto: str


def ready_nights(
    nights: Mapping[date | None, Sequence[ReadFile]], *, is_moving: bool, unread: Collection[str]
) -> list[date | None]:
    """The nights that are to be submitted now, in order; photographs without a time are the last.

    `is_moving` says that files of the source still come or change: a card is being copied, and its nights would be cut
    up. `unread` are folders of which some files are not read yet.
    """
    ready = [
        night
        for night, files in nights.items()
        if any(file.waited >= HELD_AT_MOST for file in files)
        or not (is_moving or any(file.folder in unread for file in files))
    ]
    return sorted(ready, key=lambda night: (night is None, night or date.min))


def each_once(files: Iterable[ReadFile]) -> list[ReadFile]:
    """One file of each photograph: of several names for the same bytes that which came last, as others may be gone.

    Of those that came together it is the first one.
    """
    found: dict[bytes, ReadFile] = {}
    for file in files:
        if file.waited < found.setdefault(file.content, file).waited:
            found[file.content] = file
    return sorted(found.values())


def quiet_upto(position: BucketPosition, listed: Iterable[tuple[str, datetime | None]], now: datetime) -> str:
    """From where the next look lists, after these names (with their times of change) were listed in the store's order.

    It goes on to the first name that is not old. An object of which the time is not known is not old.
    """
    if position.listed_upto not in (None, position.quiet_upto):
        # Something between the two is not old.
        return position.quiet_upto
    upto = position.quiet_upto
    for name, changed_at in listed:
        if changed_at is None or now - changed_at < QUIET_AFTER:
            break
        upto = name
    return upto
