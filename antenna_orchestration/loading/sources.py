"""The interface between the loader and its sources: one class per kind of store, each in a module of its own."""

from __future__ import annotations

from typing import Protocol

from antenna_orchestration import errors


class ReservationTooSmall(errors.AntennaError):
    """The image is larger than its reservation, which cannot grow now. Load it again with `size` bytes reserved."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the image needs {size} bytes of memory")
        self.size = size


class Reservation(Protocol):
    """Memory that the loader has reserved for one image."""

    @property
    def size(self) -> int:
        """Bytes reserved."""

    def found(self, version: str) -> None:
        """Tell which version the store has. Raises `ImageChanged` if another one was submitted."""

    def grow(self, size: int) -> None:
        """Raise the reservation to `size` bytes, without waiting. Call it on the event loop only.

        Raises `ReservationTooSmall` if that many bytes are not free now.
        """


class Source(Protocol):
    """Loads images from one kind of store."""

    async def fetch(self, uri: str, reservation: Reservation) -> bytes:
        """Load an image and return its bytes.

        The source calls `reservation.grow` before it uses more memory than is reserved. Raises `ImageUnusable` when the
        image is at fault, `ImageUnreachable` for a passing fault, `ImageForbidden` when this worker cannot reach the
        store, and `ReservationTooSmall`.
        """

    def host(self, uri: str) -> str:
        """The host, bucket or mount that the image is on: what fails together."""

    async def close(self) -> None:
        """Close connections and stop threads."""


def check_size(size: int, limit: int, name: str = "MAX_IMAGE_BYTES") -> None:
    """Raise `ImageUnusable` if `size` is over `limit`, which is called `name`; both in bytes."""
    if size > limit:
        raise errors.ImageUnusable(f"{size / 2**20:.1f} MB, over {name} ({limit / 2**20:g} MB)")
