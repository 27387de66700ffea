"""Whether the device itself still works: losses of device processes, in a row. Pure."""

from __future__ import annotations

from typing import Final

LOSSES: Final = 3
"""Losses of the device without a finished batch in between, from which on it counts as gone."""


class DeviceHealth:
    """What all device processes of a worker met on the device that they share."""

    def __init__(self) -> None:
        # Losses since a batch was finished.
        self.in_a_row = 0
        # Why the device is given up; empty while it is not.
        self.gone = ""

    @property
    def is_proven(self) -> bool:
        """Whether a batch was finished between the last loss and the one before, so that the device works."""
        return self.in_a_row <= 1

    def finished(self) -> None:
        """A batch was finished, with at least one image done."""
        self.in_a_row = 0

    def lost(self, device: str, reason: str) -> None:
        """A process could use the device no longer."""
        self.in_a_row += 1
        if self.in_a_row >= LOSSES and not self.gone:
            self.gone = f"{device or 'the device'} was lost {self.in_a_row} times without a finished batch: {reason}"
