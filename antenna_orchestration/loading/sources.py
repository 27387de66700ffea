"""Where images come from, seen from the loader: one class a kind of store, each in its own module."""

from __future__ import annotations

from typing import Protocol

from antenna_orchestration import errors


class Outgrown(errors.AntennaError):
    """The image needs more memory than was set aside and there is no more at once; load it again with `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the image needs {size} bytes")
        self.size = size


class Room(Protocol):
    """Memory set aside for one image."""

    @property
    def size(self) -> int:
        """Bytes set aside."""

    def grow(self, size: int) -> None:
        """Make it so many bytes. Raises `Outgrown` when they are not free at once; to be called on the event loop."""


class Source(Protocol):
    """Loads images of one kind of store."""

    async def fetch(self, uri: str, room: Room) -> bytes:
        """The image's bytes. Raises `ImageUnusable`, `ImageUnreachable` or `ImageForbidden` by whose fault it is.

        Memory beyond what was set aside is asked of `room` before it is used.
        """

    def host(self, uri: str) -> str:
        """What fails together: the host, bucket or mount that the image lies on."""

    async def close(self) -> None:
        """Let go of connections and threads."""


def check_size(size: int, limit: int) -> None:
    """Raise `ImageUnusable` for a file over the limit, both in bytes."""
    if size > limit:
        raise errors.ImageUnusable(f"{size / 2**20:.1f} MB, over MAX_IMAGE_BYTES ({limit / 2**20:g} MB)")
