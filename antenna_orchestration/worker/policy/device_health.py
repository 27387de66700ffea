"""Whether the device itself still works: losses of device processes, in a row. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from antenna_orchestration.worker.policy.batch_groups import SHARED

LOSSES: Final = 3
"""Losses of the device in a row, without anything that worked in between, from which on it counts as gone."""

STARTS: Final = "/starts"
"""Stands for the starts of all processes, before any of other people's code runs; no slug has a slash."""


class DeviceHealth:
    """What the device processes of a worker met on the device that they share, each by itself.

    What an own pipeline does to its own process says nothing of the device: only what this project's pipelines meet
    does, and what a fresh process meets before it runs anybody's code.
    """

    def __init__(self) -> None:
        # Losses by `BatchGroup.process`, or `STARTS`, since it last worked.
        self._in_a_row: Counter[str] = Counter()
        # Why the device is given up; empty while it is not.
        self.gone = ""

    def is_proven(self, process: str) -> bool:
        """Whether the process finished a batch between its last loss and the one before, so that the device works."""
        return self._in_a_row[process] <= 1

    def worked(self, process: str) -> None:
        """It finished a batch with at least one image done; of `STARTS`: a fresh process could use the device."""
        del self._in_a_row[process]

    def lost(self, process: str, device: str, reason: str) -> None:
        """It could use the device no longer."""
        self._in_a_row[process] += 1
        if self._in_a_row[process] >= LOSSES and process in (SHARED, STARTS) and not self.gone:
            times = f"{self._in_a_row[process]} times without a finished batch"
            self.gone = f"{device or 'the device'} was lost {times}: {reason}"
